#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""An NBD server on the unix socket PATH that does one WRONG thing to its first client."""
import socket
import struct
import sys
import time

OPTION_MAGIC, REPLY_MAGIC = 0x49484156454F5054, 0x3E889045565A9
LIST, STARTTLS, INFO, CONTEXTS = 3, 5, 6, 9
ACK, SERVER, INFORMATION, CONTEXT, UNSUP = 1, 2, 3, 4, 0x80000001


def receive(client, n):
    data = b""
    while len(data) < n:
        piece = client.recv(n - len(data))
        if not piece:
            sys.exit(0)
        data += piece
    return data


def reply(client, option, kind, data=b"", length=None):
    length = len(data) if length is None else length
    client.sendall(struct.pack(">QIII", REPLY_MAGIC, option, kind, length) + data)


def export(name=b"x", description=b""):
    return struct.pack(">I", len(name)) + name + description


def answer_list(client, wrong):
    if wrong == "endless":
        while True:
            reply(client, LIST, SERVER, export())
    if wrong == "endless-text":
        while True:
            reply(client, LIST, SERVER, export(b"x", bytes([97]) * 4000))
    if wrong == "long-reply":
        reply(client, LIST, SERVER, length=0xFFFFFFFF)
        time.sleep(30)
    if wrong == "long-name":
        reply(client, LIST, SERVER, struct.pack(">I", 0xFFFFFFFF) + b"x")
    if wrong == "longer-name":
        reply(client, LIST, SERVER, export(b"x" * 4097))
    if wrong == "other-option":
        reply(client, 99, ACK)
    if wrong == "drip":
        for byte in struct.pack(">QIII", REPLY_MAGIC, LIST, SERVER, 12000) + b"a" * 12000:
            client.sendall(bytes([byte]))
            time.sleep(0.1)
    if wrong == "hang-up":
        sys.exit(0)
    if wrong == "policy":
        reply(client, LIST, 0x80000002, b"not for \x1b[31myou")
        return
    if wrong == "tls":
        reply(client, LIST, 0x80000005, b"")
        return
    reply(client, LIST, SERVER, export(b"a\x1b]0;b\xff\n export: 'c", b"d\ne"))
    reply(client, LIST, ACK)


def answer_starttls(client, wrong):
    if wrong == "no-tls":
        reply(client, STARTTLS, 0x80000002, b"not for \x1b[31myou")
    elif wrong == "unknown-tls":
        reply(client, STARTTLS, UNSUP)
    elif wrong == "odd-tls":
        reply(client, STARTTLS, INFORMATION)
    elif wrong == "talkative-tls":
        reply(client, STARTTLS, ACK, b"x")
    elif wrong == "injected":
        # The answers that a client would ask for next, in one packet with this one.
        client.sendall(struct.pack(">QIII", REPLY_MAGIC, STARTTLS, ACK, 0) +
                       struct.pack(">QIII", REPLY_MAGIC, 11, ACK, 0) +
                       struct.pack(">QIIII", REPLY_MAGIC, LIST, SERVER, 4, 0) +
                       struct.pack(">QIII", REPLY_MAGIC, LIST, ACK, 0))
        time.sleep(30)
    else:
        reply(client, STARTTLS, ACK)
        client.recv(1)  # the first byte of its greeting
        if wrong == "plain":
            client.sendall(struct.pack(">QIII", REPLY_MAGIC, 11, ACK, 0) * 20)
        elif wrong == "warnings":
            while True:
                client.sendall(bytes.fromhex("15030300020170") * 100)
        elif wrong == "cut-tls":
            client.sendall(bytes.fromhex("160303007a02"))
            sys.exit(0)
        elif wrong == "drip-tls":
            for byte in bytes.fromhex("160303007a020000760303") + bytes(100):
                client.sendall(bytes([byte]))
                time.sleep(0.1)
        time.sleep(30)


def answer(client, option, wrong):
    if option == STARTTLS and wrong.endswith(("tls", "injected", "plain", "warnings")):
        answer_starttls(client, wrong)
        return
    if option == LIST:
        answer_list(client, wrong)
    elif option == INFO and wrong == "short-info":
        reply(client, option, INFORMATION, b"\0\0\0\0")
    elif option == INFO and wrong == "unknown-info":
        reply(client, option, 0x80000006, b"gone since")
    elif option == INFO and wrong == "empty-info":
        reply(client, option, ACK)
    elif option == INFO and wrong != "no-info":
        reply(client, option, INFORMATION, struct.pack(">HQH", 0, 2**64 - 1, 0xFFFF))
        reply(client, option, ACK)
    elif option == CONTEXTS and wrong == "endless-contexts":
        while True:
            reply(client, option, CONTEXT, b"\0\0\0\0a:b")
    elif option == CONTEXTS and wrong == "short-context":
        reply(client, option, CONTEXT, b"\0")
    elif option in (CONTEXTS, 8):
        reply(client, option, ACK)
    else:
        reply(client, option, UNSUP)


def main():
    path, wrong = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    client = listener.accept()[0]
    if wrong == "silence":
        time.sleep(30)
    if wrong == "rubbish":
        client.sendall(b"SSH-2.0-rubbish and more of it")
        time.sleep(1)
    client.sendall(b"NBDMAGIC" + struct.pack(">QH", OPTION_MAGIC, 0 if wrong == "bare" else 3))
    receive(client, 4)
    while True:
        magic, option, length = struct.unpack(">QII", receive(client, 16))
        assert magic == OPTION_MAGIC
        receive(client, length)
        answer(client, option, wrong)


try:
    main()
except (BrokenPipeError, ConnectionResetError):
    pass
