#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Large reads past the page cache, by several threads at once.

same FILE IMAGE START   FILE holds the bytes of IMAGE from START on, in every way of asking
shrink FILE IMAGE       IMAGE is cut short and made longer again while FILE is read: each
                        read gives bytes or EIO; afterwards FILE reads as IMAGE's zeros
together FILE IMAGE     FILE is opened all the time, for direct reads and others, and always
                        has IMAGE's bytes
"""

import errno
import mmap
import os
import random
import sys
import threading

MIB = 1 << 20
THREADS = 4


def read_directly(fd, length, offset):
    """What one pread gives, into memory that no page cache is behind."""
    buffer = mmap.mmap(-1, length)
    got = os.preadv(fd, [buffer], offset)
    return bytes(buffer[:got])


def read_at_random(path, image, start, seed, wrong):
    chance = random.Random(seed)
    fd, below = os.open(path, os.O_RDONLY | os.O_DIRECT), os.open(image, os.O_RDONLY)
    size = os.fstat(fd).st_size
    for _ in range(60):
        offset = chance.randrange(size)
        length = chance.choice([65536, 65537, 200000, MIB, 3 * MIB + 5])
        want = os.pread(below, min(length, size - offset), start + offset)
        if read_directly(fd, length, offset) != want:
            wrong.append((offset, length))
    os.close(fd)
    os.close(below)


def by_threads(reader, *arguments):
    """What several readers, each with a seed of its own, have found wrong."""
    wrong = []
    threads = [threading.Thread(target=reader, args=(*arguments, seed, wrong))
               for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def same(path, image, start):
    return by_threads(read_at_random, path, image, int(start))


def read_now_and_then(path, image, seed, wrong):
    chance = random.Random(seed)
    below = os.open(image, os.O_RDONLY)
    size = os.fstat(below).st_size
    for _ in range(250):
        offset, length = chance.randrange(size), chance.choice([512, 70000, MIB])
        try:
            fd = os.open(path, os.O_RDONLY | chance.choice([0, os.O_DIRECT]))
            for _ in range(chance.randrange(3)):
                if read_directly(fd, length, offset) != os.pread(below, length, offset):
                    wrong.append((offset, length))
            os.close(fd)
        except OSError as error:
            wrong.append(error)
    os.close(below)


def together(path, image):
    return by_threads(read_now_and_then, path, image)


def read_until(path, ended, wrong):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    while not ended.is_set():
        for offset in range(0, 8 * MIB, MIB):
            try:
                read_directly(fd, MIB, offset)
            except OSError as error:
                if error.errno != errno.EIO:
                    wrong.append(error)
    os.close(fd)


def shrink(path, image):
    ended, wrong = threading.Event(), []
    size = os.stat(image).st_size
    threads = [threading.Thread(target=read_until, args=(path, ended, wrong))
               for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        os.truncate(image, 2 * MIB)
        os.truncate(image, size)
        fd = os.open(image, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
        while os.read(fd, MIB):
            pass
        os.close(fd)
    ended.set()
    for thread in threads:
        thread.join()
    with open(path, "rb", buffering=0) as file:
        file.seek(4 * MIB)
        if file.read(MIB) != bytes(MIB):
            wrong.append("not what is in the image")
    os.truncate(image, 2 * MIB)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        read_directly(fd, MIB, 5 * MIB)
        wrong.append("bytes that the image lost")
    except OSError as error:
        if error.errno != errno.EIO:
            wrong.append(error)
    os.close(fd)
    return wrong


if __name__ == "__main__":
    found = {"same": same, "shrink": shrink, "together": together}[sys.argv[1]](*sys.argv[2:])
    for what in found[:5]:
        print(what)
    sys.exit(1 if found else 0)
