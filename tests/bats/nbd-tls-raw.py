#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Talks to an NBD server about TLS, byte by byte.

nbd-tls-raw.py SOCKET CASE [KEYS]

Each case says what the server has to do; the status is 0 if it does.
"""
import socket
import struct
import sys
import time

path, case = sys.argv[1], sys.argv[2]
OPTION = 0x49484156454F5054
EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO, STRUCTURED = 1, 2, 3, 5, 6, 7, 8
ACK, POLICY, INVALID, TLS_REQD = 1, 0x80000002, 0x80000003, 0x80000005


class Client:
    def __init__(self, flags=3):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        assert len(self.receive(18)) == 18
        self.socket.sendall(struct.pack(">I", flags))

    def receive(self, length):
        data = b""
        while len(data) < length:
            try:
                more = self.socket.recv(length - len(data))
            except ConnectionResetError:
                more = b""
            if not more:
                break
            data += more
        return data

    def send_option(self, number, data=b""):
        self.socket.sendall(struct.pack(">QII", OPTION, number, len(data)) + data)

    def option(self, number, data=b""):
        self.send_option(number, data)
        return self.reply(number)

    def reply(self, number):
        magic, option, kind, length = struct.unpack(">QIII", self.receive(20))
        assert magic == 0x3E889045565A9 and option == number
        self.receive(length)
        return kind

    def at_end(self):
        return self.receive(1) == b""


def hangs_up(client):
    """After at most an alert."""
    rest = client.receive(1 << 20)
    return len(rest) < 4096 and b"NBDMAGIC" not in rest


client = Client(0 if case == "oldstyle" else 3)
if case == "off":
    assert client.option(STARTTLS) == POLICY
    assert client.option(STARTTLS, b"x") == INVALID
    assert client.option(ABORT) == ACK
elif case == "oldstyle":
    assert client.at_end()
elif case == "required":
    go = struct.pack(">IH", 0, 0)
    for number, data in ((LIST, b""), (INFO, go), (GO, go), (STRUCTURED, b""), (4, b"peek"), (99, b"x" * 5000)):
        assert client.option(number, data) == TLS_REQD, number
    assert client.option(STARTTLS, b"x") == INVALID
    assert client.option(ABORT) == ACK
    assert client.at_end()
    client = Client()
    client.send_option(EXPORT_NAME)
    assert client.at_end()
elif case == "injected":
    # In one packet with the request for TLS, and so read with it.
    client.socket.sendall(struct.pack(">QII", OPTION, STARTTLS, 0) + struct.pack(">QII", OPTION, LIST, 0))
    assert client.reply(STARTTLS) == ACK
    assert hangs_up(client)
elif case == "injected-later":
    assert client.option(STARTTLS) == ACK
    client.send_option(LIST)
    assert hangs_up(client)
elif case == "rubbish":
    assert client.option(STARTTLS) == ACK
    client.socket.sendall(bytes(range(256)) * 16)
    assert hangs_up(client)
elif case == "cut":
    # The beginning of a ClientHello, of every length.
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(32)
    for length in range(len(hello)):
        client = Client()
        assert client.option(STARTTLS) == ACK
        client.socket.sendall(hello[:length])
        client.socket.shutdown(socket.SHUT_WR)
        assert hangs_up(client)
elif case == "slow":
    assert client.option(STARTTLS) == ACK
    started = time.time()
    client.socket.sendall(bytes.fromhex("16030100c8"))
    assert hangs_up(client)
    assert 0.5 < time.time() - started < 15
elif case == "dribbled":
    # A byte from time to time keeps nobody's handshake alive.
    assert client.option(STARTTLS) == ACK
    started = time.time()
    try:
        for byte in bytes.fromhex("16030100c8010000c40303") + bytes(150):
            client.socket.sendall(bytes([byte]))
            time.sleep(0.1)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert time.time() - started < 10
else:
    sys.exit("no case " + case)
