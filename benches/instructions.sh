#!/usr/bin/env bash
# Counts the instructions of the hot paths and compares them with those on record.
#
# Usage: benches/instructions.sh [--record] [--lto] [--skip-without-valgrind]
#   --record                  writes benches/instructions.txt instead of comparing
#   --lto                     adds a column with link-time optimization, which is not judged
#   --skip-without-valgrind   without valgrind, says so and exits with 0
#
# Exits with 1 if a count exceeds the record by more than its tolerance or is not on record, and with
# 2 if nothing could be counted. The tolerance is 2 %, and 4 % for loop/ and handshake/. Their paths
# cross the codegen units of the library, and unrelated code moves the borders of those, which
# decides what is inlined: it changed loop/closed/20 by up to 1.7 %, and the others by nothing.
#
# Counts belong to a compiler and a C library. With others than those on record, differences are
# shown and not judged.
set -euo pipefail
cd "$(dirname "$0")/.."

record=benches/instructions.txt
recording=false with_lto=false may_skip=false
for word in "$@"; do
    case $word in
    --record) recording=true ;;
    --lto) with_lto=true ;;
    --skip-without-valgrind) may_skip=true ;;
    *) sed -n '4,7s/^# \?//p' "$0" >&2; exit 2 ;;
    esac
done

if ! command -v valgrind >/dev/null; then
    echo "SKIPPED: instructions were not counted, valgrind is not installed" >&2
    $may_skip && exit 0
    exit 2
fi

# build [NAME=VALUE...]: prints the path of the programs. Without settings they are built as users
# build, in Cargo's default release profile, for any CPU of this architecture.
build() {
    env -u CARGO_PROFILE_BENCH_LTO -u CARGO_PROFILE_BENCH_CODEGEN_UNITS RUSTFLAGS= "$@" \
        cargo bench --locked --bench instructions --no-run --message-format json |
        python3 -c 'import json, sys
artifacts = [message for message in map(json.loads, sys.stdin) if message["reason"] == "compiler-artifact"]
print(*[made["executable"] for made in artifacts if made["target"]["name"] == "instructions"])'
}

# callgrind PROGRAM ARGUMENT...: runs a program under callgrind, which writes to $counts.
callgrind() {
    # An empty environment: its size would move the stack.
    env -i valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*::collected*' \
        --callgrind-out-file="$counts" "$@" 2>"$log" || { cat "$log" >&2; return 1; }
}

# count PROGRAM NAME: prints the instructions per frame.
count() {
    local frames total
    frames=$(callgrind "$1" run "$2") || return 1
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
        { lto = $3 == "" ? "" : sprintf(" %12.2f", $3) }
        !($1 in recorded) {
            printf "%-24s %12s %12.2f %8s%s NOT ON RECORD\n", $1, "", $2, "", lto
            bad = 1
            next
        }
        {
            ratio = $2 / recorded[$1]
            most = $1 ~ /^(loop|handshake)\// ? 1.04 : 1.02
            verdict = ratio > most ? "WORSE" : ratio < 0.95 ? "better: record anew with --record" : ""
            bad = bad || ratio > most
            printf "%-24s %12.2f %12.2f %8.3f%s %s\n", $1, recorded[$1], $2, ratio, lto, verdict
        }
        END { exit bad && judge == "true" }' "$record" "$results"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
counts=$work/callgrind.out log=$work/log results=$work/results
program=$(build) && [ -x "$program" ] || cannot_count "the programs were not built"
if $with_lto; then
    linked=$(build CARGO_PROFILE_BENCH_LTO=fat CARGO_PROFILE_BENCH_CODEGEN_UNITS=1) && [ -x "$linked" ] ||
        cannot_count "the programs were not built with link-time optimization"
fi
masking=$(callgrind "$program" backend) || cannot_count "callgrind does not run"
made_with | sed 's/^/# /' >"$work/made_with"

for name in $("$program" list); do
    now=$(count "$program" "$name") || cannot_count "$name"
    lto=
    if $with_lto; then
        lto=$(count "$linked" "$name") || cannot_count "$name with link-time optimization"
    fi
    echo "$name $now $lto" >>"$results"
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
heading=$(printf '%-24s %12s %12s %8s' "instructions per frame" recorded now ratio)
if $with_lto; then heading+=$(printf ' %12s' "with LTO"); fi
echo "$heading"
compare "$judge" || { echo "More instructions than on record: make it cheaper, or record anew and say why."; exit 1; }
