# SPDX-License-Identifier: GPL-2.0-or-later
# Writers and readers of one mount, through all its files at once.
#
#   fuse-stress.py MOUNT P1_OFFSET SECONDS [SEED]
#
# Each writer owns a part of p1, with odd bounds, so that pages are shared; it writes
# through disk and p1 and then demands, through cached handles, old and new, direct ones
# and maps of both, to see what it wrote.  Readers keep touching the same pages.
import ctypes, mmap, os, random, sys, time

mount, p1_offset, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 30)
WRITERS, READERS, AREA = 4, 3, 1500 * 1000 + 77
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
libc = ctypes.CDLL(None, use_errno=True)
end = time.monotonic() + seconds


class File:
    def __init__(self, name, base):
        self.path, self.base = mount + "/" + name, base
        self.cached = os.open(self.path, os.O_RDONLY)
        self.writer = os.open(self.path, os.O_RDWR)
        self.map = mmap.mmap(self.cached, 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)

    def read(self, how, length, at):
        at += self.base
        if how == 0:
            return os.pread(self.cached, length, at)
        if how == 1:
            return self.map[at:at + length]
        if how == 2:
            return os.pread(self.writer, length, at)
        fd = os.open(self.path, os.O_RDONLY)
        data = os.pread(fd, length, at)
        os.close(fd)
        return data


def zero(file, mode, length, at):
    status = libc.fallocate(file.writer, mode | KEEP_SIZE, ctypes.c_long(file.base + at),
                            ctypes.c_long(length))
    assert status == 0, os.strerror(ctypes.get_errno())


def write(files, number):
    rng = random.Random(seed + number)
    begin = number * AREA
    shadow = bytearray(files[0].read(2, AREA, begin))
    rounds = 0
    while time.monotonic() < end:
        file, other = rng.sample(files, 2)
        at = rng.randrange(AREA)
        length = min(AREA - at, rng.choice((1, 511, 4096, 5000, 70000, 1200000)))
        kind = rng.randrange(10)
        if kind < 8:
            data = rng.randbytes(length)
            assert os.pwrite(file.writer, data, file.base + begin + at) == length
        else:
            data = bytes(length)
            zero(file, PUNCH_HOLE if kind == 8 else ZERO_RANGE, length, begin + at)
        shadow[at:at + length] = data
        if rng.randrange(50) == 0:
            os.fsync(file.writer)
        at = max(0, at - rng.randrange(5000))
        length = min(AREA - at, length + 10000)
        how = rng.randrange(4)
        for seen in (other, file):
            got = seen.read(how, length, begin + at)
            if got != shadow[at:at + length]:
                bad = next(i for i in range(length) if got[i] != shadow[at + i])
                sys.exit(f"writer {number}, {seen.path}, way {how}: "
                         f"stale at {begin + at + bad} (seed {seed})")
        rounds += 1
    print(f"writer {number}: {rounds} rounds")


def read(files, number):
    rng = random.Random(seed - number)
    while time.monotonic() < end:
        file = rng.choice(files)
        file.read(rng.choice((0, 1, 3)), rng.randrange(1, 300000),
                  rng.randrange(WRITERS * AREA - 300000))


def child(work, number):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work([File("disk", p1_offset), File("p1", 0)], number)
        status = 0
    except SystemExit as failure:
        print(failure)
    except OSError as failure:
        print(f"{work.__name__} {number}: {failure}")
        status = 2
    finally:
        sys.stdout.flush()
        os._exit(status)


children = [child(write, i) for i in range(WRITERS)]
children += [child(read, i) for i in range(READERS)]
worst = 0
for pid in children:
    worst = max(worst, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
sys.exit(worst)
