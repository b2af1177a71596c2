# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of the table: which work, on which image, by whom, and what is to be reached."""

import dataclasses
from dataclasses import dataclass, field

from . import copies as c
from . import programs as p
from .clients import MIB, Dd, Fio, Nbdcopy

KIB = 1 << 10

# What a row measures.
READ = "read"  # a client on a server that stays up through all rounds
WRITE = "write"  # a client that writes to a copy of an image
START = "start"  # from the command to the first bytes, many times
MEMORY = "memory"  # what the server holds after everything was read
COPY = "copy"  # no server: a command that copies out of the image into a file


@dataclass(frozen=True)
class Goal:
    """imgmount is to be FACTOR times as good as AGAINST ("best": the best other)."""

    factor: float
    against: str

    def __str__(self):
        return f"≥ {self.factor:g} × {self.against}"


@dataclass(frozen=True)
class Limit:
    """imgmount's own figure is to stay below MOST."""

    most: float

    def __str__(self):
        return f"≤ {self.most:g}"


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    unit: str
    image: str
    others: tuple
    client: object = None
    export: str = "fuse"
    kind: str = READ
    partition: bool = False
    goals: tuple = ()
    any_goal: bool = False  # one goal reached is enough
    fresh: bool = False  # a row that writes: the copy is made anew for each run
    beside: tuple = field(default=())  # our own other images measured in the same rounds

    @property
    def lower_is_better(self):
        return self.kind in (START, MEMORY)

    def goal_text(self):
        return (" or " if self.any_goal else " and ").join(map(str, self.goals))


SEQUENTIAL = Fio("read", MIB)
FUSE_QCOW2 = (p.QCOWMOUNT, p.DAEMON_FUSE, p.NBDFUSE_QEMU)
FUSE_RAW = (p.DAEMON_FUSE, p.XMOUNT, p.NBDFUSE_NBDKIT)
NBD_RAW = (p.NBDKIT, p.QEMU_NBD, p.DAEMON_NBD, p.NBDKIT_MEMORY)
NBD_QCOW2 = (p.QEMU_NBD, p.DAEMON_NBD, p.NBDKIT_MEMORY)
NBD_PACKED = (p.QEMU_NBD, p.DAEMON_NBD)
PLAIN = "imgmount, plain qcow2"
RAW = "imgmount, raw"
BESIDE = {"qcow2": PLAIN, "raw": RAW}  # what an image is called beside another
CEILING = "decode ceiling"
NULL_FUSE = "null FUSE server"


def random_reads(span=None, depth=1, jobs=1):
    return Fio("randread", 4 * KIB, depth=depth, jobs=jobs, span=span)


def _fuse_rows(null, hot, ground):
    qcow2_goals = (Goal(1.3, "qcowmount"), Goal(0.85, NULL_FUSE))
    yield Row("fuse-raw-buffered", "FUSE, raw, whole disk, dd", "GB/s", "raw",
              (p.FILE_ITSELF, *FUSE_RAW), Dd(ground), goals=(Goal(0.9, p.FILE_ITSELF.name),))
    yield Row("fuse-raw-seq", "FUSE, raw, whole disk, 1 MiB direct", "GB/s", "raw",
              (*FUSE_RAW, p.NBDFUSE_QEMU, null), SEQUENTIAL)
    yield Row("fuse-p1-seq", "FUSE, raw, partition file, 1 MiB direct", "GB/s", "raw",
              (*FUSE_RAW, null), SEQUENTIAL, partition=True, goals=(Goal(2, "best"),))
    yield Row("fuse-qcow2-seq", "FUSE, plain qcow2, 1 MiB direct", "GB/s", "qcow2",
              (*FUSE_QCOW2, null), SEQUENTIAL, goals=qcow2_goals, any_goal=True)
    for jobs in (1, 4):
        yield Row(f"fuse-qcow2-rand-{jobs}",
                  f"FUSE, plain qcow2, 4 KiB random direct, jobs: {jobs}", "IOPS", "qcow2",
                  (*FUSE_QCOW2, null), random_reads(jobs=jobs), goals=qcow2_goals,
                  any_goal=True)
    for image, others, factor in (
            ("zlib", FUSE_QCOW2, 2), ("zstd", FUSE_QCOW2, 1.3),
            ("vmdk", (p.VMDKMOUNT, p.DAEMON_FUSE), 2), ("e01", (p.EWFMOUNT, p.XMOUNT), 2)):
        yield from _packed_rows("fuse", image, others, factor, SEQUENTIAL,
                                random_reads(hot))


