#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Disks as large as they can be, and trees of many partitions with names of every kind.

bats_require_minimum_version 1.5.0

load process-helpers

# The largest file; numbers of the kernel and of C libraries end there.
MOST=9223372036854775807
# The largest qcow2 that we make.
MOST_QCOW2=$((1 << 61))

setup() {
  load partition-helpers
  [ -c /dev/fuse ] || skip "no /dev/fuse"
  need sfdisk python3
  cd "$BATS_TEST_TMPDIR"
  # Few file systems have files of this size; tmpfs does.
  SHM=$(mktemp -d /dev/shm/imgmount-vast-XXXXXX 2>/dev/null) || skip "no /dev/shm"
  export IMGMOUNT
  mkdir mnt
}

teardown() {
  local pid=''
  # The server takes the file away as it ends.
  [ ! -s "${SHM:-/nonexistent}/pid" ] || pid=$(<"$SHM/pid")
  [ -z "$pid" ] || { kill "$pid" && await_end "$pid"; } || true
  mountpoint -q "$BATS_TEST_TMPDIR/mnt" && "$IMGMOUNT" --unmount "$BATS_TEST_TMPDIR/mnt"
  [ -z "${SHM:-}" ] || rm -rf "$SHM"
}

# A sparse disk of SIZE bytes with p1 at its beginning and p2 at its end, and a few words as
# the last bytes of p2 and of the disk.
make_vast() { # SIZE
  truncate -s "$1" "$SHM/x.img" 2>/dev/null || skip "no files of this size in /dev/shm"
  LAST=$(($1 / 512 - 1))
  sfdisk -q "$SHM/x.img" <<<"label: gpt
1: start=2048, size=2048, name=first
2: start=$((LAST - 40000)), size=30000, name=last"
  printf 'THE VERY END' | dd of="$SHM/x.img" bs=1 seek=$(($1 - 12)) conv=notrunc status=none
  printf 'end of p2' | dd of="$SHM/x.img" bs=1 seek=$(((LAST - 10000) * 512 - 9)) conv=notrunc status=none
}

# Everything about mnt/disk, SIZE bytes with the words as its last data, that has to do with
# numbers near the end; WRITE 1: and it can be written.
check_ends() { # SIZE WRITE
  timeout -s KILL 120 python3 - "$@" <<'END'
import errno, os, sys

size, write = int(sys.argv[1]), sys.argv[2] == "1"
fd = os.open("mnt/disk", os.O_RDWR if write else os.O_RDONLY)

def same(what, a, b):
    assert a == b, (what, a, b)

def seek(at, whence):
    try:
        return os.lseek(fd, at, whence)
    except OSError as error:
        same("seek", error.errno, errno.ENXIO)

same("size", os.fstat(fd).st_size, size)
assert 0 < os.fstat(fd).st_blocks * 512 < 64 << 20, os.fstat(fd).st_blocks
same("the end", os.pread(fd, 12, size - 12), b"THE VERY END")
same("the last byte", os.pread(fd, 1, size - 1), b"D")
assert os.pread(fd, 4096, size - 4096).endswith(bytes(300) + b"THE VERY END"), "the last page"
words = size - 12
for at in (words, size - 1):
    same("data", seek(at, os.SEEK_DATA), at)
    same("hole", seek(at, os.SEEK_HOLE), size)
same("past the end", seek(size, os.SEEK_DATA), None)
same("past the end", seek(size, os.SEEK_HOLE), None)
# The backup of the table is not far before the end.
found = seek(1 << 40, os.SEEK_DATA)
assert size - (30 << 20) < found < words, found
same("a hole amid", seek(1 << 40, os.SEEK_HOLE), 1 << 40)
if write:
    same("write", os.pwrite(fd, b"THE VERY EN!", words), 12)
    same("again", os.pread(fd, 12, words), b"THE VERY EN!")
    try:
        os.pwrite(fd, b"x", size)
        assert False, "a write past the end"
    except OSError as error:
        assert error.errno in (errno.ENOSPC, errno.EINVAL, errno.EFBIG), error
    same("size", os.fstat(fd).st_size, size)
    same("put back", os.pwrite(fd, b"D", size - 1), 1)
END
}

