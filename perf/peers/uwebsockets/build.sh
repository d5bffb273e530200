#!/bin/sh
# Builds uWebSockets and server.cpp with the flags of its own build.c: native epoll loop, LTO, -march=native.
# Usage: build.sh SOURCES OUTPUT [tls | deflate | callgrind], where SOURCES is the uWebSockets folder inside the crate libuwebsockets-sys.
# The plain build has nothing of TLS or compression inside; with TLS it links the OpenSSL of the system, with compression its zlib.
# The build for callgrind, which cannot run AVX-512, has AVX2 as the most of x86-64.
set -eu

sources=$1
output=$2
here=$(cd "$(dirname "$0")" && pwd)
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT

usockets=$sources/uSockets/src
options="-DLIBUS_NO_SSL -DUWS_NO_ZLIB"
libraries=
target=native
case ${3:-} in
tls)
    options="-DLIBUS_USE_OPENSSL -DUWS_NO_ZLIB"
    libraries="-lssl -lcrypto"
    ;;
deflate)
    options=-DLIBUS_NO_SSL
    libraries=-lz
    ;;
callgrind)
    if [ "$(uname -m)" = x86_64 ]; then target=x86-64-v3; fi
    ;;
esac
flags="-O3 -march=$target -flto=auto $options -I$usockets -I$sources/src"
for file in "$usockets"/*.c "$usockets"/eventing/epoll_kqueue.c "$usockets"/crypto/openssl.c; do
    # shellcheck disable=SC2086 # the flags are words
    "${CC:-gcc}" $flags -std=gnu11 -c "$file" -o "$objects/$(basename "$file").o"
done
if [ "${3:-}" = tls ]; then
    # shellcheck disable=SC2086
    "${CXX:-g++}" $flags -std=c++20 -c "$usockets/crypto/sni_tree.cpp" -o "$objects/sni_tree.o"
fi
# shellcheck disable=SC2086
"${CXX:-g++}" $flags -std=c++20 "$here/server.cpp" "$objects"/*.o -o "$output" $libraries
