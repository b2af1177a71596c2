#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes a disk until its time is up or its server dies, and knows what must be there then.

fault-client.py write WHERE STATE SECONDS [--seed N] [--errors NAME,…] [--workers N]
fault-client.py check RAW STATE
fault-client.py flush WHERE

WHERE is the socket of an NBD server or a file.  Each worker writes numbers into sectors of
its own, zeroes, discards and flushes; STATE then says what every sector may hold: what it
held at the last flush, or anything since.  A file STATE.ready appears once all workers are
connected.  The ERRORS, such as ENOSPC, are answers that will come, in the end; it prints
how many did.  check holds a raw copy of the disk against STATE.
"""
import argparse
import ctypes
import errno
import json
import os
import random
import stat
import struct
import sys
import threading
import time

SECTOR = 512
FINE, COARSE = 3, 150  # sectors of a piece, in the disk's first half and its second
PATIENCE = 60  # seconds
libc = ctypes.CDLL(None, use_errno=True)


def content(number):
    return struct.pack("<Q", number) * (SECTOR // 8)


def number_of(sector):
    """What a sector holds, or None for what nobody wrote."""
    number = struct.unpack_from("<Q", sector)[0]
    return number if content(number) == sector else None


class NbdDisk:
    def __init__(self, where):
        import nbd
        self.module, self.handle = nbd, nbd.NBD()
        self.handle.connect_unix(where)
        self.size = self.handle.get_size()

    def call(self, function, *arguments):
        try:
            return function(*arguments)
        except self.module.Error as failure:
            if failure.errnum in (0, errno.ENOTCONN) or not self.handle.aio_is_ready():
                raise ConnectionError from failure
            raise OSError(failure.errnum, str(failure)) from failure

    def read(self, length, at):
        return self.call(self.handle.pread, length, at)

    def write(self, data, at, durable):
        self.call(self.handle.pwrite, data, at, self.module.CMD_FLAG_FUA if durable else 0)

    def zero(self, length, at, hole):
        self.call(self.handle.zero, length, at, 0 if hole else self.module.CMD_FLAG_NO_HOLE)

    def discard(self, length, at):
        self.call(self.handle.trim, length, at)

    def flush(self):
        self.call(self.handle.flush)


class FileDisk:
    def __init__(self, where):
        self.where = where
        self.file = os.open(where, os.O_RDWR)
        self.synced = os.open(where, os.O_RDWR | os.O_DSYNC)
        self.size = os.stat(where).st_size

    def call(self, function, *arguments):
        try:
            return function(*arguments)
        except OSError as failure:
            if failure.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV) or not self.lives():
                raise ConnectionError from failure
            raise

    def lives(self):
        """A large write that the server's end cut in two is EIO, too."""
        try:
            os.close(os.open(self.where, os.O_RDONLY))
            return True
        except OSError:
            return False

    def read(self, length, at):
        return self.call(os.pread, self.file, length, at)

    def write(self, data, at, durable):
        done = self.call(os.pwrite, self.synced if durable else self.file, data, at)
        assert done == len(data), (done, len(data))

    def allocate(self, mode, length, at):
        if libc.fallocate(self.file, mode, ctypes.c_long(at), ctypes.c_long(length)) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")

    def zero(self, length, at, hole):
        self.call(self.allocate, 3 if hole else 17, length, at)

    discard = None  # nothing in between on a file

    def flush(self):
        self.call(os.fdatasync, self.file)


def connect(where):
    return (NbdDisk if stat.S_ISSOCK(os.stat(where).st_mode) else FileDisk)(where)


