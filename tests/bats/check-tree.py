#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""check-tree.py RAW LISTING TREE: the mounted TREE against the bytes of RAW and what --list --json said: every pN is
its range of the disk, and the gaps are what the outer partitions leave, so that together they have each byte once."""
import json
import os
import sys

raw = open(sys.argv[1], "rb").read()
table = json.load(open(sys.argv[2]))["partitiontable"]
tree = sys.argv[3]


def content(name):
    with open(os.path.join(tree, name), "rb") as file:
        return file.read()


entries = [e for e in table["partitions"] if e["file"]]
assert len(raw) == table["bytes"], (len(raw), table["bytes"])
assert content("disk") == raw, "the disk"
names = {name for name in os.listdir(tree) if name[0] == "p"}
assert names == {e["file"] for e in entries}, names
assert len(names) == len(entries), "two entries of one number"

used = []  # what outer partitions have; one for the whole disk is no part of the division
for e in entries:
    begin, end = e["offset"], e["offset"] + e["bytes"]
    assert begin == e["start"] * table["sectorsize"] and end <= len(raw), e
    assert content(e["file"]) == raw[begin:end], e["file"]
    if "inside" not in e and e["type-name"] != "Whole disk":
        used.append((begin, end))

gaps = []
if os.path.isdir(os.path.join(tree, "gaps")):
    for name in os.listdir(os.path.join(tree, "gaps")):
        first, sectors = (int(n) * table["sectorsize"] for n in name.split("-"))
        data = content("gaps/" + name)
        assert len(data) == min(sectors, len(raw) - first), name
        assert data == raw[first : first + sectors], name
        gaps.append((first, first + len(data)))

overlaps = any("overlaps" in e["flags"] for e in entries)
at = 0
for begin, end in sorted(used + gaps):
    if overlaps:
        assert begin <= at, f"bytes {at} to {begin} are in no file"
    else:
        assert begin == at, f"bytes {min(at, begin)} to {max(at, begin)} are in no file or in two"
    at = max(at, end)
assert at == len(raw), f"bytes from {at} on are in no file"
for begin, end in gaps:
    assert all(end <= b or e <= begin for b, e in used), "a gap in a partition"
