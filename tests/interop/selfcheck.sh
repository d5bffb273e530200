#!/usr/bin/env bash
# Proves the peers against each other, without the library: every client against every server (over `/`, and over
# `/fragments`, whose echoes come in pieces), every server's paths against the contract, and that a client fails
# when it should and a server ends with status 0 on SIGTERM. Exit status 0: all as expected.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
./setup.sh

python=.work/venv/bin/python
declare -A peers=([websockets]="$python peer_websockets.py" [picows]="$python peer_picows.py" [ws]="node peer_ws.mjs")
log=.work/selfcheck.log
server=''
trap '[ -z "$server" ] || kill -TERM "$server" 2>/dev/null || true' EXIT

failed=0
# expect STATUS NAME COMMAND...: runs COMMAND and says whether it ended with STATUS
expect() {
    local status=0 good bad
    timeout 150 "${@:3}" >"$log" 2>&1 || status=$?
    good=$(grep -c '^ok ' "$log" || true)
    bad=$(grep -c '^FAIL ' "$log" || true)
    # A client that found no server has checked nothing: that is never the failure asked for.
    if [ "$status" = "$1" ] && [ $((good + bad)) -ge 6 ] && ! grep -q '^FAIL connection' "$log"; then
        echo "ok   $2 ($good good, $bad bad)"
    else
        echo "FAIL $2: status $status, wanted $1"
        sed 's/^/     /' "$log"
        failed=1
    fi
}

# start_server NAME: leaves its process id in $server and its port in $port
start_server() {
    rm -f .work/server.log
    # shellcheck disable=SC2086 # a command and its arguments
    ${peers[$1]} server >.work/server.log 2>.work/server.err &
    server=$!
    port=''
    for _ in $(seq 100); do
        port=$(sed -n '1s/^port //p' .work/server.log 2>/dev/null || true)
        if [ -n "$port" ]; then return; fi
        sleep 0.1
    done
    echo "FAIL the $1 server printed no port"
    exit 1
}

# stop_server NAME: SIGTERM, and the status has to be 0
stop_server() {
    local status=0
    kill -TERM "$server"
    wait "$server" || status=$?
    server=''
    if [ "$status" = 0 ]; then
        echo "ok   the $1 server ends on SIGTERM"
    else
        echo "FAIL the $1 server: status $status on SIGTERM"
        sed 's/^/     /' .work/server.err
        failed=1
    fi
}

for name in websockets picows ws; do
    start_server "$name"
    expect 0 "contract of the $name server" python3 contract_check.py "$port"
    for client in websockets picows ws; do
        # shellcheck disable=SC2086 # a command and its arguments
        {
            expect 0 "$client client, $name server" ${peers[$client]} client "ws://127.0.0.1:$port/"
            expect 0 "$client client, $name server in fragments" ${peers[$client]} client "ws://127.0.0.1:$port/fragments"
            expect 1 "$client client fails where $name closes at once" \
                ${peers[$client]} client "ws://127.0.0.1:$port/close?code=1011"
            expect 1 "$client client fails where $name sends a message too many" \
                ${peers[$client]} client "ws://127.0.0.1:$port/ping"
        }
    done
    stop_server "$name"
done
exit "$failed"
