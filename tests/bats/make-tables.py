#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""make-tables.py FOLDER: writes a few dozen disks with partition tables, most of them damaged in one way each.

The disks have 4 MiB where nothing else is said, every sector of their second half with its own number in it."""
import os
import random
import struct
import sys
import uuid
import zlib

SECTOR = 512
SECTORS = 8200  # sfdisk tells more of disks of up to 8192
LINUX = uuid.UUID("0FC63DAF-8483-4772-8E79-3D69D8477DE4").bytes_le
PARTS = [(0, 64, 1063, "one"), (1, 1064, 1064, "a sector"), (4, 2000, 7999, "five")]


class Disk:
    def __init__(self, sectors=SECTORS):
        self.bytes = bytearray(sectors * SECTOR)
        for at in range(sectors // 2, sectors):
            self.put(at, b"%d\n" % at)

    @property
    def sectors(self):
        return len(self.bytes) // SECTOR

    def put(self, sector, data, within=0):
        at = sector * SECTOR + within
        self.bytes[at : at + len(data)] = data

    def wipe(self, sector, count=1):
        self.put(sector, bytes(count * SECTOR))

    def flip(self, sector, within):
        self.bytes[sector * SECTOR + within] ^= 0x40

    def poke(self, sector, within, form, *values):
        self.put(sector, struct.pack("<" + form, *values), within)

    def peek(self, sector, within, form):
        return struct.unpack_from("<" + form, self.bytes, sector * SECTOR + within)[0]


def seal(disk, header):
    """Makes both checksums of the GPT whose header is at that sector right."""
    size, at = disk.peek(header, 12, "I"), disk.peek(header, 72, "Q")
    length = disk.peek(header, 80, "I") * disk.peek(header, 84, "I")
    array = bytes(disk.bytes[at * SECTOR : at * SECTOR + length])
    disk.poke(header, 88, "I", zlib.crc32(array))
    disk.poke(header, 16, "I", 0)
    disk.poke(header, 16, "I", zlib.crc32(bytes(disk.bytes[header * SECTOR : header * SECTOR + size])))


def gpt(parts=PARTS, entries=128, size=128, sectors=SECTORS):
    disk = Disk(sectors)
    last, array = disk.sectors - 1, -(-entries * size // SECTOR)
    disk.wipe(last - array, array + 1)
    mbr_entry(disk, 0, 1, 0xEE, 1, last)
    disk.poke(0, 510, "H", 0xAA55)
    for header, other, at in ((1, last, 2), (last, 1, last - array)):
        guid = uuid.UUID("6E1D0C1A-0000-4000-8000-00000000ABCD").bytes_le
        disk.poke(header, 0, "8sIIIIQQQQ", b"EFI PART", 0x10000, 92, 0, 0, header, other, 2 + array, last - array - 1)
        disk.poke(header, 56, "16sQIII", guid, at, entries, size, 0)
        for slot, first, end, name in parts:
            unique = uuid.UUID(int=0x1234 << 96 | slot + 1).bytes_le
            text = name if isinstance(name, bytes) else name.encode("utf-16-le")
            disk.poke(at, slot * size, "16s16sQQQ72s", LINUX, unique, first, end, 0, text[:72])
        seal(disk, header)
    return disk


def mbr_entry(disk, sector, slot, kind, first, count, flag=0):
    disk.poke(sector, 446 + 16 * (slot - 1), "BBBBBBBBII", flag, 0, 2, 0, kind, 0xFE, 0xFF, 0xFF, first, count)


def mbr(*entries, sectors=SECTORS):
    """Entries are (slot, type, first, count)."""
    disk = Disk(sectors)
    disk.poke(0, 440, "I", 0x1A2B3C4D)
    disk.poke(0, 510, "H", 0xAA55)
    for slot, kind, first, count in entries:
        mbr_entry(disk, 0, slot, kind, first, count)
    return disk


def logicals(count=3):
    """A primary, and a container of 6000 sectors with logical ones of 100, a link every 200."""
    disk = mbr((1, 0x83, 64, 900), (2, 0x05, 1000, 6000))
    for i in range(count):
        ebr = 1000 + 200 * i
        disk.wipe(ebr)
        disk.poke(ebr, 510, "H", 0xAA55)
        mbr_entry(disk, ebr, 1, 0x83, 10, 100 + i)
        if i + 1 < count:
            mbr_entry(disk, ebr, 2, 0x05, 200 * (i + 1), 200)
    return disk


def changed(disk, change):
    change(disk)
    return disk


def poked_gpt(header, within, form, value, resealed=True):
    disk = gpt()
    disk.poke(header, within, form, value)
    if resealed:
        seal(disk, header)
    return disk


LAST = SECTORS - 1


def tables():
    yield "gpt-whole", gpt()
    yield "gpt-primary-header-crc", changed(gpt(), lambda d: d.flip(1, 56))
    yield "gpt-primary-entries-crc", changed(gpt(), lambda d: d.flip(2, 40))
    yield "gpt-backup-header-crc", changed(gpt(), lambda d: d.flip(LAST, 56))
    yield "gpt-backup-entries-crc", changed(gpt(), lambda d: d.flip(LAST - 32, 40))
    yield "gpt-all-crcs", changed(gpt(), lambda d: [d.flip(s, 60) for s in (1, 2, LAST, LAST - 32)])
    yield "gpt-primary-gone", changed(gpt(), lambda d: d.wipe(1, 33))
    yield "gpt-primary-header-gone", changed(gpt(), lambda d: d.wipe(1))
    yield "gpt-backup-gone", changed(gpt(), lambda d: d.wipe(LAST - 32, 33))
    yield "gpt-both-gone", changed(gpt(), lambda d: (d.wipe(1, 33), d.wipe(LAST - 32, 33)))
    yield "gpt-mbr-gone", changed(gpt(), lambda d: d.wipe(0))
    yield "gpt-overlapping", gpt([(0, 64, 3000, "a"), (1, 2000, 4000, "b"), (2, 3000, 3000, "c"), (3, 64, 3000, "d")])
    yield "gpt-past-the-end", gpt([(0, 64, 3000, "a"), (1, 4000, 9000, "b"), (2, 9000, 9001, "c")])
    yield "gpt-backwards", gpt([(0, 64, 3000, "a"), (1, 4000, 3999, "b"), (2, 5000, 4000, "c")])
    yield "gpt-huge-numbers", gpt([(0, 64, 3000, "a"), (1, 4000, 2**64 - 1, "b"), (2, 2**64 - 1, 2**64 - 1, "c")])
    yield "gpt-130-slots", gpt([(i, 2000 + 40 * i, 2020 + 40 * i, f"n{i}") for i in range(130)], entries=130)
    yield "gpt-entries-of-256-bytes", gpt(size=256)
    yield "gpt-entries-of-4096-bytes", gpt(size=4096, entries=8)
    yield "gpt-4-slots", gpt(PARTS[:2], entries=4)
    yield "gpt-names", gpt([(i, 64 + i, 64 + i, n) for i, n in enumerate((
        "a/b", "a\nb", "", ".", "..", "same", "same", "-rf", "x" * 36, "\U0001f427 r\u00f6\u00f6t",
        b"\x00\xd8" + b"a\0" + b"\x00\xdc" + b"b\0", b"a\0\0\0b\0", "\u202etxt.exe", "same-2", "\x1b[2J\x7f"))])
    yield "gpt-size-of-entries-0", poked_gpt(1, 84, "I", 0, False)
    yield "gpt-size-of-entries-100", poked_gpt(1, 84, "I", 100, False)
    yield "gpt-array-past-the-end", poked_gpt(1, 72, "Q", 2**63, False)
    yield "gpt-too-many-entries", poked_gpt(1, 80, "I", 2**32 - 1, False)
    yield "gpt-header-of-4-gib", poked_gpt(1, 12, "I", 2**32 - 1, False)
    yield "gpt-grown-disk", changed(gpt(), lambda d: d.bytes.extend(bytes(SECTOR * 1000)))
    yield "gpt-cut-disk", changed(gpt(), lambda d: d.bytes.__delitem__(slice(5000 * SECTOR, None)))
    yield "gpt-partial-sector", changed(gpt(), lambda d: d.bytes.extend(b"x" * 100))

    yield "mbr-primaries", mbr((1, 0x83, 64, 100), (2, 0x07, 5000, 3000), (4, 0x0C, 200, 1))
    yield "mbr-empty", mbr()
    yield "mbr-overlapping", mbr((1, 0x83, 64, 1000), (2, 0x83, 1000, 1000), (3, 0x83, 500, 10))
    yield "mbr-past-the-end", mbr((1, 0x83, 64, 1000), (2, 0x83, 8000, 1000), (3, 0x83, 9000, 10))
    yield "mbr-huge-numbers", mbr((1, 0x83, 64, 2**32 - 1), (2, 0x83, 2**32 - 1, 2**32 - 1))
    yield "mbr-from-sector-0", mbr((1, 0x83, 0, 8192))
    yield "mbr-logicals", logicals()
    yield "mbr-forty-logicals", logicals(29)
    yield "mbr-ebr-loop", changed(logicals(), lambda d: mbr_entry(d, 1400, 2, 0x05, 0, 200))
    yield "mbr-ebr-to-itself", changed(logicals(), lambda d: mbr_entry(d, 1200, 2, 0x05, 200, 200))
    yield "mbr-ebr-outside", changed(logicals(), lambda d: mbr_entry(d, 1400, 2, 0x05, 6500, 200))
    yield "mbr-ebr-past-the-end", changed(logicals(), lambda d: mbr_entry(d, 1400, 2, 0x05, 2**32 - 1, 200))
    yield "mbr-ebr-without-signature", changed(logicals(), lambda d: d.poke(1200, 510, "H", 0))
    yield "mbr-logical-outside", changed(logicals(), lambda d: mbr_entry(d, 1200, 1, 0x83, 6000, 500))
    yield "mbr-logical-overlapping", changed(logicals(), lambda d: mbr_entry(d, 1200, 1, 0x83, 10, 300))
    yield "mbr-logical-huge", changed(logicals(), lambda d: mbr_entry(d, 1200, 1, 0x83, 10, 2**32 - 1))
    yield "mbr-container-past-the-end", mbr((1, 0x83, 64, 900), (2, 0x05, 9000, 6000))
    yield "mbr-two-containers", changed(logicals(), lambda d: (
        mbr_entry(d, 0, 3, 0x0F, 7000, 1000), d.wipe(7000), mbr_entry(d, 7000, 1, 0x83, 5, 50),
        d.poke(7000, 510, "H", 0xAA55)))


def main():
    os.chdir(sys.argv[1])
    for name, disk in tables():
        with open(name + ".img", "wb") as file:
            file.write(disk.bytes)
    for seed in range(8):
        # What parts of a table at random places look like.
        random.seed(seed)
        disk = gpt() if seed % 2 else logicals()
        for _ in range(4):
            disk.bytes[random.choice((446, 512, 1024)) + random.randrange(128)] = random.randrange(256)
        with open(f"random-{seed}.img", "wb") as file:
            file.write(disk.bytes)


if __name__ == "__main__":
    main()
