#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""on-terminal.py COLUMNS COMMAND...: runs COMMAND on a terminal of that width and prints what it wrote."""
import fcntl
import os
import pty
import struct
import sys
import termios

pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(sys.argv[1]), 0, 0))
    os.execvp(sys.argv[2], sys.argv[2:])
written = b""
while True:
    try:
        piece = os.read(fd, 65536)
    except OSError:  # EIO: nobody has the other end any more
        break
    if not piece:
        break
    written += piece
sys.stdout.buffer.write(written.replace(b"\r\n", b"\n"))
sys.stdout.buffer.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