@test "vast: a raw disk of the largest size is read, sought and written at its very end" {
  make_vast $MOST
  "$IMGMOUNT" --gaps "$SHM/x.img" mnt
  check_ends $MOST 1
  [ "$(stat -c %s mnt/p2)" -eq $((30000 * 512)) ]
  [ "$(tail -c 9 mnt/p2)" = 'end of p2' ]
  [ "$(stat -c %s "mnt/gaps/4096-$((LAST - 40000 - 4096))")" -eq $(((LAST - 40000 - 4096) * 512)) ]
  cmp "mnt/gaps/$((LAST - 10000))-10002" <(tail -c $((10001 * 512 + 511)) "$SHM/x.img")
  "$IMGMOUNT" --unmount mnt
  [ "$(tail -c 12 "$SHM/x.img")" = 'THE VERY END' ]
  "$IMGMOUNT" -r "$SHM/x.img" mnt
  check_ends $MOST 0
  "$IMGMOUNT" --unmount mnt
}

@test "vast: it is listed as sfdisk does, drawn, and its last partition copied out" {
  make_vast $MOST
  (cd "$SHM" && same_as_sfdisk x.img)
  run -0 timeout 60 "$BATS_TEST_DIRNAME/on-terminal.py" 80 "$IMGMOUNT" --list "$SHM/x.img"
  [[ $output == *"p2"*"8 EiB, 0 % allocated"* ]]
  "$IMGMOUNT" --extract p2 --digest none -O p2.dd "$SHM/x.img"
  [ "$(stat -c %s p2.dd)" -eq $((30000 * 512)) ]
  [ "$(tail -c 9 p2.dd)" = 'end of p2' ]
}

