#!/usr/bin/env bash
# Compares the CPU time of femtows and uWebSockets per message with the second load generator.
#
# Usage: perf/second/run.sh [ROUNDS [SECONDS]]     default: 9 rounds of 1 second
#   FEMTOWS, UWEBSOCKETS   other commands, which get `--port N` appended and print `listening`
#
# The rows are those of `perf compare --cpu`. Within a row the servers take turns, each in a new
# process. The server is pinned to the last core, and the generator to the one before it; at latency
# both share the last one. Ratios are taken within each round. Needs gcc, taskset, the harness's own
# release build and perf/setup.sh uwebsockets.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-9} seconds=${2:-1}
femtows=${FEMTOWS:-target/release/perf serve femtows}
uwebsockets=${UWEBSOCKETS:-peers/.work/bin/uwebsockets}

# fail REASON
fail() {
    echo "run.sh: $1" >&2
    exit 1
}

[ "$(nproc)" -ge 2 ] || fail "two cores are needed"
[ -x "${femtows%% *}" ] ||
    fail "$femtows is missing: cargo build --release --manifest-path perf/Cargo.toml"
[ -x "${uwebsockets%% *}" ] || fail "$uwebsockets is missing: perf/setup.sh uwebsockets"
ulimit -n "$(ulimit -Hn)"

work=$(mktemp -d)
server= port=
# The server is ended however the script ends.
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
"${CC:-gcc}" -O2 second/generator.c -o "$work/generator"

# Ranges like 0-3,8 in full.
mapfile -t cores < <(taskset -cp $$ | sed 's/.*: //' | tr ',' '\n' |
    awk -F- '{ for (core = $1; core <= $NF; core++) print core }')
last=${cores[-1]} before=${cores[-2]}

# start COMMAND: starts a server on $port and waits until it listens.
start() {
    # Below the ports that the kernel gives to connections.
    port=$((10000 + RANDOM % 20000))
    # Emptied here, so that the line of the server before is not taken for that of this one.
    : >"$work/out"
    # shellcheck disable=SC2086 # the command is words
    taskset -c "$last" $1 --port "$port" >>"$work/out" 2>"$work/err" &
    server=$!
    for _ in {1..200}; do
        ! grep -q '^listening' "$work/out" || return 0
        kill -0 "$server" 2>/dev/null || return 1
        sleep 0.05
    done
    return 1
}

stop() {
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}

# measure COMMAND CORE OPTION...: prints the CPU time per message in nanoseconds. CORE is that of
# the generator.
measure() {
    local command=$1 limit=$((${seconds%.*} + 60))
    local generate=(taskset -c "$2" "$work/generator" -t "$seconds")
    shift 2
    # A second time if another process had the port.
    start "$command" || { stop; start "$command"; } || fail "$command: $(cat "$work/err")"
    timeout "$limit" "${generate[@]}" -p "$port" -P "$server" "$@" >"$work/line" ||
        fail "$command: the generator failed"
    stop
    sed -n 's/.*cpu_ns_per_message=//p' "$work/line"
}

# Prints the median of lines of numbers, then the smallest and the largest.
median() {
    sort -g | awk '{ values[NR] = $1 }
        END {
            middle = (values[int((NR + 1) / 2)] + values[int(NR / 2) + 1]) / 2
            print middle, values[1], values[NR]
        }'
}

# row TITLE CORE OPTION...
row() {
    local title=$1 ours theirs ratios
    shift
    : >"$work/rounds"
    for ((round = 0; round < rounds; round++)); do
        # Apart from `paste`, which would hide a failure.
        measure "$femtows" "$@" >"$work/ours"
        measure "$uwebsockets" "$@" >"$work/theirs"
        paste "$work/ours" "$work/theirs" >>"$work/rounds"
    done
    read -r ours _ < <(cut -f1 "$work/rounds" | median)
    read -r theirs _ < <(cut -f2 "$work/rounds" | median)
    read -ra ratios < <(awk '{ print $1 / $2 }' "$work/rounds" | median)
    printf '%-36s %9.0f %12.0f %8.3f (%.3f..%.3f)\n' "$title" "$ours" "$theirs" "${ratios[@]}"
}

printf '%-36s %9s %12s %8s\n' "server CPU, ns per message" femtows uWebSockets ratio
for connections in 64 1000; do
    for size in 20 1024 16384; do
        options=(-c "$connections" -s "$size" -u $((connections * 100)))
        row "closed, $connections connections, $size B" "$before" "${options[@]}"
    done
done
for size in 20 8192 100000; do
    row "latency, same core, $size B" "$last" -c 1 -s "$size" -u 2000
done
