#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads a whole disk over NBD, and counts what the server sends for it.

nbd-wire.py SOCKET SIZE URI FILE

URI has %s where the path of the server's socket belongs: a relay's is put there, which
stands between and counts.  What was read goes to FILE; the number of bytes is printed.
"""
import os
import socket
import sys
import threading

import nbd

server, size, uri, file = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
relay = server + ".relay"
counted = 0


def carry(source, target, count):
    global counted
    try:
        while data := source.recv(1 << 18):
            counted += len(data) if count else 0
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def stand_between(listener):
    client = listener.accept()[0]
    other = socket.socket(socket.AF_UNIX)
    other.connect(server)
    thread = threading.Thread(target=carry, args=(client, other, False), daemon=True)
    thread.start()
    carry(other, client, True)


listener = socket.socket(socket.AF_UNIX)
listener.bind(relay)
listener.listen()
thread = threading.Thread(target=stand_between, args=(listener,), daemon=True)
thread.start()
h = nbd.NBD()
h.set_uri_allow_local_file(True)
h.connect_uri(uri % relay)
assert h.get_size() == size
with open(file, "wb") as out:
    at = 0
    # Both the sizes that the server answers at once, and those that it takes to pieces.
    for step in [256 << 10] * 64 + [32 << 20] * (size >> 25):
        step = min(step, size - at)
        out.write(h.pread_structured(step, at, lambda *chunk: None) if step else b"")
        at += step
h.shutdown()
thread.join(60)
os.unlink(relay)
print(counted)
