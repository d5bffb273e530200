#!/bin/sh
# Builds server.cpp; Boost is headers only here. Usage: build.sh OUTPUT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
"${CXX:-g++}" -O3 -flto=auto -DNDEBUG -std=c++20 -pthread "$here/server.cpp" -o "$1"