class Worker(threading.Thread):
    """Of the sectors that it has touched, held: what each may hold now; allowed: what after a
    crash."""
    met = threading.Event()  # an error that may come, in any worker

    def __init__(self, where, index, options):
        super().__init__()
        self.disk, self.index, self.options = connect(where), index, options
        self.rng = random.Random(options.seed * 100 + index)
        self.next = (options.seed << 32 | index << 28) + 1
        self.allowed, self.held, self.unflushed = {}, {}, set()
        self.errors, self.operations, self.failure = 0, 0, None

    def run(self):
        end = time.monotonic() + self.options.seconds
        try:
            while time.monotonic() < end or self.is_waited_for(end):
                self.step()
            if not self.options.errors:
                self.flush()
        except ConnectionError:
            pass
        except Exception as failure:  # for the main thread to say
            self.failure = failure

    def is_waited_for(self, end):
        """None of the errors came in time, on a slow machine."""
        return self.options.errors and not self.met.is_set() and time.monotonic() < end + PATIENCE

    def pick(self):
        half = self.disk.size // SECTOR // 2
        size, base = self.rng.choice(((FINE, 0), (COARSE, half)))
        pieces = half // size // self.options.workers
        piece = self.rng.randrange(pieces) * self.options.workers + self.index
        start = self.rng.randrange(size)
        return base + piece * size + start, self.rng.randint(1, size - start)

    def attempt(self, function, *arguments):
        """What it returned, and whether it worked: false for an error that may come."""
        self.operations += 1
        try:
            return function(*arguments), True
        except ConnectionError:
            raise
        except OSError as failure:
            if errno.errorcode.get(failure.errno) not in self.options.errors:
                raise
            self.errors += 1
            self.met.set()
            return None, False

    def look(self, first, n):
        """Holds N sectors against what was written; meets those that are new."""
        data, worked = self.attempt(self.disk.read, n * SECTOR, first * SECTOR)
        for k in range(n if worked else 0):
            s, number = first + k, number_of(data[k * SECTOR:(k + 1) * SECTOR])
            if s not in self.held:
                self.held[s], self.allowed[s] = {number}, {number}
            elif number not in self.held[s]:
                raise AssertionError("sector %d holds %s, not %s" % (s, number, self.held[s]))
        return worked

    def change(self, first, n, values, durable, function, *arguments):
        """VALUES: what the sectors hold afterwards; None: what they held, or zeros.  A file system
        that has no room for a hole may have dropped the pages, and has what the medium has."""
        if not self.look(first, n):
            return
        sectors = range(first, first + n)
        values = [{value} for value in values] if values else [self.held[s] | {0} for s in sectors]
        for value, s in zip(values, sectors):
            self.allowed[s] |= value
        worked = self.attempt(function, *arguments)[1]
        cut = function in (self.disk.zero, self.disk.discard)
        for value, s in zip(values, sectors):
            if not worked:
                value = value | (self.allowed[s] if cut else self.held[s])
            self.held[s] = value
            if durable and worked:
                self.allowed[s] = set(value)
        self.unflushed.update(sectors)

    def flush(self):
        if self.attempt(self.disk.flush)[1]:
            for s in self.unflushed:
                self.allowed[s] = set(self.held[s])
            self.unflushed.clear()

    def step(self):
        first, n = self.pick()
        place = n * SECTOR, first * SECTOR
        kind = self.rng.random()
        if kind < 0.6:
            values = list(range(self.next, self.next + n))
            self.next += n
            durable = self.rng.random() < 0.03
            self.change(first, n, values, durable, self.disk.write,
                        b"".join(map(content, values)), place[1], durable)
        elif kind < 0.72:
            self.change(first, n, [0] * n, False, self.disk.zero, *place, self.rng.random() < 0.5)
        elif kind < 0.8 and self.disk.discard:
            self.change(first, n, None, False, self.disk.discard, *place)
        elif kind < 0.85:
            self.flush()
        else:
            self.look(first, n)


def write(options):
    workers = [Worker(options.where, i, options) for i in range(options.workers)]
    open(options.state + ".ready", "w").close()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    state = {}
    for worker in workers:
        if worker.failure:
            raise worker.failure
        state.update({s: list(may) for s, may in worker.allowed.items()})
    with open(options.state, "w") as out:
        json.dump(state, out)
    print("%d operations, %d errors" % (sum(w.operations for w in workers),
                                        sum(w.errors for w in workers)))


def check(options):
    """None in the list: what was there before anybody wrote, of which nothing is known."""
    with open(options.state) as state, open(options.where, "rb") as raw:
        for sector, may in json.load(state).items():
            raw.seek(int(sector) * SECTOR)
            if None not in may and number_of(raw.read(SECTOR)) not in may:
                sys.exit("sector %s holds what it must not; it may hold %s" % (sector, may))


def flush(options):
    connect(options.where).flush()


parser = argparse.ArgumentParser()
parser.add_argument("what", choices=("write", "check", "flush"))
parser.add_argument("where")
parser.add_argument("state", nargs="?")
parser.add_argument("seconds", nargs="?", type=float)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--workers", type=int, default=4)
parser.add_argument("--errors", type=lambda names: names.split(","), default=())
chosen = parser.parse_args()
{"write": write, "check": check, "flush": flush}[chosen.what](chosen)
