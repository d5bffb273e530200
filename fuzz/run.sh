#!/usr/bin/env bash
# Fuzzes with coverage instrumentation, without cargo-fuzz, and prints one line per target.
#
#   run.sh [--seconds N] [--keep] [--asan] [TARGET...]
#
#   --seconds N  time per target (default: 30); two targets run at a time
#   --keep       adds to fuzz/corpus/TARGET what reaches new code (default: a temporary folder)
#   --asan       with AddressSanitizer
#   TARGET       default: all
#
# Each target starts from fuzz/corpus-seeds/TARGET. The unstable flags work on the stable compiler
# by RUSTC_BOOTSTRAP. Logs and inputs that fail go to fuzz/artifacts/. Exit status 1: a target
# failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=30 keep=false sanitizer='' targets=()
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=${2:?}; shift ;;
    --keep) keep=true ;;
    --asan) sanitizer=-Zsanitizer=address ;;
    -h | --help) sed -n '2,/^set -e/{/^set -e/!s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    -*) echo "run.sh: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) targets+=("$1") ;;
    esac
    shift
done
if [ ${#targets[@]} -eq 0 ]; then
    for source in fuzz_targets/*.rs; do
        targets+=("$(basename "$source" .rs)")
    done
fi

host=$(rustc -vV | sed -n 's/^host: //p')
# The instrumentation that libFuzzer reads: counters per edge, their addresses, and operands of
# comparisons.
flags="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 -Cdebug-assertions
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares $sanitizer"
# A target triple keeps the flags from build scripts and procedural macros.
RUSTC_BOOTSTRAP=1 RUSTFLAGS=$flags cargo build --release --target "$host" --bins

mkdir -p artifacts
# Runs one target and reports executions and covered edges.
fuzz_one() {
    local target=$1 log=artifacts/$1.log corpus
    corpus=$(mktemp -d)
    $keep && corpus=corpus/$target && mkdir -p "$corpus"
    local folders=("$corpus")
    [ -d "corpus-seeds/$target" ] && folders+=("corpus-seeds/$target")
    local status=0
    "target/$host/release/$target" "${folders[@]}" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=25 \
        -artifact_prefix="artifacts/$target-" -print_final_stats=1 >"$log" 2>&1 || status=$?
    $keep || rm -rf "$corpus"
    local executions edges
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1 | cut -d' ' -f2)
    if [ "$status" -ne 0 ]; then
        echo "$target: FAILED, see fuzz/$log"
        tail -n 30 "$log"
        return 1
    fi
    # An instrumentation that was lost would still run, and find nothing.
    if [ "${edges:-0}" -lt 10 ]; then
        echo "$target: covers ${edges:-no} edges: the instrumentation is missing, see fuzz/$log"
        return 1
    fi
    printf '%-22s %10d executions, %6d edges\n' "$target" "$executions" "$edges"
}

failed=0
for ((n = 0; n < ${#targets[@]}; n += 2)); do
    running=()
    for target in "${targets[@]:n:2}"; do
        fuzz_one "$target" &
        running+=($!)
    done
    for pid in "${running[@]}"; do
        wait "$pid" || failed=1
    done
done
exit "$failed"