@test "vast: NBD gives its size and its end" {
  need nbdinfo
  /usr/bin/python3 -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
  make_vast $MOST
  "$IMGMOUNT" --nbd -t -r -k "$SHM/socket" --fork --pid-file "$SHM/pid" "$SHM/x.img"
  [ "$(nbdinfo --size "nbd+unix:///?socket=$SHM/socket")" -eq $MOST ]
  [ "$(nbdinfo --size "nbd+unix:///p2?socket=$SHM/socket")" -eq $((30000 * 512)) ]
  /usr/bin/python3 - "$SHM/socket" <<'END'
import nbd, sys
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri("nbd+unix:///?socket=" + sys.argv[1])
size = h.get_size()
assert h.pread(12, size - 12) == b"THE VERY END"
runs = []
h.block_status(4096, size - 4096, lambda context, offset, extents, error: runs.extend(extents))
assert runs[0] >= 12 and runs[1] == 0, runs  # data, not a hole
try:
    h.pread(2, size - 1)
    assert False, "a read past the end"
except nbd.Error:
    pass
END
}

@test "vast: a qcow2 overlay has 2 EiB, and more is refused before anything is made" {
  need qemu-io
  make_vast $MOST_QCOW2
  "$IMGMOUNT" --overlay over.qcow2 "$SHM/x.img" mnt
  check_ends $MOST_QCOW2 1
  printf '?' | dd of=mnt/disk bs=1 seek=$((MOST_QCOW2 - 1)) conv=notrunc status=none
  "$IMGMOUNT" --unmount mnt
  qemu-io -r -f qcow2 -c "read -P 0x3f $((MOST_QCOW2 - 1)) 1" over.qcow2 | grep -q 'read 1/1'
  [ "$(tail -c 12 "$SHM/x.img")" = 'THE VERY END' ]
  make_vast $MOST
  run -1 "$IMGMOUNT" --overlay more.qcow2 "$SHM/x.img" mnt
  [ "${#lines[@]}" -eq 1 ]
  [[ $output == *"a disk of $MOST bytes is beyond the limit of $MOST_QCOW2"* ]]
  [ ! -e more.qcow2 ]
}

# A GPT of 200 slots, a sector each, their names of every kind.
make_names() {
  python3 - "$BATS_TEST_DIRNAME" <<'END'
import runpy, sys
sys.argv[1], where = ".", sys.argv[1]
make = runpy.run_path(where + "/make-tables.py", run_name="tables")
kinds = ["a/b", "/", "//", "../../etc/passwd", ".", "..", "...", "", " ", "a\nb", "\n", "\t\r\x0b", "\x1b[2J", "\x7f",
         "-rf", "--help", "*", "$(id)", "`id`", "'\"\\", "%s%n", "con", "p1", "disk", "same", "same", "same", "same-2",
         "same-3", "SAME", "\U0001f427", "\U0001f469\u200d\U0001f52c" * 5, "r\u00f6\u00f6t", "ro\u0308o\u0308t",
         "\u202egpj.exe", "\ufeffbom", "a\u2028b", "\u0000", "x" * 36, "\U0001f427" * 18, "\u4e00" * 36, "\uffff",
         b"\x00\xd8", b"\x00\xdc", b"\x00\xdc\x00\xd8", b"a\0\x00\xd8", b"\xff\xff" * 36, b"\x00\xd8" * 36]
parts = [(i, 2000 + i, 2000 + i, kinds[i] if i < len(kinds) else f"part {i % 50}") for i in range(200)]
disk = make["gpt"](parts, entries=200)
for i in range(200):
    disk.put(2000 + i, b"this is partition %d\n" % (i + 1))
open("x.img", "wb").write(disk.bytes)
END
}

@test "vast: 200 partitions, their labels of every kind: each link is a safe name and leads to its file" {
  make_names
  "$IMGMOUNT" -r x.img mnt
  python3 - <<'END'
import os, subprocess, json, unicodedata

assert sorted(n for n in os.listdir("mnt") if n[0] == "p") == sorted(f"p{i}" for i in range(1, 201))
for i in range(1, 201):
    with open(f"mnt/p{i}", "rb") as file:
        assert file.read() == (b"this is partition %d\n" % i).ljust(512, b"\0"), i

table = json.loads(subprocess.run([os.environ["IMGMOUNT"], "--list", "--json", "x.img"], stdout=-1).stdout)
labels = {e["file"]: e.get("name") for e in table["partitiontable"]["partitions"]}
seen = set()
for directory in ("by-partlabel", "by-partuuid"):
    names = os.listdir(b"mnt/" + directory.encode())
    assert len(names) == len(set(names))
    assert len(names) == (200 if directory == "by-partuuid" else sum(n is not None for n in labels.values())), len(names)
    for name in names:
        text = name.decode()  # always valid
        assert 0 < len(name) <= 255 and text not in (".", "..") and "/" not in text, name
        assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") for c in text), name
        assert not any(unicodedata.category(c) == "Cf" and c not in "\u200c\u200d" for c in text), name
        path = b"mnt/" + directory.encode() + b"/" + name
        target = os.readlink(path).decode()
        assert target.startswith("../p") and target[3:] in labels, target
        with open(path, "rb") as file:
            assert file.read().startswith(b"this is partition %s\n" % target[4:].encode())
        if directory == "by-partlabel":
            seen.add(target[3:])
assert seen == {file for file, name in labels.items() if name is not None}
# A plain name is its own link.
assert os.readlink("mnt/by-partlabel/part 49") in ("../p50", "../p100", "../p150", "../p200")
assert os.readlink("mnt/by-partlabel/-rf") == "../p15"
END
  # One line each, whatever the names.
  "$IMGMOUNT" --list x.img >listed
  [ "$(wc -l <listed)" -eq 202 ]
  python3 -c 'import sys, unicodedata; sys.exit(any(unicodedata.category(c) in ("Cc", "Zl", "Zp")
    for line in open("listed", encoding="utf-8", newline="\n") for c in line.rstrip("\n")))'
  run -0 "$BATS_TEST_DIRNAME/on-terminal.py" 80 "$IMGMOUNT" --list x.img
  "$IMGMOUNT" --unmount mnt
}

@test "vast: NBD lists 200 partitions under their labels" {
  need nbdinfo
  make_names
  "$IMGMOUNT" --nbd -t -r -k "$SHM/socket" --fork --pid-file "$SHM/pid" x.img
  run -0 "$IMGMOUNT" --nbd -L -k "$SHM/socket"
  [ "$(grep -c 'p200' <<<"$output")" -ge 1 ]
  [[ $output != *$'\x1b'* ]]
  nbdinfo --list --json --no-content "nbd+unix://?socket=$SHM/socket" >list.json
  python3 -c 'import json; assert len(json.load(open("list.json"))["exports"]) == 201'
}
