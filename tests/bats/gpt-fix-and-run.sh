#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# gpt-fix-and-run.sh IMGMOUNT IMAGE: makes the checksums of the primary GPT right again, so
# that what the table says is believed, and lists it.
set -euo pipefail
python3 - "$2" <<'PYTHON'
import struct
import sys
import zlib

with open(sys.argv[1], "r+b") as image:
    data = bytearray(image.read())
    header_size, = struct.unpack_from("<I", data, 524)
    entries_lba, count, size = struct.unpack_from("<QII", data, 584)
    if entries_lba * 512 + count * size <= len(data):
        struct.pack_into("<I", data, 600, zlib.crc32(data[entries_lba * 512:entries_lba * 512 + count * size]))
    if 92 <= header_size <= 512:
        struct.pack_into("<I", data, 528, 0)
        struct.pack_into("<I", data, 528, zlib.crc32(data[512:512 + header_size]))
    image.seek(0)
    image.write(data)
PYTHON
exec "$1" --list "$2"
