#!/usr/bin/env python3
"""Judge one Autobahn report: summarize.py --expect N REPORT_DIR

Prints counts per case group and every case that is not OK or INFORMATIONAL, in behavior or in closing.
Exit status: 0 if exactly N cases ran and all of them are good, 1 if not, 2 if there is no readable report.
"""
import argparse
import collections
import json
import pathlib
import sys

GOOD = {"OK", "INFORMATIONAL"}  # NON-STRICT, UNIMPLEMENTED, FAILED and anything unknown fail the run


def case_key(case_id):
    """The numbers of a case id, so that 1.2.10 sorts after 1.2.9."""
    return [int(part) for part in case_id.split(".")]


def print_counts(cases):
    """One line for each group (the first number of the case id) with a count for each result."""
    groups = collections.defaultdict(collections.Counter)
    for case_id, result in cases.items():
        groups[case_key(case_id)[0]][result["behavior"]] += 1
    for group, counts in sorted(groups.items()):
        shown = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        print(f"  group {group:2}: {sum(counts.values()):3} cases: {shown}")


def bad_cases(cases):
    """A line for each case whose behavior or closing is not good, in the order of the case ids."""
    for case_id in sorted(cases, key=case_key):
        result = cases[case_id]
        behavior, closing = result["behavior"], result["behaviorClose"]
        if not {behavior, closing} <= GOOD:
            yield f"  BAD {case_id}: behavior {behavior}, closing {closing}, code {result.get('remoteCloseCode')}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--expect", type=int, required=True, metavar="N", help="number of cases that must have run")
    parser.add_argument("report_dir", type=pathlib.Path)
    options = parser.parse_args()
    try:
        report = json.loads((options.report_dir / "index.json").read_text())
        (agent, cases), = report.items()
    except (OSError, ValueError) as error:
        print(f"{options.report_dir}: no report of one agent: {error}", file=sys.stderr)
        return 2

    print(f"{agent}: {len(cases)} cases")
    print_counts(cases)
    faults = list(bad_cases(cases))
    if len(cases) != options.expect or not cases:
        faults.append(f"  BAD {len(cases)} cases ran, {options.expect} were asked for")
    print("\n".join([*faults, f"{agent}: {'FAILED' if faults else 'passed'}"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
