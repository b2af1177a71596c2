#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that a server should survive, over its unix socket.

nbd-clients.py KIND SOCKET PID COUNT

KIND: cycles   connects, shakes hands, reads and leaves, COUNT times
      cuts     says the first N bytes of a good session, for COUNT lengths N, and vanishes
      states   in each state of the handshake, rubbish, COUNT times
      flood    COUNT connections that say nothing, all open at once
      deaf     COUNT clients that ask for everything and receive nothing
      greedy   COUNT clients that send most of a long payload, and then nothing
      starve   the same, where the server has not the memory for them all
      tls      COUNT clients that begin TLS and do not come to its end
      mix      all of these and more at once, for COUNT seconds

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
WORKERS = max(8, 2 * os.cpu_count())  # as many as there may be
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


def read_a_page(s):
    s.sendall(request(0, 7, 0, 4096))
    magic, error, handle = struct.unpack(">IIQ", receive(s, 16))
    assert (magic, error, handle) == (0x67446698, 0, 7)
    receive(s, 4096)


def honest():
    s = connect()
    shake_hands(s)
    read_a_page(s)
    s.sendall(LEAVE)
    s.close()


def cycles():
    for _ in range(count):
        honest()


SESSION = (struct.pack(">I", 3) + STRUCTURED + CONTEXT + GO + request(0, 1, 0, 65536) +
           request(7, 2, 0, 1 << 20) + request(1, 3, 0, 4096) + bytes(4096) +
           request(6, 4, 4096, 8192) + request(3, 5, 0, 0) + LEAVE)
STEPS = [struct.pack(">I", 3), STRUCTURED, CONTEXT, option(3), option(6, struct.pack(">IH", 0, 0)), GO]


def vanish(s, rudely):
    if rudely:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def cut(length, rudely):
    s = connect()
    s.sendall(SESSION[:length])
    vanish(s, rudely)