def _packed_rows(export, image, others, factor, sequential, random):
    """The two rows of a compressed format: all of it in order, and its hot part."""
    title = {"zlib": "zlib qcow2", "zstd": "zstd qcow2", "vmdk": "streamOptimized VMDK",
             "e01": "E01"}[image]
    name = f"{export}-{image}"
    goals = [Goal(factor, "best")]
    if image in ("zlib", "zstd"):
        goals.insert(0, Goal(0.75, CEILING))
    yield Row(f"{name}-seq", f"{export.upper()}, {title}, 1 MiB sequential", "GB/s", image,
              others, sequential, export=export, goals=tuple(goals))
    yield Row(f"{name}-rand", f"{export.upper()}, {title}, 4 KiB random, within the cache",
              "IOPS", image, others, random, export=export,
              goals=(Goal(10, "best"), Goal(0.8, PLAIN)), any_goal=True,
              beside=("qcow2",))


def _nbd_rows(hot, size):
    wide = Fio("read", MIB, depth=8)
    for image, others, goals in (
            ("raw", NBD_RAW, (Goal(1.5, "nbdkit file"), Goal(2, "qemu-nbd"))),
            ("qcow2", NBD_QCOW2, (Goal(2, "qemu-nbd"),))):
        title = "raw" if image == "raw" else "plain qcow2"
        for depth in (1, 16, 32, 64):
            yield Row(f"nbd-{image}-rand-{depth}",
                      f"NBD, {title}, 4 KiB random, depth {depth}", "IOPS", image, others,
                      random_reads(depth=depth), export="nbd",
                      goals=goals if depth == 16 else ())
        seq_goals = (Goal(1.5, "nbdkit file"),) if image == "raw" else ()
        yield Row(f"nbd-{image}-seq", f"NBD, {title}, 1 MiB sequential, depth 8", "GB/s",
                  image, others, wide, export="nbd",
                  goals=(*seq_goals, Goal(1, "qemu-nbd")))
        yield Row(f"nbd-{image}-seq-256k", f"NBD, {title}, 256 KiB sequential, depth 8", "GB/s",
                  image, others, Fio("read", 256 * KIB, depth=8), export="nbd")
        yield Row(f"nbd-{image}-rand-16x4", f"NBD, {title}, 4 KiB random, depth 16, "
                  "4 connections", "IOPS", image, others,
                  random_reads(depth=16, jobs=4), export="nbd")
    for name, words, unit, client in (
            ("rand-1", "4 KiB random, depth 1", "IOPS", random_reads()),
            ("rand-16", "4 KiB random, depth 16", "IOPS", random_reads(depth=16)),
            ("rand-64", "4 KiB random, depth 64", "IOPS", random_reads(depth=64)),
            ("rand-16x4", "4 KiB random, depth 16, 4 connections", "IOPS",
             random_reads(depth=16, jobs=4)),
            ("seq-256k", "256 KiB sequential, depth 8", "GB/s",
             Fio("read", 256 * KIB, depth=8)),
            ("seq", "1 MiB sequential, depth 8", "GB/s", wide)):
        yield Row(f"tcp-raw-{name}", f"NBD by TCP, raw, {words}", unit, "raw",
                  (p.NBDKIT_TCP, p.QEMU_NBD_TCP), client, export="tcp")
    for image, factor in (("zlib", 2), ("zstd", 1.3)):
        yield from _packed_rows("nbd", image, NBD_PACKED, factor, wide,
                                random_reads(hot, depth=16))
    for image, others, goals in (
            ("raw", NBD_RAW, (Goal(1.5, "nbdkit file"), Goal(1, "qemu-nbd"))),
            ("qcow2", NBD_QCOW2, (Goal(1, "qemu-nbd"),)),
            ("zlib", NBD_PACKED, (Goal(0.75, CEILING), Goal(2, "best"))),
            ("zstd", NBD_PACKED, (Goal(0.75, CEILING), Goal(1.3, "best")))):
        yield Row(f"nbdcopy-{image}", f"NBD, {image}, nbdcopy to null:", "GB/s", image,
                  others, Nbdcopy(size), export="nbd", goals=goals)


# Clusters of 64 KiB; each small write that is to allocate begins in one of its own.
CLUSTER = 64 * KIB
FLUSHES = {"end": "one flush at the end", "each": "a flush after each write"}


