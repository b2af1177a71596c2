#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""same-tables.py FILE: each line of FILE names an image and who must list it as we do, a letter each:
s sfdisk, b libblkid, m the Sleuth Kit.  Prints what differs; and where --list and --list --json do, for all."""
import concurrent.futures
import json
import os
import re
import subprocess
import sys

IMGMOUNT = os.environ["IMGMOUNT"]
TABLE_KEYS = {"label", "id", "device", "unit", "firstlba", "lastlba", "sectorsize", "table-length", "grain"}
ENTRY_KEYS = {"node", "start", "size", "type", "uuid", "name", "attrs", "bootable"}


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode(errors="replace")


def sfdisk(image, ours):
    theirs = json.loads(output("sfdisk", "--json", image))["partitiontable"]
    yield {k: v for k, v in theirs.items() if k != "partitions"}, {k: ours[k] for k in TABLE_KEYS & set(ours)}
    ours = [{k: e[k] for k in ENTRY_KEYS & set(e)} for e in ours["partitions"]]
    yield theirs.get("partitions", []), ours


def libblkid(image, ours):
    text = output("partx", "--noheadings", "--output", "NR,START,SECTORS", "--show", image)
    theirs = [tuple(map(int, line.split())) for line in text.splitlines()]
    yield theirs, [(e["number"], e["start"], e["size"]) for e in ours["partitions"]]


def sleuthkit(image, ours):
    rows = re.findall(r"^\d+: +(?:\d+:)*\d+ +(\d+) +\d+ +(\d+) ", output("mmls", "-a", image), re.M)
    theirs = sorted((int(start), int(length)) for start, length in rows)
    yield theirs, sorted((e["start"], e["size"]) for e in ours["partitions"] if e["file"])


def text_is_json(image, ours):
    """The listing for people says the same as the one for programs."""
    text = output(IMGMOUNT, "--list", image).splitlines()
    rows = [re.match(r" *(p?)(\d+) +(\d+) +(\d+) +(\d+) ", line) for line in text]
    listed = [(bool(m[1]), *map(int, m.groups()[1:])) for m in rows if m]
    told = [(e["file"] is not None, e["number"], e["start"], e["last"], e["size"]) for e in ours["partitions"]]
    # Numbers past 63 bits are no integers in JSON.
    yield [tuple(map(float, row)) for row in listed], [tuple(map(float, row)) for row in told]
    yield [line[9:] for line in text if line.startswith("warning: ")], ours["warnings"]
    flagged = [line for line in text[2:] if not line.startswith("warning: ")]
    for line, entry in zip(flagged, ours["partitions"]):
        for flag in entry["flags"]:
            yield flag in line, True


def check(line):
    name, *who = line.split()
    image = name + ".img"
    said = []
    witnesses = [text_is_json]
    witnesses += [{"s": sfdisk, "b": libblkid, "m": sleuthkit}[letter] for letter in "".join(who)]
    try:
        ours = json.loads(output(IMGMOUNT, "--list", "--json", image))["partitiontable"]
        for witness in witnesses:
            for theirs, mine in witness(image, ours):
                if theirs != mine:
                    said.append(f"{name}: {witness.__name__}:\n  {theirs}\n  {mine}")
    except ValueError as error:
        said.append(f"{name}: {error}")
    return said


def main():
    lines = [line.split("#")[0].strip() for line in open(sys.argv[1])]
    lines = [line for line in lines if line]
    missing = {f[:-4] for f in os.listdir(".") if f.endswith(".img")} ^ {line.split()[0] for line in lines}
    said = [f"{name}: not in the list, or not there" for name in sorted(missing)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for more in pool.map(check, lines):
            said += more
    print("\n".join(said))
    sys.exit(bool(said))


main()
