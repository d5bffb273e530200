#!/bin/sh
# Builds uWebSockets and server.cpp with the flags of its own build.c: native epoll loop, no TLS, LTO, -march=native.
# Usage: build.sh SOURCES OUTPUT, where SOURCES is the uWebSockets folder inside the crate libuwebsockets-sys.
set -eu

sources=$1
output=$2
here=$(cd "$(dirname "$0")" && pwd)
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT

usockets=$sources/uSockets/src
flags="-O3 -march=native -flto=auto -DLIBUS_NO_SSL -DUWS_NO_ZLIB -I$usockets -I$sources/src"
for file in "$usockets"/*.c "$usockets"/eventing/epoll_kqueue.c; do
    # shellcheck disable=SC2086 # the flags are words
    "${CC:-gcc}" $flags -std=gnu11 -c "$file" -o "$objects/$(basename "$file").o"
done
# shellcheck disable=SC2086
"${CXX:-g++}" $flags -std=c++20 "$here/server.cpp" "$objects"/*.o -o "$output"