def _shapes(scale, export):
    """The ways in which a row writes: name, words, and two clients: one that fills what is
    empty, no more than the disk below takes in a moment, and one that goes over the same
    place again and again."""
    hot = (scale.disk // 4, scale.rewritten)
    for depth in (1, 32):
        fills = Fio("randwrite", 4 * KIB, depth=depth, align=CLUSTER,
                    amount=scale.written // 4)
        yield (f"rand-{depth}", f"4 KiB random, depth {depth}", fills,
               Fio("randwrite", 4 * KIB, depth=depth, span=hot))
    depth = 8 if export == "nbd" else 1
    yield ("seq", "1 MiB sequential", Fio("write", MIB, depth=depth, amount=scale.written),
           Fio("write", MIB, depth=depth, span=hot))


def _write_rows(scale):
    qcow2 = {"nbd": (p.QEMU_NBD, p.DAEMON_NBD), "fuse": (p.DAEMON_FUSE, p.NBDFUSE_QEMU)}
    raw = {"nbd": (p.NBDKIT, p.QEMU_NBD, p.DAEMON_NBD), "fuse": (p.DAEMON_FUSE, p.LOOP)}
    for export in ("nbd", "fuse"):
        for image, others, title in (("empty", qcow2, "qcow2, allocating"),
                                     ("qcow2", qcow2, "qcow2, overwriting"),
                                     ("raw", raw, "raw, overwriting")):
            for shape, words, fills, rewrites in _shapes(scale, export):
                client = fills if image == "empty" else rewrites
                yield from _flush_rows(export, image, others[export], shape,
                                       f"{title}, {words}", client)
        for image, title in (("child", "qcow2 over a parent"),
                             ("subclusters", "qcow2 with 64 KiB subclusters over a parent")):
            client = Fio("randwrite", 4 * KIB, depth=32, align=CLUSTER,
                         amount=scale.written // 16)
            yield from _flush_rows(export, image, qcow2[export], "rand-32",
                                   f"{title}, 4 KiB random, depth 32", client)


def _flush_rows(export, image, others, shape, title, client):
    """The row with one flush at the end, and the one with a flush after each write."""
    for flush, factor in (("end", 1.5), ("each", 1)):
        goals = [Goal(factor, "best")]
        beside = ()
        if image == "qcow2" and shape == "seq" and flush == "end":
            goals.append(Goal(0.8, RAW))
            beside = ("raw",)
        yield Row(f"write-{export}-{image}-{shape}-{flush}",
                  f"{export.upper()}, {title}, {FLUSHES[flush]}",
                  "GB/s" if client.block >= MIB else "IOPS", image, others,
                  dataclasses.replace(client, flush=flush), export=export, kind=WRITE,
                  goals=tuple(goals), fresh=bool(client.amount), beside=beside)


def _copy_rows():
    """--extract.  Without digests, as the others make none, and with all three."""
    for image, title, others in (
            ("raw", "raw", (c.DD, c.CONVERT)), ("qcow2", "plain qcow2", (c.CONVERT,)),
            ("zlib", "zlib qcow2", (c.CONVERT,)), ("zstd", "zstd qcow2", (c.CONVERT,)),
            ("vmdk", "streamOptimized VMDK", (c.CONVERT,)), ("e01", "E01", (c.EWFEXPORT,))):
        yield Row(f"extract-{image}", f"--extract disk, {title}, no digests", "GB/s", image,
                  others, export="extract", kind=COPY, goals=(Goal(1, "best"),))
    yield Row("extract-p1", "--extract p1, raw, no digests", "GB/s", "raw",
              (c.DD, c.CONVERT, c.MMCAT), export="extract", kind=COPY, partition=True,
              goals=(Goal(1, "best"),))
    yield Row("extract-digests", "--extract disk, raw, three digests", "GB/s", "raw",
              (c.DD, c.CONVERT), export="extract-digests", kind=COPY)


def _other_rows():
    for image in ("sparse-1G", "sparse-1T"):
        title = "qcow2 of " + ("1 GiB" if image.endswith("G") else "1 TiB")
        yield Row(f"start-nbd-{image[7:]}", f"NBD, {title}, command to first 4 KiB", "ms",
                  image, (p.QEMU_NBD, p.DAEMON_NBD), export="nbd", kind=START,
                  goals=(Goal(1, "qemu-nbd"),))
    yield Row("start-fuse-1T", "FUSE, qcow2 of 1 TiB, command to first 4 KiB", "ms",
              "sparse-1T", (p.QCOWMOUNT, p.DAEMON_FUSE), kind=START)
    for image in ("qcow2", "zlib"):
        # 64 MiB, the caches of tables (32 MiB) and of chunks (128 MiB).
        yield Row(f"memory-{image}", f"NBD, {image}, anonymous memory after reading all",
                  "MiB", image, (p.QEMU_NBD, p.DAEMON_NBD), export="nbd", kind=MEMORY,
                  goals=(Limit(64 + 32 + 128),))


def all_rows(scale, null, ground):
    """NULL is the contender that stands for a FUSE server without work, GROUND the
    directory of the images."""
    return [*_fuse_rows(null, scale.hot, ground), *_nbd_rows(scale.hot, scale.disk),
            *_write_rows(scale), *_copy_rows(), *_other_rows()]
