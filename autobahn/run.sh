#!/usr/bin/env bash
# Runs the Autobahn test suite against the example echo server and the example client.
#
#   run.sh [--quick|--full] [--tls] [--side server|client|both] [--server-api API] [--client-api API]
#          [--deflate|--deflate-context] [--server-cmd CMD] [--client-cmd CMD]
#
#   --quick, --full   which cases (default: quick); see README.md for what quick leaves out
#   --tls             over wss, with a certificate made by openssl for this run
#   --side            which end to test (default: both)
#   --server-api, --client-api
#                     frames, messages, async, both (frames and messages, the default) or all: the API the example is to use
#   --deflate, --deflate-context
#                     with compression, groups 12 and 13 too: of each message by itself, or with reference to earlier ones; through
#                     all APIs, unless one is named behind it
#   --server-cmd CMD  test another server: CMD is a shell command, {addr} in it becomes HOST:PORT (port 0);
#                     its first line of output has to be `listening on ws://HOST:PORT`, SIGTERM ends it
#   --client-cmd CMD  test another client: {url} and {agent} in CMD become the fuzzing server and the agent's name
#
# With --tls, {cert} and {key} in both CMDs become PEM files, and the scheme is wss.
#
# Environment:
#   WSTEST            a wstest launcher; if unset, Docker runs crossbario/autobahn-testsuite
#   CASE_TIMEOUT      seconds that one whole run against one end may take (default: 1800)
#
# Reports go to autobahn/reports/, logs to autobahn/.work/. Exit status 0: every case is OK or INFORMATIONAL.
# Listens on loopback only and ends only what it started.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
work=$here/.work
reports=$here/reports
image=crossbario/autobahn-testsuite
limit=${CASE_TIMEOUT:-1800}

selection=quick scheme=ws suffix='' side=both server_api=both client_api=both server_cmd='' client_cmd=''
deflate=''
while [ $# -gt 0 ]; do
    case $1 in
        --quick | --full) selection=${1#--} ;;
        --tls) scheme=wss suffix=-tls ;;
        --side) side=${2:?}; shift ;;
        --server-api) server_api=${2:?}; shift ;;
        --client-api) client_api=${2:?}; shift ;;
        --deflate | --deflate-context) deflate=$1 server_api=all client_api=all ;;
        --server-cmd) server_cmd=${2:?}; shift ;;
        --client-cmd) client_cmd=${2:?}; shift ;;
        -h | --help) sed -n '2,/^set -e/{/^set -e/!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        *) echo "run.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done

cases='"1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"'
exclude=''
if [ -n "$deflate" ]; then
    cases+=', "12.*", "13.*"' suffix+=${deflate/--/-}
fi
if [ "$selection" = quick ]; then
    cases=${cases/'"9.*"'/'"9.1.1", "9.2.1", "9.3.1", "9.4.1", "9.5.1", "9.6.1", "9.7.1", "9.8.1"'}
    # Of compression two sizes of messages of each kind, in each agreement.
    cases=${cases/'"12.*", "13.*"'/'"12.*.3", "12.*.12", "13.*.3", "13.*.12"'}
    exclude='"6.4.2", "6.4.3", "6.4.4"' # a second each, by design; 6.4.1 stays
fi

