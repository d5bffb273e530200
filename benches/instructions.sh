#!/usr/bin/env bash
# Counts the instructions of the hot paths and compares them with those on record.
#
# Usage: benches/instructions.sh [--record] [--skip-without-valgrind]
#   --record                  writes benches/instructions.txt instead of comparing
#   --skip-without-valgrind   without valgrind, says so and exits with 0
#
# Exits with 1 if a count is more than 2 % above the record or not on record, 2 if nothing could be counted. Counts belong to a
# compiler and a C library: with others than those on record, differences are shown and not judged.
set -euo pipefail
cd "$(dirname "$0")/.."

record=benches/instructions.txt
recording=false may_skip=false
for word in "$@"; do
    case $word in
    --record) recording=true ;;
    --skip-without-valgrind) may_skip=true ;;
    *) sed -n '4,6s/^# \?//p' "$0" >&2; exit 2 ;;
    esac
done

if ! command -v valgrind >/dev/null; then
    echo "SKIPPED: instructions were not counted, valgrind is not installed" >&2
    $may_skip && exit 0
    exit 2
fi

# As the servers of `perf` are built, and for any CPU of this architecture.
build() {
    RUSTFLAGS='' CARGO_PROFILE_BENCH_LTO=fat CARGO_PROFILE_BENCH_CODEGEN_UNITS=1 \
        cargo bench --locked --bench instructions --no-run --message-format json |
        python3 -c 'import json, sys
artifacts = [message for message in map(json.loads, sys.stdin) if message["reason"] == "compiler-artifact"]
print(*[made["executable"] for made in artifacts if made["target"]["name"] == "instructions"])'
}

# callgrind ARGUMENT...: runs the program under callgrind, the output of which goes to $counts.
callgrind() {
    # An empty environment: its size would move the stack.
    env -i valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*::collected*' \
        --callgrind-out-file="$counts" "$program" "$@" 2>"$log" || { cat "$log" >&2; return 1; }
}

# Instructions per frame.
count() {
    local frames total
    frames=$(callgrind run "$1") || return 1
    total=$(sed -n 's/^totals: //p' "$counts")
    # Nothing counted: callgrind does not know the function by the name above.
    [ "$frames" -gt 0 ] && [ "$total" -gt 0 ] || return 1
    awk -v total="$total" -v frames="$frames" 'BEGIN { printf "%.2f\n", total / frames }'
}

# What the counts depend on beside the code.
made_with() {
    rustc -vV | sed -n '1p; s/^host: /host /p'
    getconf GNU_LIBC_VERSION
    valgrind --version
    echo "masking $masking"
}

# cannot_count REASON
cannot_count() {
    echo "Instructions could not be counted: $1" >&2
    exit 2
}

compare() {
    awk -v judge="$1" '
        NR == FNR { if ($1 != "#") recorded[$1] = $2; next }
        !($1 in recorded) { printf "%-24s %12s %12.2f          NOT ON RECORD\n", $1, "", $2; bad = 1; next }
        {
            ratio = $2 / recorded[$1]
            verdict = ratio > 1.02 ? "WORSE" : ratio < 0.95 ? "better: record anew with --record" : ""
            bad = bad || ratio > 1.02
            printf "%-24s %12.2f %12.2f %8.3f %s\n", $1, recorded[$1], $2, ratio, verdict
        }
        END { exit bad && judge == "true" }' "$record" "$results"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
counts=$work/callgrind.out log=$work/log results=$work/results
program=$(build) && [ -x "$program" ] || cannot_count "the programs were not built"
masking=$(callgrind backend) || cannot_count "callgrind does not run"
made_with | sed 's/^/# /' >"$work/made_with"

for name in $("$program" list); do
    now=$(count "$name") || cannot_count "$name"
    echo "$name $now" >>"$results"
done

if $recording; then
    {
        echo "# Instructions in user space per frame. Written by benches/instructions.sh --record, with"
        cat "$work/made_with"
        awk '{ printf "%-24s %12.2f\n", $1, $2 }' "$results"
    } >"$record"
    cat "$record"
    exit
fi

judge=true
if ! sed -n '2,${/^#/p}' "$record" | diff - "$work/made_with" >"$work/difference"; then
    echo "Not judged: the record (<) was made with other tools than these (>)."
    grep '^[<>]' "$work/difference"
    judge=false
fi
printf '%-24s %12s %12s %8s\n' "instructions per frame" recorded now ratio
compare "$judge" || { echo "More instructions than on record: make it cheaper, or record anew and say why."; exit 1; }
