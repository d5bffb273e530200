#!/usr/bin/env bash
# Installs and builds the servers that the harness compares with, into perf/peers/.work (and perf/peers/ws/node_modules).
#
# Usage: perf/setup.sh [--apt] [--check] [PEER...]     without a name: all
#   --apt    first install the system packages that they need (Debian or Ubuntu, as root)
#   --check  afterwards verify with independent clients that each peer keeps the harness's contract
#
# Prints one line for each: ok, or why not; the full output is in perf/peers/.work/log. One that fails does not
# stop the others. Exits with 1 if any failed. Takes about ten minutes on two cores the first time.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/peers" || exit 1

tokio_peers=(fastwebsockets sockudo-ws tokio-tungstenite tokio-websockets web-socket)
peers=(uwebsockets uwebsockets-tls uwebsockets-deflate uwebsockets-callgrind uwebsockets-capi boost-beast picows websockets ws "${tokio_peers[@]}")
# Those that also speak TLS, by the same program; uwebsockets-tls speaks nothing else.
tls_peers=(picows fastwebsockets tokio-tungstenite tokio-websockets)
packages=(cargo g++ make libboost-dev libclang-dev libuv1-dev libssl-dev zlib1g-dev python3-venv nodejs npm)
work=$PWD/.work
export CARGO_TARGET_DIR=$work/target

# Ends the peer's own subshell with a reason, which the caller prints.
why_not() {
    echo "$*" >"$work/reason"
    exit 1
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || why_not "$tool is not installed"
    done
}

need_header() {
    echo "#include <$1>" | g++ -E -x c++ - >/dev/null 2>&1 || why_not "$1 is missing: apt-get install $2"
}

cargo_peer() {
    need cargo
    (cd "$1" && nice -n 10 cargo build -j1 --release --locked) || why_not "cargo build failed"
    local name
    for name in "$@"; do
        cp "$CARGO_TARGET_DIR/release/peer-$name" "$work/bin/$name"
    done
}

venv() {
    need python3
    [ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv" || why_not "no venv: apt-get install python3-venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$1" || why_not "pip install failed"
}

# The C++ sources of uWebSockets, which its sys crate carries.
uwebsockets_sources() {
    cargo metadata --format-version 1 --locked --manifest-path uwebsockets-capi/Cargo.toml |
        python3 -c 'import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "libuwebsockets-sys":
        print(os.path.join(os.path.dirname(package["manifest_path"]), "uWebSockets"))'
}

build() {
    case $1 in
    uwebsockets | uwebsockets-tls | uwebsockets-deflate | uwebsockets-callgrind)
        need cargo g++ python3
        local sources option=()
        case $1 in
        uwebsockets-tls)
            need_header openssl/ssl.h libssl-dev
            option=(tls)
            ;;
        uwebsockets-deflate)
            need_header zlib.h zlib1g-dev
            option=(deflate)
            ;;
        uwebsockets-callgrind) option=(callgrind) ;;
        esac
        sources=$(uwebsockets_sources) && [ -d "$sources" ] || why_not "crate libuwebsockets-sys is not available"
        nice -n 10 uwebsockets/build.sh "$sources" "$work/bin/$1" "${option[@]}" || why_not "compiling failed"
        ;;
    uwebsockets-capi)
        need g++ make
        need_header uv.h libuv1-dev
        need_header openssl/ssl.h libssl-dev
        need_header zlib.h zlib1g-dev
        cargo_peer "$1"
        ;;
    boost-beast)
        need g++
        need_header boost/beast/websocket.hpp libboost-dev
        nice -n 10 boost-beast/build.sh "$work/bin/$1" || why_not "compiling failed"
        ;;
    picows) venv picows/requirements.txt ;;
    websockets) venv websockets/requirements.txt && touch "$work/websockets" ;;
    sockudo-ws) cargo_peer sockudo-ws sockudo-ws-deflate ;;
    ws)
        need node npm
        (cd ws && npm ci --no-audit --no-fund --ignore-scripts) || why_not "npm ci failed"
        ;;
    *) cargo_peer "$1" ;;
    esac
}

command_of() {
    case $1 in
    picows) echo ".work/venv/bin/python picows/echo.py" ;;
    websockets) echo ".work/venv/bin/python websockets/echo.py" ;;
    ws) echo "node ws/echo.js" ;;
    uwebsockets-deflate) echo ".work/bin/uwebsockets-deflate --compressor shared" ;;
    *) echo ".work/bin/$1" ;;
    esac
}

check() {
    venv check-requirements.txt
    if [ "$1" != uwebsockets-tls ]; then
        local broadcast=()
        [[ $1 == uwebsockets* ]] && broadcast=(--broadcast)
        keeps_contract "$1" "${broadcast[@]}"
    fi
    if [[ $1 == uwebsockets-tls || " ${tls_peers[*]} " == *" $1 "* ]]; then
        need openssl
        local most=()
        # Its TLS loses input when one read holds half a megabyte.
        [ "$1" = uwebsockets-tls ] && most=(--most 300000)
        keeps_contract "$1" --tls "${most[@]}"
    fi
}

keeps_contract() {
    local peer=$1
    shift
    # shellcheck disable=SC2046 # the command is words
    "$work/venv/bin/python" check.py "$@" -- $(command_of "$peer") || why_not "it breaks the contract $*"
}

# Runs `build` or `check` for one peer and prints what came of it.
report() {
    local step=$1 peer=$2 log=$work/log/$2.$1.log
    rm -f "$work/reason"
    if ("$step" "$peer") >"$log" 2>&1; then
        echo "$peer: $step ok"
    else
        echo "$peer: $step failed: $(cat "$work/reason" 2>/dev/null || echo unknown), see $log"
        failed=1
    fi
}

apt=false checking=false chosen=() failed=0
for word in "$@"; do
    case $word in
    --apt) apt=true ;;
    --check) checking=true ;;
    *)
        [[ " ${peers[*]} " == *" $word "* ]] || { echo "unknown peer $word; known: ${peers[*]}" >&2; exit 2; }
        chosen+=("$word")
        ;;
    esac
done
[ ${#chosen[@]} -gt 0 ] || chosen=("${peers[@]}")
mkdir -p "$work/bin" "$work/log"
if $apt; then
    apt-get install --yes --quiet "${packages[@]}" || exit 1
fi
for peer in "${chosen[@]}"; do
    report build "$peer"
    if $checking && [ ! -e "$work/reason" ]; then
        report check "$peer"
    fi
done
exit "$failed"
