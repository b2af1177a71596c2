#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that a server should survive, over its unix socket.

nbd-clients.py KIND SOCKET PID COUNT

KIND: cycles   connects, shakes hands, reads and leaves, COUNT times
      cuts     says the first N bytes of a good session, for COUNT lengths N, and vanishes
      states   in each state of the handshake, rubbish, COUNT times
      flood    COUNT connections that say nothing, all open at once
      deaf     COUNT clients that ask for everything and receive nothing

Afterwards an honest client must be served, and the server, PID, must hold no more memory,
descriptors and threads than before, but for a little.
"""
import os
import random
import socket
import struct
import sys
import time

kind, path, pid, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
rng = random.Random(count)
# A sanitizer keeps for a while what was freed.
sanitized = "ASAN_OPTIONS" in os.environ or "TSAN_OPTIONS" in os.environ
OPTION, REQUEST = 0x49484156454F5054, 0x25609513


def connect():
    for _ in range(2000):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        try:
            s.connect(path)
            return s
        except BlockingIOError:  # those who came before have not been looked at yet
            s.close()
            time.sleep(0.01)
    raise TimeoutError


def receive(s, n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def option(number, data=b""):
    return struct.pack(">QII", OPTION, number, len(data)) + data


def request(command, handle, offset, length):
    return struct.pack(">IHHQQI", REQUEST, 0, command, handle, offset, length)


GO = option(7, struct.pack(">IH", 0, 0))
STRUCTURED, CONTEXT = option(8), option(10, struct.pack(">III", 0, 1, 15) + b"base:allocation")
LEAVE = request(2, 0, 0, 0)


def shake_hands(s):
    receive(s, 18)
    s.sendall(struct.pack(">I", 3) + GO)
    while True:
        _, _, kind_of_reply, length = struct.unpack(">QIII", receive(s, 20))
        receive(s, length)
        if kind_of_reply == 1:
            return


def honest():
    s = connect()
    shake_hands(s)
    s.sendall(request(0, 7, 0, 4096))
    magic, error, handle = struct.unpack(">IIQ", receive(s, 16))
    assert (magic, error, handle) == (0x67446698, 0, 7)
    receive(s, 4096)
    s.sendall(LEAVE)
    s.close()


def cycles():
    for _ in range(count):
        honest()


def cuts():
    session = (struct.pack(">I", 3) + STRUCTURED + CONTEXT + GO + request(0, 1, 0, 65536) +
               request(7, 2, 0, 1 << 20) + request(1, 3, 0, 4096) + bytes(4096) +
               request(6, 4, 4096, 8192) + request(3, 5, 0, 0) + LEAVE)
    for i in range(count):
        s = connect()
        s.sendall(session[:len(session) * i // count])
        if i % 3 == 0:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()


def states():
    steps = [struct.pack(">I", 3), STRUCTURED, CONTEXT, option(3), option(6, struct.pack(">IH", 0, 0)), GO]
    for i in range(count):
        s = connect()
        rubbish = rng.choice((
            rng.randbytes(rng.randrange(1, 300)),
            option(rng.randrange(64), rng.randbytes(rng.randrange(100))),
            struct.pack(">QII", OPTION, rng.randrange(12), rng.choice((2**32 - 1, 65537, 5))),
            struct.pack(">IHHQQI", REQUEST, rng.randrange(65536), rng.randrange(65536),
                        rng.getrandbits(64), rng.getrandbits(64), rng.getrandbits(32)),
        ))
        try:
            s.sendall(b"".join(steps[:i % (len(steps) + 1)]) + rubbish)
        except OSError:
            pass
        s.close()


def flood():
    held = []
    for _ in range(count):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        try:
            s.connect(path)
        except BlockingIOError:
            s.close()
            break
        held.append(s)
    honest_after = time.time() + 30
    for s in held:
        s.close()
    assert time.time() < honest_after


def deaf():
    held = []
    for _ in range(count):
        s = connect()
        shake_hands(s)
        s.setblocking(False)
        try:
            for handle in range(4096):
                s.send(request(0, handle, 0, 32 << 20))
        except BlockingIOError:
            pass
        held.append(s)
    time.sleep(0.5)
    assert sanitized or memory() < before[0] + 96 * 1024, (before, memory())
    honest()
    for s in held:
        s.close()


def memory():
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def state():
    return (memory(), len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))


def settled():
    """What it holds once the clients are gone, or ten seconds later."""
    for _ in range(100):
        now = state()
        if now[1] <= before[1] and now[2] <= before[2]:
            break
        time.sleep(0.1)
    return now


for _ in range(20):
    honest()
time.sleep(0.3)
before = state()
{"cycles": cycles, "cuts": cuts, "states": states, "flood": flood, "deaf": deaf}[kind]()
honest()
after = settled()
print("before", before, "after", after)
assert after[1] <= before[1] and after[2] <= before[2], "descriptors or threads are left"
assert sanitized or after[0] <= before[0] + 48 * 1024, "memory is left"
