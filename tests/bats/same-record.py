#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""same-record.py RECORD TRACE: holds what the file leaf recorded against what strace saw.

RECORD begins with the file's path; then come lines "write OFFSET LENGTH", "zero …",
"discard …", "resize SIZE 0" and "sync 0 0".  TRACE, of strace -f -y, has the marks
access("record begins") and access("record ends") around it.
"""
import collections
import re
import sys

CALL = re.compile(r"^(\w+)\([^<]*<[^>]*>(?:, )?(.*)\) += (-?\d+)")
READING = {"openat", "preadv", "preadv2", "pread64", "read", "lseek", "fstat", "newfstatat", "fcntl", "close",
           "fstatfs", "fadvise64", "ioctl", "readlinkat", "statx",
           "sync_file_range"}  # of which nothing is made durable


def joined(path):
    """The lines of a trace, those put together that another thread's cut in two."""
    begun = {}
    for line in open(path):
        thread, text = line.split(None, 1)
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            begun[thread] = text[:-len("<unfinished ...>")].rstrip()
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", text)
        yield begun.pop(thread, "") + resumed.group(1) if resumed else text


def seen(path, file):
    inside = False
    for text in joined(path):
        if "record begins" in text:
            inside = True
        elif "record ends" in text:
            return
        elif inside and "<%s>" % file in text:
            yield text


def change_of(text):
    """What a call did, as the record has it; None where it only looks."""
    match = CALL.match(text)
    if not match:
        sys.exit("what is this: " + text)
    name, arguments, result = match.group(1), match.group(2), int(match.group(3))
    if name in READING:
        return None
    numbers = arguments.split(", ")
    if name == "pwritev2":
        return ("write", int(numbers[-2]), result)
    if name == "fallocate" and numbers[0] == "FALLOC_FL_KEEP_SIZE":
        return None  # room is reserved, and no byte changes
    if name == "fallocate":
        kind = "discard" if "PUNCH_HOLE" in arguments else "zero"
        return (kind, int(numbers[-2]), int(numbers[-1]))
    if name == "ftruncate":
        return ("resize", int(numbers[0]), 0)
    if name == "fdatasync":
        return ("sync", 0, 0)
    sys.exit("written around the file leaf: " + text)


def recorded(lines):
    for line in lines:
        kind, offset, length = line.split()
        yield (kind, int(offset), int(length))


def without_holes(changes):
    """A hole may serve for zeros, so that both count as one."""
    return collections.Counter(("zero",) + c[1:] if c[0] == "discard" else c for c in changes)


lines = open(sys.argv[1]).read().splitlines()
ours = without_holes(recorded(lines[1:]))
theirs = without_holes(filter(None, map(change_of, seen(sys.argv[2], lines[0]))))
if not ours or ours != theirs:
    sys.exit("recorded only: %s\ntraced only: %s" % (ours - theirs, theirs - ours))
print("%d changes" % sum(ours.values()))
