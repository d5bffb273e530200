#!/usr/bin/env python3
"""Counts the public items of the crate, as its documentation shows them.

    .ci/public_items.py            counts by kind
    .ci/public_items.py --list     every item, one per line

An item is a type, trait, function, method, constant or alias that a user can name. Each counts
once, whatever its number of paths. Variants and fields are counted apart, because they belong to
their type. What is hidden from the documentation is left out.

rustdoc's JSON output is not stable: RUSTC_BOOTSTRAP makes the stable compiler write it.
"""

import collections
import json
import os
import subprocess
import sys

PARTS = ("variant", "field")


def documentation():
    command = ["cargo", "rustdoc", "--quiet", "--lib", "--all-features", "--"]
    command += ["-Zunstable-options", "--output-format", "json"]
    subprocess.run(command, check=True, env={**os.environ, "RUSTC_BOOTSTRAP": "1"})
    metadata = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    target = json.loads(subprocess.check_output(metadata))["target_directory"]
    with open(f"{target}/doc/femtows.json", encoding="utf-8") as file:
        return json.load(file)


class Walk:
    def __init__(self, crate):
        self.index = crate["index"]
        self.seen = set()
        self.items = []
        self.module(crate["root"], "femtows")

    def item(self, number):
        return self.index.get(str(number))

    @staticmethod
    def kind(item):
        return next(iter(item["inner"]))

    def module(self, number, path):
        for child in self.item(number)["inner"]["module"]["items"]:
            item = self.item(child)
            if item and item["visibility"] == "public":
                self.public(child, item, path)

    def public(self, number, item, path):
        kind = self.kind(item)
        inner = item["inner"][kind]
        if kind == "module":
            self.module(number, f"{path}::{item['name']}")
        elif kind == "use":
            target = self.item(inner.get("id"))
            if target and inner["is_glob"]:
                self.module(inner["id"], path)
            elif target:
                self.public(inner["id"], target, path)
        elif number not in self.seen:
            self.seen.add(number)
            path = f"{path}::{item['name']}"
            self.items.append((kind, path))
            self.members(kind, inner, path)

    def members(self, kind, inner, path):
        if kind == "trait":
            self.add(inner["items"], path, only_public=False)
        if kind == "enum":
            self.add(inner["variants"], path, only_public=False)
        if kind == "struct" and isinstance(inner["kind"], dict):
            fields = inner["kind"].get("plain", {}).get("fields", [])
            self.add(fields, path, rename="field")
        for number in inner.get("impls", []) if kind != "trait" else []:
            block = self.item(number)
            if block and block["inner"]["impl"]["trait"] is None:
                self.add(block["inner"]["impl"]["items"], path)

    def add(self, numbers, path, only_public=True, rename=None):
        for number in numbers:
            item = self.item(number)
            if item and (not only_public or item["visibility"] == "public"):
                self.items.append((rename or self.kind(item), f"{path}::{item['name']}"))


def main():
    items = Walk(documentation()).items
    if "--list" in sys.argv[1:]:
        for kind, path in sorted(items, key=lambda item: item[1]):
            print(f"{kind:12} {path}")
    kinds = collections.Counter(kind for kind, _ in items)
    for kind, count in kinds.most_common():
        print(f"{count:6} {kind}")
    parts = sum(kinds[part] for part in PARTS)
    print(f"{len(items) - parts:6} items, and {parts} variants and fields")


main()
