#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes a disk over NBD at random, and a copy of it in memory likewise.

nbd-differ.py SOCKET_OR_URI REFERENCE SEED OPERATIONS

Reads the disk's first contents into REFERENCE's place, then writes, zeroes, trims, flushes
and reads through two connections, holding every read against the copy.  Writes the copy to
REFERENCE at the end.  A trimmed range may read as before or as zeros, so it is zeroed
right after.
"""
import random
import sys

import nbd

socket, reference, seed, operations = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = random.Random(seed)


def connect():
    handle = nbd.NBD()
    if "://" in socket:
        handle.set_uri_allow_local_file(True)
        handle.connect_uri(socket)
    else:
        handle.connect_unix(socket)
    return handle


handles = [connect(), connect()]
size = handles[0].get_size()
STEP = 1 << 20
copy = bytearray()
while len(copy) < size:
    copy += handles[0].pread(min(STEP, size - len(copy)), len(copy))


def pick_range():
    length = rng.choice([1, 100, 512, 4096, 5000, 65536, 200000, 1 << 20])
    length = min(rng.randint(1, length), size)
    offset = rng.randint(0, size - length)
    if rng.random() < 0.5:
        offset -= offset % 512
    return offset, length


for _ in range(operations):
    handle = rng.choice(handles)
    offset, length = pick_range()
    what = rng.random()
    if what < 0.5:
        data = rng.randbytes(length)
        handle.pwrite(data, offset, nbd.CMD_FLAG_FUA if rng.random() < 0.02 else 0)
        copy[offset:offset + length] = data
    elif what < 0.7:
        if rng.random() < 0.5:
            handle.trim(length, offset)
        handle.zero(length, offset, nbd.CMD_FLAG_NO_HOLE if rng.random() < 0.5 else 0)
        copy[offset:offset + length] = bytes(length)
    elif what < 0.73:
        handle.flush()
    elif handle.pread(length, offset) != copy[offset:offset + length]:
        sys.exit("%d bytes at %d differ" % (length, offset))

for handle in handles:
    handle.shutdown()
with open(reference, "wb") as out:
    out.write(copy)