# ---------------------------------------------------------------- processes
pids=()
container=femtows-autobahn-$$
cleanup() {
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    [ -n "${WSTEST:-}" ] || docker rm -f "$container" >/dev/null 2>&1 || true
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# start LOG COMMAND...: runs it in the background, bounded in time; its process id is left in $started
start() {
    timeout --kill-after=5 "$limit" "${@:2}" >"$1" 2>&1 &
    started=$!
    pids+=("$started")
}

# stop PID: asks it to end, waits, and returns its exit status
stop() {
    kill -TERM "$1" 2>/dev/null || true
    local status=0
    wait "$1" || status=$?
    return "$status"
}

# wait_for LOG PATTERN PID: until a line of LOG matches, at most 30 s; prints the last field of that line
wait_for() {
    local line
    for _ in $(seq 300); do
        if line=$(grep -m1 -E "$2" "$1"); then echo "${line##* }"; return; fi
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    echo "run.sh: no line '$2' in $1:" >&2
    tail -n 5 "$1" >&2
    return 1
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# certificate: makes $cert, which is for 127.0.0.1 and vouches for itself, and its $key
certificate() {
    cat >"$work/openssl.cnf" <<'EOF'
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = femtows under test
[extensions]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1
EOF
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -config "$work/openssl.cnf" \
        -keyout "$key" -out "$cert" 2>"$work/openssl.log" || { cat "$work/openssl.log" >&2; return 1; }
}

# wstest LAUNCHER_ARGUMENTS -- DOCKER_NETWORK_ARGUMENTS: puts the command line into $wstest_command
wstest() {
    local arguments=()
    while [ "$1" != -- ]; do arguments+=("$1"); shift; done
    shift
    if [ -n "${WSTEST:-}" ]; then
        wstest_command=("$WSTEST" "${arguments[@]}")
    else
        wstest_command=(docker run --rm --init --name "$container" --user "$(id -u):$(id -g)" "$@"
            -v "$work:$work:ro" -v "$reports:$reports" "$image" wstest "${arguments[@]}")
    fi
}

# spec TEMPLATE NAME URL: writes the spec of run NAME and prints its path
spec() {
    sed -e "s|@OUTDIR@|$reports/$2|; s|@AGENT@|$2|; s|@URL@|$3|; s|@CASES@|$cases|; s|@EXCLUDE@|$exclude|" \
        -e "s|@KEY@|$key|; s|@CERT@|$cert|" \
        "$here/$1" >"$work/$2.json"
    echo "$work/$2.json"
}

# ---------------------------------------------------------------- one run
failed=0
fail() { echo "run.sh: $*" >&2; failed=1; }

# judge NAME WSTEST_LOG: all cases that wstest announced must be in the report, and good
judge() {
    local announced
    announced=$(sed -nE 's/^Ok, will run ([0-9]+) test cases.*/\1/p' "$2" | head -n 1)
    python3 "$here/summarize.py" --expect "${announced:-0}" "$reports/$1" || fail "$1 failed; see $reports/$1/index.html"
}

# test_server NAME COMMAND...: our end is the server
test_server() {
    local name=$1 server url
    rm -rf "${reports:?}/$name"
    start "$work/$name.log" "${@:2}"
    server=$started
    url=$(wait_for "$work/$name.log" "^listening on $scheme://" "$server") || { fail "$name did not start"; return; }
    wstest -m fuzzingclient -s "$(spec fuzzingclient.json "$name" "$url")" -- --network host
    start "$work/$name.wstest.log" "${wstest_command[@]}"
    wait "$started" || fail "$name: wstest ended with status $?"
    judge "$name" "$work/$name.wstest.log"
    stop "$server" || fail "$name: the server ended with status $? on SIGTERM"
}

# test_client NAME URL COMMAND...: our end is the client
test_client() {
    local name=$1 url=$2 fuzzer
    rm -rf "${reports:?}/$name"
    wstest -m fuzzingserver -s "$(spec fuzzingserver.json "$name" "$url")" --webport 0 \
        -- -p "${url#*://}:${url##*:}"
    start "$work/$name.wstest.log" "${wstest_command[@]}"
    fuzzer=$started
    wait_for "$work/$name.wstest.log" '^Ok, will run' "$fuzzer" >/dev/null || { fail "$name: no fuzzing server"; return; }
    until (exec 3<>"/dev/tcp/127.0.0.1/${url##*:}") 2>/dev/null; do
        kill -0 "$fuzzer" 2>/dev/null || { fail "$name: wstest ended early"; return; }
        sleep 0.1
    done
    start "$work/$name.log" "${@:3}"
    wait "$started" || fail "$name: the client ended with status $?"
    stop "$fuzzer" || true # wstest's own status on SIGTERM says nothing
    judge "$name" "$work/$name.wstest.log"
}

# apis API: the list that `both` and `all` stand for
apis() {
    case $1 in
        both) echo frames messages ;;
        all) echo frames messages async ;;
        frames | messages | async | 'messages async') echo "$1" ;;
        *) echo "run.sh: an API is frames, messages, async, both or all, not $1" >&2; return 2 ;;
    esac
}

# other CMD NAME URL: CMD with everything in braces replaced
other() {
    local command=${1//'{addr}'/127.0.0.1:0}
    command=${command//'{agent}'/$2} command=${command//'{url}'/$3}
    command=${command//'{cert}'/$cert}
    echo "exec ${command//'{key}'/$key}"
}

# ---------------------------------------------------------------- all runs
mkdir -p "$work" "$reports"
cert='' key='' server_options=() client_options=() features=()
if [ "$scheme" = wss ]; then
    cert=$work/cert.pem key=$work/key.pem
    server_options=(--tls-cert "$cert" --tls-key "$key") client_options=(--tls-ca "$cert") features=(--features tls)
    certificate
fi
if [ -n "$deflate" ]; then
    server_options+=("$deflate") client_options+=("$deflate") features+=(--features deflate)
fi
server_apis=$(apis "$server_api")
client_apis=$(apis "$client_api")
case $side in server | client | both) ;; *) echo "run.sh: --side is server, client or both" >&2; exit 2 ;; esac
if { [ "$side" != client ] && [ -z "$server_cmd" ]; } || { [ "$side" != server ] && [ -z "$client_cmd" ]; }; then
    cargo build --manifest-path "$root/Cargo.toml" --release "${features[@]}" \
        --example echo_server --example autobahn_client
fi
examples=${CARGO_TARGET_DIR:-$root/target}/release/examples

if [ "$side" != client ] && [ -n "$server_cmd" ]; then
    name=server-other$suffix
    test_server "$name" bash -c "$(other "$server_cmd" "$name" '')"
elif [ "$side" != client ]; then
    for api in $server_apis; do
        test_server "server-$api$suffix" "$examples/echo_server" --addr 127.0.0.1:0 --api "$api" --validate-utf8 \
            --max-frame $((32 << 20)) --max-message $((32 << 20)) "${server_options[@]}"
    done
fi

if [ "$side" != server ] && [ -n "$client_cmd" ]; then
    name=client-other$suffix url=$scheme://127.0.0.1:$(free_port)
    test_client "$name" "$url" bash -c "$(other "$client_cmd" "$name" "$url")"
elif [ "$side" != server ]; then
    for api in $client_apis; do
        name=client-$api$suffix url=$scheme://127.0.0.1:$(free_port)
        test_client "$name" "$url" "$examples/autobahn_client" "$url" "$name" --api "$api" "${client_options[@]}"
    done
fi
exit "$failed"
