#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pokes fields of a good image to extremes, one at a time, and runs a command on each.

poke.py IMAGE FIELDS COMMAND...

FIELDS names a file of lines "OFFSET WIDTH ENDIAN NAME".  In COMMAND, @ stands for the
poked image.  Each run must end by itself, within seconds and bounded memory, with status
0 or 1; a failure says why in one line that begins with "imgmount: ".  Prints each breach
and exits with 1 if there is one.  IMGMOUNT_TEST_SAMPLE=N: only every Nth value is tried,
for slow builds.
"""
import os
import subprocess
import sys
import tempfile

SECONDS = 20
MEMORY_KIB = 512 * 1024  # address sanitizers included
SAMPLE = int(os.environ.get("IMGMOUNT_TEST_SAMPLE", "1"))


def values(width, old):
    top = (1 << (8 * width)) - 1
    extremes = {0, 1, 2, top, top - 1, top >> 1, (top >> 1) + 1, old + 1, old - 1, old << 1, old >> 1, old ^ 0x100,
                0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, 1 << 62}
    return sorted(v for v in extremes if 0 <= v <= top and v != old)


def run(command):
    with tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err,
                                   start_new_session=True)  # no terminal to ask on
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None, "", 0
        err.seek(0)
        return process.returncode, err.read().decode(errors="replace"), 0


def peak_kib():
    import resource
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def judge(status, text):
    lines = [line for line in text.splitlines() if not line.startswith("imgmount: hint: ")]
    if status is None:
        return "did not end in %d seconds" % SECONDS
    if status not in (0, 1):
        return "ended with status %d: %s" % (status, text[:300])
    if any(not line.startswith("imgmount: ") for line in lines):
        return "said: " + text[:300]
    errors = [line for line in lines if not line.startswith("imgmount: warning: ")]
    if status == 1 and len(errors) != 1:
        return "failed with %d lines: %s" % (len(errors), text[:300])
    return None


def main():
    image, fields, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    good = open(image, "rb").read()
    breaches = runs = pokes = 0
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(os.path.abspath(image))) as poked:
        argv = [poked.name if word == "@" else word for word in command]
        for line in open(fields):
            offset, width, endian, name = line.split()
            offset, width = int(offset, 0), int(width)
            old = int.from_bytes(good[offset:offset + width], endian)
            for value in values(width, old):
                pokes += 1
                if pokes % SAMPLE:
                    continue
                bad = bytearray(good)
                bad[offset:offset + width] = value.to_bytes(width, endian)
                poked.seek(0)
                poked.write(bad)
                poked.flush()
                runs += 1
                status, text, _ = run(argv)
                breach = judge(status, text)
                if breach:
                    breaches += 1
                    print("%s = 0x%x: %s" % (name, value, breach))
    if peak_kib() > MEMORY_KIB:
        breaches += 1
        print("a run took %d KiB" % peak_kib())
    print("%d runs, %d breaches" % (runs, breaches))
    sys.exit(breaches > 0)


main()
