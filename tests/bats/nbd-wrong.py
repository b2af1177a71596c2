#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every wrong option and request, with the error that it has to get.

nbd-wrong.py ADDRESS options | writable | read-only

ADDRESS: a unix socket's path, or a port of localhost, which is spoken to by TLS.  After
each wrong one an honest one has to succeed on the same connection; the disk is of 8 GiB.
"""
import socket
import ssl
import struct
import sys

address, what = sys.argv[1:]
OPTION = 0x49484156454F5054
SIMPLE, STRUCTURED, EXTENDED = range(3)
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST, PAYLOAD = (1 << bit for bit in range(6))
EPERM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP = 1, 22, 28, 75, 95
ACK, UNSUP, POLICY, INVALID, UNKNOWN, EXT_REQD = 1, 0x80000001, 0x80000002, 0x80000003, 0x80000006, 0x8000000A
HANGS_UP = "hangs up"
MIB, SIZE = 1 << 20, 8 << 30


class Client:
    def __init__(self, flags=3):
        if address.startswith("/"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(("127.0.0.1", int(address)))
        self.socket.settimeout(60)
        assert len(self.receive(18)) == 18
        self.socket.sendall(struct.pack(">I", flags))
        self.mode = SIMPLE
        if not address.startswith("/"):
            assert self.option(5)[0] == ACK
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)

    def receive(self, length):
        data = bytearray()
        while len(data) < length:
            try:
                part = self.socket.recv(min(length - len(data), MIB))
            except (ConnectionResetError, ssl.SSLEOFError):
                part = b""
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def send_option(self, number, data=b"", length=None):
        self.socket.sendall(struct.pack(">QII", OPTION, number, len(data) if length is None else length) + data)

    def option(self, number, data=b""):
        """The type of its last reply, and the data of all."""
        self.send_option(number, data)
        said = []
        while True:
            magic, option, kind, length = struct.unpack(">QIII", self.receive(20))
            assert magic == 0x3E889045565A9 and option == number, (option, number)
            said.append(self.receive(length))
            if kind == ACK or kind >> 31:
                return kind, said

    def begin(self, mode, context=True):
        if mode != SIMPLE:
            assert self.option(8 if mode == STRUCTURED else 11)[0] == ACK
            if context:
                assert self.option(10, name(b"") + struct.pack(">I", 1) + name(b"base:allocation"))[0] == ACK
        kind, said = self.option(7, name(b"") + struct.pack(">H", 0))
        assert kind == ACK
        size, self.flags = struct.unpack(">QH", said[0][2:])
        assert size == SIZE
        self.mode = mode
        return self

    def send(self, command, flags, offset, length, payload=b"", magic=None):
        head = ">IHHQQQ" if self.mode == EXTENDED else ">IHHQQI"
        magic = magic or (0x21E41C71 if self.mode == EXTENDED else 0x25609513)
        self.socket.sendall(struct.pack(head, magic, flags, command, 7, offset, length) + payload)

    def answer(self, command, length):
        """Its error, and the content of its chunks."""
        if self.mode == SIMPLE:
            magic, error, cookie = struct.unpack(">IIQ", self.receive(16))
            assert (magic, cookie) == (0x67446698, 7)
            return error, [self.receive(length)] if command == READ and not error else []
        error, chunks, done = 0, [], 0
        while not done:
            if self.mode == EXTENDED:
                magic, done, kind, cookie, _, size = struct.unpack(">IHHQQQ", self.receive(32))
            else:
                magic, done, kind, cookie, size = struct.unpack(">IHHQI", self.receive(20))
            assert (magic, cookie) == (0x6E8A278C if self.mode == EXTENDED else 0x668E33EF, 7)
            chunk = self.receive(size)
            if kind >> 15:
                error, text = struct.unpack(">IH", chunk[:6])
                assert text == size - 6 and text > 0  # it says why
            else:
                chunks.append(chunk)
        return error, chunks

    def request(self, command, flags=0, offset=0, length=0, payload=b""):
        self.send(command, flags, offset, length, payload)
        return self.answer(command, length)


def name(text):
    return struct.pack(">I", len(text)) + text


def hangs_up(client):
    try:
        client.receive(1)
    except EOFError:
        return True
    return False


def check_options():
    go, no_info = name(b"") + struct.pack(">H", 0), struct.pack(">H", 0)
    one = struct.pack(">I", 1)
    cases = [(3, b"x", INVALID), (8, b"x", INVALID), (11, b"x", INVALID), (5, b"x", INVALID), (5, b"", POLICY)]
    cases += [(n, data, UNSUP) for n in (0, 4, 12, 99, 2**31, 2**32 - 1) for data in (b"", b"x" * 5000, b"x" * 70000)]
    for info in 6, 7:
        cases += [(info, data, INVALID) for data in (
            b"", b"\0", b"\0\0\0\1", struct.pack(">I", 2**32 - 1) + b"x", go[:-1], go + b"x", name(b"") + b"\0\1",
            name(b"") + b"\xff\xff\0\0", name(b"\xff") + no_info, name(b"a\0b") + no_info, name(b"x" * 4097) + no_info)]
        cases += [(info, name(text) + no_info, UNKNOWN) for text in (b"absent", b"p9", "ü".encode(), b"x" * 4096)]
    for meta in 9, 10:  # structured replies are not agreed on
        cases.append((meta, name(b"") + struct.pack(">I", 0), INVALID))
    client = Client()
    for number, data, expected in cases:
        got = client.option(number, data)[0]
        assert got == expected, (number, data[:40], hex(got), hex(expected))
        assert client.option(3)[0] == ACK
    assert client.option(8)[0] == ACK
    for meta in 9, 10:
        for data in (b"", name(b""), name(b"") + one, name(b"") + one + b"\0\0\0\5abc", name(b"") + one + name(b"a:b") + b"x",
                     name(b"") + struct.pack(">I", 2**32 - 1) + name(b"a:b"), name(b"\xff") + one + name(b"a:b"),
                     name(b"") + one + name(b"\xff:b"), name(b"") + one + name(b"x" * 4097)):
            assert client.option(meta, data)[0] == INVALID, data[:40]
        assert client.option(meta, name(b"absent") + one + name(b"base:allocation"))[0] == UNKNOWN
        assert client.option(meta, name(b"") + one + name(b"x-unknown:y")) == (ACK, [b""])
    assert client.option(11)[0] == ACK
    assert client.option(8)[0] == EXT_REQD
    assert client.option(1 << 20)[0] == UNSUP
    assert client.option(7, go)[0] == ACK
    assert Client().option(2, b"whatever")[0] == ACK
    for last in (lambda c: c.send_option(1, b"absent"), lambda c: c.send_option(1, b"\xff"),
                 lambda c: c.send_option(1, b"x" * 5000), lambda c: c.send_option(99, b"", 2**32 - 1),
                 lambda c: c.send_option(7, b"x" * 80000), lambda c: c.socket.sendall(b"IHAVEOPX" + bytes(8))):
        client = Client()
        try:
            last(client)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert hangs_up(client)
    for flags in 4, 7, 1 << 31, 0xFFFF0003:
        assert hangs_up(Client(flags))


PAST = [(SIZE, 1), (SIZE - 1, 2), (SIZE - 511, 512), (2**63, 512), (2**64 - 1, 1), (2**64 - 512, 512), (2**64 - 1, 2**32 - 1)]


def wrong_requests(mode, writable):
    """command, flags, offset, length, error; those that write carry their payload."""
    long = [(2**64 - 1, 2**64 - 1), (1, 2**64 - 1), (1, SIZE), (2**63, 2**63)] if mode == EXTENDED else []
    for offset, length in PAST + long:
        yield READ, 0, offset, length, EINVAL
        yield CACHE, 0, offset, length, EINVAL
        yield STATUS, 0, offset, length, EINVAL
        yield TRIM, 0, offset, length, EINVAL if writable else EPERM
        yield ZEROES, 0, offset, length, ENOSPC if writable else EPERM
        if length < 1 << 20:
            yield WRITE, 0, offset, length, ENOSPC if writable else EPERM
    yield READ, 0, 0, 32 * MIB + 1, EINVAL
    yield READ, 0, 0, 2**32 - 1, EINVAL
    yield READ, DF, 0, 32 * MIB + 1, EINVAL if mode == SIMPLE else EOVERFLOW
    yield WRITE, 0, 0, 32 * MIB + 1, EINVAL if writable else EPERM
    yield FLUSH, 0, 512, 0, EINVAL
    yield FLUSH, 0, 0, 512, EINVAL
    yield STATUS, 0, 0, 0, EINVAL
    for command in 8, 9, 10, 255, 256, 0x8000, 0xFFFF:
        yield command, 0, 0, 512, EINVAL
    allowed = {READ: DF, WRITE: 0, FLUSH: 0, TRIM: 0, CACHE: 0, ZEROES: NO_HOLE | FAST, STATUS: REQ_ONE, DISC: 0}
    for command, fine in allowed.items():
        for bit in range(1, 16):  # any of them may carry FUA
            flag = 1 << bit
            if flag == PAYLOAD and mode == EXTENDED and command in (WRITE, STATUS):
                continue
            if not fine & flag or (flag == DF and mode == SIMPLE):
                yield command, flag, 0, 0 if command in (FLUSH, DISC) else 512, EINVAL
    if not writable:  # the first that broke nbdkit: not offered
        yield ZEROES, FAST, 0, 512, EINVAL


def payload_of(mode, command, flags, length):
    carries = flags & PAYLOAD if mode == EXTENDED else command == WRITE
    return bytes(length) if carries else b""


def check_requests(writable):
    for mode in SIMPLE, STRUCTURED, EXTENDED:
        client = Client().begin(mode)
        for command, flags, offset, length, expected in wrong_requests(mode, writable):
            if command == WRITE and mode == EXTENDED:
                flags |= PAYLOAD
            payload = payload_of(mode, command, flags, length)
            error, _ = client.request(command, flags, offset, length, payload)
            assert error == expected, (mode, command, hex(flags), offset, length, error, expected)
            assert client.request(READ, 0, 4096, 512)[0] == 0
        if mode == EXTENDED:
            # A write that says of no payload has none; a status that has one which is no filter.
            assert client.request(WRITE, 0, 0, 512)[0] == (EINVAL if writable else EPERM)
            for length in 1, 8, 11, 13, 512, MIB:
                assert client.request(STATUS, PAYLOAD, 0, length, bytes(length))[0] == EINVAL
            for ids in (1,), (0, 0), (2**32 - 1,):
                data = struct.pack(">Q", 4096) + b"".join(struct.pack(">I", i) for i in ids)
                assert client.request(STATUS, PAYLOAD, 0, len(data), data)[0] == EINVAL
        check_right(client, mode, writable)
        no_context = Client().begin(mode, False)
        assert no_context.request(STATUS, 0, 0, 512)[0] == EINVAL
        assert no_context.request(READ, 0, 0, 512)[0] == 0
        for last in (lambda c: c.send(READ, 0, 0, 512, magic=0x25609514),
                     lambda c: c.send(WRITE, PAYLOAD if mode == EXTENDED else 0, 0, (64 << 20) + 1),
                     lambda c: c.send(DISC, 0, 0, 0), lambda c: c.send(DISC, FUA, 0, 0)):
            client = Client().begin(mode)
            last(client)
            assert hangs_up(client)


def check_right(client, mode, writable):
    """What looks wrong, and is not."""
    assert client.request(READ, FUA, SIZE - 1, 1)[0] == 0
    assert client.request(READ, 0, SIZE, 0)[0] == 0
    assert client.request(READ, 0, 0, 32 * MIB)[0] == 0
    assert client.request(FLUSH, FUA)[0] == 0
    assert client.request(CACHE, 0, 0, 2**32 - 1)[0] == 0
    if mode != SIMPLE:
        assert client.request(READ, DF, 1, 65536)[0] == 0
        assert client.request(READ, DF, 1, 32 * MIB)[0] == 0
        # The second that broke nbdkit: all that 32 bits can say, of a disk that has it.
        error, chunks = client.request(STATUS, 0, 0, 2**32 - 1)
        assert error == 0 and len(chunks) == 1 and len(chunks[0]) > 8
        error, chunks = client.request(STATUS, REQ_ONE, 0, 2**32 - 1)
        assert error == 0 and len(chunks[0]) == (24 if mode == EXTENDED else 12)
    if mode == EXTENDED:
        assert client.request(STATUS, 0, 0, SIZE)[0] == 0
        assert client.request(STATUS, PAYLOAD, 0, 12, struct.pack(">QI", SIZE, 0))[0] == 0
    if writable:
        carried = PAYLOAD if mode == EXTENDED else 0
        assert client.request(WRITE, FUA | carried, SIZE - 1, 1, b"\0")[0] == 0
        assert client.request(ZEROES, NO_HOLE, SIZE - 4096, 4096)[0] == 0
        assert client.request(ZEROES, 0, 1, 2**32 - 1)[0] == 0
        assert client.request(TRIM, FUA, 1, 2**32 - 1)[0] == 0
        if client.flags & 1 << 11:
            assert client.request(ZEROES, FAST, 0, MIB)[0] in (0, ENOTSUP)


if what == "options":
    check_options()
else:
    check_requests(what == "writable")
