#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes a disk at random, and a copy of it in memory likewise.

differ.py WHERE REFERENCE SEED OPERATIONS

WHERE is the socket or the URI of an NBD server, or a file of a mount.  Reads the disk's first
contents, then writes, zeroes, discards, flushes and reads through two connections or handles, holding
every read against the copy.  Writes the copy to REFERENCE at the end.  A discarded range may
read as before or as zeros: the copy follows what it reads as then.
"""
import ctypes
import os
import random
import stat
import sys

where, reference, seed, operations = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = random.Random(seed)
STEP = 1 << 20


class Nbd:
    def __init__(self):
        import nbd
        self.flags, self.handle = nbd, nbd.NBD()
        if "://" in where:
            self.handle.set_uri_allow_local_file(True)
            self.handle.connect_uri(where)
        else:
            self.handle.connect_unix(where)
        self.size = self.handle.get_size()
        self.read, self.discard = self.handle.pread, self.handle.trim
        self.flush, self.close = self.handle.flush, self.handle.shutdown

    def write(self, data, at, durable):
        self.handle.pwrite(data, at, self.flags.CMD_FLAG_FUA if durable else 0)

    def zero(self, length, at, hole):
        self.handle.zero(length, at, 0 if hole else self.flags.CMD_FLAG_NO_HOLE)


class File:
    """Writes as they come, and sometimes as an application with an unusual taste does."""
    libc = ctypes.CDLL(None, use_errno=True)
    KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16

    def __init__(self):
        self.files = [os.open(where, os.O_RDWR), os.open(where, os.O_RDWR | os.O_DSYNC),
                      os.open(where, os.O_RDONLY)]
        self.size = os.stat(where).st_size

    def read(self, length, at):
        data = b""
        while len(data) < length:
            data += os.pread(self.files[rng.choice((0, 2))], length - len(data), at + len(data))
        return data

    def write(self, data, at, durable):
        half = rng.choice((0, len(data) // 2))
        done = os.pwritev(self.files[durable], [data[:half], data[half:]], at)
        assert done == len(data), (done, len(data))

    def allocate(self, mode, length, at):
        status = self.libc.fallocate(self.files[0], mode | self.KEEP_SIZE, ctypes.c_long(at),
                                     ctypes.c_long(length))
        assert status == 0, os.strerror(ctypes.get_errno())

    def zero(self, length, at, hole):
        self.allocate(self.PUNCH_HOLE if hole else self.ZERO_RANGE, length, at)

    def discard(self, length, at):
        self.zero(length, at, True)

    def flush(self):
        os.fsync(self.files[0])

    def close(self):
        for file in self.files:
            os.close(file)


kind = Nbd if "://" in where or stat.S_ISSOCK(os.stat(where).st_mode) else File
handles = [kind(), kind()]
size = handles[0].size
copy = bytearray()
while len(copy) < size:
    copy += handles[0].read(min(STEP, size - len(copy)), len(copy))


def pick_range():
    length = rng.choice([1, 100, 512, 4096, 5000, 65536, 200000, STEP])
    length = min(rng.randint(1, length), size)
    offset = rng.randint(0, size - length)
    if rng.random() < 0.5:
        offset -= offset % 512
    return offset, length


def follow(handle, offset, length):
    """After a discard each byte is what it was, or zero."""
    now = handle.read(length, offset)
    if any(b not in (0, a) for a, b in zip(copy[offset:offset + length], now)):
        sys.exit("seed %d: a discard of %d bytes at %d made something new" % (seed, length, offset))
    copy[offset:offset + length] = now


for _ in range(operations):
    handle = rng.choice(handles)
    offset, length = pick_range()
    what = rng.random()
    if what < 0.5:
        data = rng.randbytes(length) if rng.random() < 0.9 else bytes(length)
        handle.write(data, offset, rng.random() < 0.02)
        copy[offset:offset + length] = data
    elif what < 0.65:
        handle.zero(length, offset, rng.random() < 0.5)
        copy[offset:offset + length] = bytes(length)
    elif what < 0.72:
        handle.discard(length, offset)
        follow(handle, offset, length)
    elif what < 0.75:
        handle.flush()
    elif handle.read(length, offset) != copy[offset:offset + length]:
        sys.exit("seed %d: %d bytes at %d differ" % (seed, length, offset))

for handle in handles:
    handle.close()
with open(reference, "wb") as out:
    out.write(copy)
