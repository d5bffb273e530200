#!/usr/bin/env python3
"""Fails if a public name of the installed picows is not in a first column of docs/picows.md.

Run by the Python that setup.sh has made: tests/interop/.work/venv/bin/python tests/interop/picows_names.py
"""
import dataclasses
import inspect
import pathlib
import re
import sys

import picows
import picows.picows

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "picows.md"
UNLISTED = ("WSCloseInfo", "WSCloseHandshake")  # public, but not in picows.__all__


def names():
    """Every public name: functions, their parameters, classes, and their members."""
    for name in picows.__all__:
        item = getattr(picows, name)
        yield name
        if inspect.isclass(item):
            yield from (f"{name}.{member}" for member in members(item))
        elif callable(item):
            yield from inspect.signature(item).parameters
    for name in UNLISTED:
        yield name
        yield from (f"{name}.{member}" for member in members(getattr(picows.picows, name)))


def members(item):
    if issubclass(item, BaseException):
        return []
    inherited = set(dir(int)) if issubclass(item, int) else set()
    fields = {field.name for field in dataclasses.fields(item)} if dataclasses.is_dataclass(item) else set()
    found = (set(dir(item)) | fields) - inherited
    return sorted(member for member in found if not member.startswith("_"))


def main():
    rows = PAGE.read_text().splitlines()
    listed = {match[1] for row in rows if (match := re.match(r"\| `([\w.]+)` \|", row))}
    missing = sorted(set(names()) - listed)
    if missing:
        sys.exit(f"picows {picows.__version__} has names that {PAGE.name} does not tell of: {', '.join(missing)}")
    print(f"{PAGE.name} tells of every public name of picows {picows.__version__}")


if __name__ == "__main__":
    main()
