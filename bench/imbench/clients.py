# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that put load on a server, and what they measured."""

import json
import os
import socket
import struct
import time
from dataclasses import dataclass

from .system import Failure, run

MIB = 1 << 20
LARGE = 1 << 18  # from here on a rate is told in bytes, below in requests
# Beside the time that is asked for: opening, and closing with a flush.
CLIENT_GRACE = 300


@dataclass(frozen=True)
class Sample:
    """One measured run.  VALUE is in the row's unit; CPU seconds are the client's."""

    value: float
    bytes: int = 0
    cpu: float = 0.0


@dataclass(frozen=True)
class Fio:
    """A run of fio.  SPAN: offset and size of what is touched; None: all of it."""

    pattern: str
    block: int
    depth: int = 1
    jobs: int = 1
    span: tuple = None
    flush: str = ""  # a row that writes: "end", one flush; "each", one after each write
    amount: int = 0  # so many bytes at most, although the time is not up
    align: int = 0  # of random offsets; 0: the block

    def _engine(self, target):
        if target.startswith(("nbd:", "nbd+unix:")):
            return ["--ioengine=nbd", f"--uri={target}", f"--iodepth={self.depth}"]
        engine = "psync" if self.depth == 1 else "libaio"
        return [f"--ioengine={engine}", f"--iodepth={self.depth}", "--direct=1",
                f"--filename={target}", "--invalidate=0", "--allow_file_create=0"]

    def _options(self, target, seconds):
        yield from ["--name=bench", "--output-format=json", "--thread", "--group_reporting",
                    f"--rw={self.pattern}", f"--bs={self.block}", f"--numjobs={self.jobs}",
                    f"--runtime={seconds}", *self._engine(target)]
        if self.span:
            offset, size = self.span
            yield from [f"--offset={offset}", f"--size={size}"]
        if self.align:
            yield from [f"--blockalign={self.align}", "--norandommap"]
        if self.flush:
            yield "--end_fsync=1" if self.flush == "end" else "--fsync=1"
        else:
            yield "--readonly"
        if self.amount:
            yield f"--io_size={self.amount}"
        else:
            yield from ["--time_based", "--norandommap", "--randrepeat=0"]

    def measure(self, target, seconds, extra=()):
        done = run(["fio", *self._options(target, seconds), *extra],
                   timeout=seconds + CLIENT_GRACE)
        # fio may say a word or two before its JSON.
        text = done.output.decode()
        job = json.loads(text[text.index("{"):])["jobs"][0]
        side = job["write" if self.flush else "read"]
        if job["error"] or not side["io_bytes"]:
            raise Failure(f"fio: error {job['error']}, {side['io_bytes']} bytes")
        # The time of a run that writes includes its flushes.
        spent = side["runtime"] / 1000
        value = side["io_bytes"] / spent / 1e9 if self.block >= LARGE else \
            side["total_ios"] / spent
        return Sample(value, side["io_bytes"], done.cpu)


class Dd:
    """Buffered reading by dd, whole files, until the time is up.

    GROUND: where the images lie; a file elsewhere is one that a server hands out."""

    def __init__(self, ground):
        self._ground = ground

    def measure(self, target, seconds):
        total = spent = cpu = 0
        size = os.stat(target).st_size
        is_served = os.stat(target).st_dev != os.stat(self._ground).st_dev
        while spent < seconds:
            if is_served:
                _forget(target)
            done = run(["dd", f"if={target}", "of=/dev/null", "bs=1M"])
            total += size
            spent += done.seconds
            cpu += done.cpu
        return Sample(total / spent / 1e9, total, cpu)


def _forget(path):
    """Drops what the kernel has cached of a file: each reading asks the server again."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Nbdcopy:
    """Whole copies to nowhere until the time is up."""

    def __init__(self, size):
        self._size = size

    def measure(self, target, seconds):
        total = spent = cpu = 0
        while spent < seconds:
            done = run(["nbdcopy", target, "null:"])
            total += self._size
            spent += done.seconds
            cpu += done.cpu
        return Sample(total / spent / 1e9, total, cpu)


class Decoder:
    """The decode ceiling: no server, no client, only the image's compressed clusters."""

    def __init__(self, program, image):
        self._program = program
        self._image = image

    def measure(self, _target, seconds):
        done = json.loads(run([self._program, self._image, seconds]).output)
        return Sample(done["bytes"] / done["seconds"] / 1e9, done["bytes"], done["cpu"])


NBD_OPTION = 0x49484156454F5054
NBD_REQUEST = 0x25609513
NBD_SIMPLE_REPLY = 0x67446698
NBD_FIXED_NEWSTYLE = 3
NBD_EXPORT_NAME = 1
NBD_READ = 0


def _receive(link, length):
    data = bytearray()
    while len(data) < length:
        part = link.recv(length - len(data))
        if not part:
            raise Failure("the server hung up")
        data += part
    return bytes(data)


def first_nbd_read(path, export, limit=20.0):
    """Connects as soon as PATH listens, and reads the first 4 KiB."""
    end = time.monotonic() + limit
    while True:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(str(path))
            break
        except OSError:
            link.close()
            if time.monotonic() > end:
                raise Failure("the server does not listen") from None
            time.sleep(0.0002)
    with link:
        link.settimeout(limit)
        _receive(link, 18)
        name = export.encode()
        link.sendall(struct.pack(">IQII", NBD_FIXED_NEWSTYLE, NBD_OPTION, NBD_EXPORT_NAME,
                                 len(name)) + name)
        _receive(link, 10)
        link.sendall(struct.pack(">IHHQQI", NBD_REQUEST, 0, NBD_READ, 1, 0, 4096))
        magic, error, _ = struct.unpack(">IIQ", _receive(link, 16))
        if magic != NBD_SIMPLE_REPLY or error:
            raise Failure(f"the first read failed: error {error}")
        return _receive(link, 4096)


def first_file_read(path, limit=20.0):
    """Reads the first 4 KiB as soon as PATH is there with a size."""
    end = time.monotonic() + limit
    while True:
        try:
            with open(path, "rb", buffering=0) as file:
                data = file.read(4096)
            if len(data) == 4096:
                return data
        except OSError:
            pass
        if time.monotonic() > end:
            raise Failure(f"{path} did not appear")
        time.sleep(0.0002)