def cuts():
    for i in range(count):
        cut(len(SESSION) * i // count, i % 3 == 0)


def talk_rubbish(r, steps):
    """After so many STEPS; the last state is transmission."""
    rubbish = r.choice((
        r.randbytes(r.randrange(1, 300)),
        option(r.randrange(64), r.randbytes(r.randrange(100))),
        struct.pack(">QII", OPTION, r.randrange(12), r.choice((2**32 - 1, 65537, 5))),
        struct.pack(">IHHQQI", REQUEST, r.randrange(65536), r.randrange(65536),
                    r.getrandbits(64), r.getrandbits(64), r.getrandbits(32)),
    ))
    s = connect()
    try:
        s.sendall(b"".join(STEPS[:steps]) + rubbish)
    except OSError:
        pass
    s.close()


def states():
    for i in range(count):
        talk_rubbish(rng, i % (len(STEPS) + 1))


def hello_in_part(r):
    """The beginning of TLS, in which it vanishes, or says what is none."""
    s = connect()
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(193)
    s.sendall(struct.pack(">I", 3) + option(5))
    if r.random() < 0.5:  # once the server is ready for it, or at once
        receive(s, 18 + 20)
    s.sendall(r.choice((hello[:r.randrange(len(hello))], hello, r.randbytes(300), option(3), GO)))
    vanish(s, r.random() < 0.3)


def tls():
    for i in range(count):
        try:
            hello_in_part(rng)
        except OSError:
            pass
        if i % 3 == 0:  # in the clear, where only TLS will do
            talk_rubbish(rng, i % (len(STEPS) + 1))


def read_slowly(r):
    s = connect()
    shake_hands(s)
    s.sendall(request(0, 1, 0, 8 << 20))
    for _ in range(r.randrange(30)):
        s.recv(65536)
        time.sleep(0.02)
    vanish(s, r.random() < 0.3)


def write_slowly(r):
    """A payload that comes in drops, and may stop before its end."""
    s = connect()
    shake_hands(s)
    size = r.choice((4096, 1 << 20, 8 << 20))
    s.sendall(request(1, 1, 32 << 20, size))
    pieces = 20 if r.random() < 0.5 else r.randrange(20)
    for _ in range(pieces):
        s.sendall(bytes(size // 20))
        time.sleep(0.02)
    if pieces == 20:
        s.sendall(bytes(size % 20))
        assert receive(s, 16) == struct.pack(">IIQ", 0x67446698, 0, 1)
    vanish(s, r.random() < 0.3)


def be_deaf(r):
    s = connect()
    shake_hands(s)
    s.setblocking(False)
    try:
        for handle in range(200):
            s.send(request(0, handle, 0, 1 << 20))
    except BlockingIOError:
        pass
    time.sleep(r.random())
    vanish(s, r.random() < 0.5)


def be_silent(r):
    s = connect()
    time.sleep(r.random())
    vanish(s, r.random() < 0.3)


def mix():
    """All kinds at once for COUNT seconds; what the server holds must not go on growing."""
    import threading
    stop, wrong, samples = time.monotonic() + count, [], []

    def client(seed):
        r = random.Random(seed)
        others = (lambda r: cut(r.randrange(len(SESSION)), r.random() < 0.3),
                  lambda r: talk_rubbish(r, r.randrange(len(STEPS) + 1)),
                  hello_in_part, read_slowly, write_slowly, be_deaf, be_silent)
        while time.monotonic() < stop:
            try:
                if r.random() < 0.6:
                    honest()
                else:
                    r.choice(others)(r)
            except (ConnectionResetError, BrokenPipeError):
                pass  # it may hang up on rubbish before it is all said
            except Exception as error:  # noqa: BLE001
                wrong.append(repr(error))

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    while time.monotonic() < stop:
        samples.append(state())
        time.sleep(0.2)
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:5]
    half = len(samples) // 2
    for i, (what, slack) in enumerate((("memory", 32 * 1024), ("descriptors", 8), ("threads", 8))):
        early, late = max(s[i] for s in samples[:half]), max(s[i] for s in samples[half:])
        print(what, "early", early, "late", late)
        assert (sanitized and i == 0) or late <= early + slack, what + " grows"


def begin_long_write():
    s = connect()
    shake_hands(s)
    s.sendall(request(1, 1, 0, 32 << 20))
    for _ in range(31):
        s.sendall(bytes(1 << 20))
    return s


def greedy():
    held = []
    for _ in range(count):
        held.append(begin_long_write())
        honest()
    print("held", memory())
    assert sanitized or memory() < before[0] + (count * 33 + 96) * 1024, (before, memory())
    for s in held:
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


def starve():
    """The same where the system does not give the server so much."""
    friend, held, refused = connect(), [], 0
    shake_hands(friend)
    for _ in range(count):
        try:
            held.append(begin_long_write())
        except (EOFError, OSError):
            refused += 1
        read_a_page(friend)
    print("refused", refused)
    assert refused
    for s in held:
        s.close()
    for _ in range(100):  # they are not gone at once
        try:
            return honest()
        except EOFError:
            time.sleep(0.1)


def memory():
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def count_threads():
    """Those of clients, and the server's own; workers are made as they are needed, and stay."""
    names = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/comm") as f:
                names.append(f.read().strip())
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended
    assert names.count("worker") <= WORKERS, names
    return len(names) - names.count("worker")


def state():
    return (memory(), len(os.listdir(f"/proc/{pid}/fd")), count_threads())


def settled():
    """What it holds once the clients are gone, or ten seconds later."""
    for _ in range(100):
        now = state()
        if now[1] <= before[1] and now[2] <= before[2]:
            break
        time.sleep(0.1)
    return now


# Where there is TLS alone nobody here is served.
usual = kind != "tls"
for _ in range(20 if usual else 0):
    honest()
time.sleep(0.3)
before = state()
{"cycles": cycles, "cuts": cuts, "states": states, "flood": flood, "deaf": deaf, "greedy": greedy, "starve": starve,
 "tls": tls, "mix": mix}[kind]()
if usual:
    honest()
after = settled()
print("before", before, "after", after)
assert after[1] <= before[1] and after[2] <= before[2], "descriptors or threads are left"
assert sanitized or after[0] <= before[0] + 48 * 1024, "memory is left"
