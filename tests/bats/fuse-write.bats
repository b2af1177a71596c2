#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Writing through real mounts: every byte where it belongs, seen through all files at once,
# and on the disk when it was said to be.

bats_require_minimum_version 1.5.0

load fuse-helpers
load loop-helpers

# A fresh disk for each test; REFERENCE is its copy.
make_disk() {
  DISK=$PWD/disk.img REFERENCE=$PWD/reference.img
  make_partitioned "$DISK"
  chmod 0600 "$DISK"
  cp "$DISK" "$REFERENCE"
}

# writes $2 bytes of noise at $3 of mount's file $1, and into the reference
poke() {
  local base=0
  [[ $1 != p1 ]] || base=1048576
  [[ $1 != p2 ]] || base=41943040
  head -c "$2" /dev/urandom >noise
  dd if=noise of="$D/$1" bs="$2" seek="$3" oflag=seek_bytes conv=notrunc status=none "${@:4}"
  dd if=noise of="$REFERENCE" bs="$2" seek=$((base + $3)) oflag=seek_bytes conv=notrunc status=none
}

@test "fuse-write: files have the image's mode, and the mount is writable" {
  make_disk
  "$IMGMOUNT" "$DISK" "$D"
  [ "$(stat -c '%a %s' "$D/disk")" = "600 67108864" ]
  [ "$(stat -c '%a' "$D/info.json")" = 400 ]
  [ "$(stat -c '%a' "$D")" = 500 ]
  [[ ,$(findmnt -n -o OPTIONS "$D"), == *,rw,* ]]
  "$IMGMOUNT" --unmount "$D"
  chmod 0664 "$DISK"
  "$IMGMOUNT" "$DISK" "$D"
  [ "$(stat -c '%a' "$D/p1")" = 664 ]
  "$IMGMOUNT" --unmount "$D"
  # Nothing was written, so nothing changed.
  cmp "$DISK" "$REFERENCE"
}

@test "fuse-write: writes of any size at any place, through disk and partitions" {
  make_disk
  "$IMGMOUNT" "$DISK" "$D"
  poke disk 1 20971521
  poke p1 511 0
  poke p1 4097 12345
  poke disk 3000001 1048000
  poke p1 5000000 6999999
  poke p2 1049088 0
  poke p2 1 1049087
  poke disk 1048576 12582912 conv=notrunc oflag=direct,seek_bytes
  poke p1 70000 33484432 conv=notrunc,fsync
  poke p1 10 77 conv=notrunc oflag=dsync,seek_bytes
  cmp "$D/disk" "$REFERENCE"
  cmp "$D/p1" <(tail -c +1048577 "$REFERENCE" | head -c 33554432)
  cmp "$D/p2" <(tail -c +41943041 "$REFERENCE" | head -c 1049088)
  "$IMGMOUNT" --unmount "$D"
  cmp "$DISK" "$REFERENCE"
}

@test "fuse-write: the end is a block device's: cut short, ENOSPC, and no growing" {
  make_disk
  "$IMGMOUNT" "$DISK" "$D"
  py "$D" <<'PY'
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def code(f, *args):
    try:
        f(*args)
        return 0
    except OSError as e:
        return e.errno
def fallocate(fd, mode, at, length):
    status = libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(length))
    return ctypes.get_errno() if status else 0
KEEP, PUNCH, ZERO = 1, 2, 16
size = 1049088
path = sys.argv[1] + "/p2"
fd = os.open(path, os.O_RDWR)
assert os.pwrite(fd, b"x" * 100, size - 10) == 10
assert os.pwrite(fd, b"y" * (3 << 20), 88) == size - 88
for at in (size, size + 1, 1 << 40):
    assert code(os.pwrite, fd, b"z", at) == errno.ENOSPC, at
append = os.open(path, os.O_WRONLY | os.O_APPEND)
assert code(os.write, append, b"z") == errno.ENOSPC
for new in (0, 5, size, size + 1, 1 << 40):
    os.ftruncate(fd, new)
    os.truncate(path, new)
    assert os.stat(path).st_size == size
os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
with open(path, "rb") as f:
    data = f.read()
assert len(data) == size and data[88:] == b"y" * (size - 88)
assert fallocate(fd, 0, 0, 4096) == errno.EOPNOTSUPP
assert fallocate(fd, KEEP, size, 4096) == errno.EOPNOTSUPP
assert fallocate(fd, ZERO, size - 1, 2) == errno.EFBIG
assert fallocate(fd, ZERO, size + 9, 1) == errno.EFBIG
assert fallocate(fd, 32, 0, 4096) == errno.EOPNOTSUPP
assert os.pread(fd, 1, size - 1) == b"y"
assert fallocate(fd, ZERO | KEEP, size - 1, 5000) == 0
assert fallocate(fd, PUNCH | KEEP, size, 5000) == 0
assert os.pread(fd, 9, size - 2) == b"y\0"
assert os.stat(path).st_size == size
PY
  [ "$(stat -c %s "$DISK")" -eq 67108864 ]
  "$IMGMOUNT" --unmount "$D"
  # Only p2 was written.
  cmp -n 41943040 "$DISK" "$REFERENCE"
  cmp -i $((41943040 + 1049088)) "$DISK" "$REFERENCE"
}

@test "fuse-write: holes and zeros, and a hole is one where discards are passed on" {
  make_disk
  for discard in ignore unmap; do
    "$IMGMOUNT" --discard "$discard" "$DISK" "$D"
    for range in "511 3" "4096 8192" "100000 300001"; do
      head -c 1000000 /dev/urandom | dd of="$D/p2" conv=notrunc status=none
      cp "$D/p2" before
      for mode in --punch-hole "--zero-range --keep-size" --zero-range; do
        # shellcheck disable=SC2086
        fallocate $mode -o "${range% *}" -l "${range#* }" "$D/p2"
        head -c "${range#* }" /dev/zero |
          dd of=before bs=1M seek="${range% *}" oflag=seek_bytes conv=notrunc status=none
        cmp "$D/p2" before
      done
    done
    "$IMGMOUNT" --unmount "$D"
  done
  head -c 4M /dev/urandom | dd of="$DISK" bs=1M seek=8 conv=notrunc,fsync status=none
  before=$(stat -c %b "$DISK")
  "$IMGMOUNT" --discard unmap "$DISK" "$D"
  fallocate --punch-hole -o 7M -l 4M "$D/p1"
  "$IMGMOUNT" --unmount "$D"
  [ "$(stat -c %b "$DISK")" -le $((before - 8000)) ]
}

@test "fuse-write: only bytes can be changed: no names, no rights, no texts" {
  make_disk
  "$IMGMOUNT" "$DISK" "$D"
  py "$D" <<'PY'
import errno, os, sys
d = sys.argv[1]
def refused(f, *args):
    try:
        f(*args)
    except OSError as e:
        assert e.errno == errno.EPERM, (f, args, e)
        return
    assert False, (f, args)
refused(os.open, d + "/info.json", os.O_RDWR)
refused(os.truncate, d + "/info.json", 0)
refused(os.open, d + "/new", os.O_WRONLY | os.O_CREAT)
refused(os.unlink, d + "/p1")
refused(os.mkdir, d + "/dir")
refused(os.rmdir, d + "/by-partlabel")
refused(os.symlink, "x", d + "/link")
refused(os.link, d + "/p1", d + "/p9")
refused(os.rename, d + "/p1", d + "/p9")
refused(os.mknod, d + "/node")
refused(os.chmod, d + "/p1", 0o644)
refused(os.chmod, d, 0o777)
refused(os.chown, d + "/p1", 1, 1)
os.chmod(d + "/p1", 0o600)
os.chown(d + "/p1", 0, 0)
os.utime(d + "/p1")
PY
  touch "$D/p1"
  "$IMGMOUNT" --unmount "$D"
  cmp "$DISK" "$REFERENCE"
}

@test "fuse-write: a read-only image gives EROFS" {
  make_disk
  for how in "-r" "chmod"; do
    if [[ $how == chmod ]]; then
      chmod 0444 "$DISK"
      "$IMGMOUNT" "$DISK" "$D"
    else
      "$IMGMOUNT" -r "$DISK" "$D"
    fi
    [[ ,$(findmnt -n -o OPTIONS "$D"), == *,ro,* ]]
    run -1 dd if=/dev/zero of="$D/p1" count=1 conv=notrunc
    [[ $output == *"Read-only file system"* ]]
    "$IMGMOUNT" --unmount "$D"
  done
  cmp "$DISK" "$REFERENCE"
}

@test "fuse-write: what was written is seen at once through every file, handle and map" {
  make_disk
  "$IMGMOUNT" "$DISK" "$D"
  py "$D" <<'PY'
import errno, mmap, os, sys
d = sys.argv[1]
part = 1 << 20
def cached(name):
    return os.open(d + "/" + name, os.O_RDONLY)
disk, p1 = cached("disk"), cached("p1")
maps = [mmap.mmap(fd, 0, prot=mmap.PROT_READ, flags=flags)
        for fd in (disk, p1) for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE)]
writers = [(os.open(d + "/disk", os.O_RDWR), part), (os.open(d + "/p1", os.O_RDWR), 0)]
maps.append(mmap.mmap(writers[0][0], 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE))
bases = [part, part, 0, 0, part]
def seen(at, n):
    yield os.pread(disk, n, part + at)
    yield os.pread(p1, n, at)
    for m, base in zip(maps, bases):
        yield m[base + at:base + at + n]
    for name, base in (("disk", part), ("p1", 0)):
        fd = cached(name)
        yield os.pread(fd, n, base + at)
        os.close(fd)
for i in range(60):
    fd, base = writers[i % 2]
    at, n = i * 3001, 5000 + i
    for _ in seen(at, n):
        pass
    data = os.urandom(n)
    assert os.pwrite(fd, data, base + at) == n
    for way, got in enumerate(seen(at, n)):
        assert got == data, (i, way)
# Pages that were left by handles closed long ago.
os.close(disk), os.close(p1)
[m.close() for m in maps]
for i in range(20):
    fd, base = writers[i % 2]
    name, other = (("p1", 0), ("disk", part))[i % 2]
    with open(d + "/" + name, "rb") as f:
        f.seek(other)
        f.read(8192)
    data = os.urandom(8192)
    os.pwrite(fd, data, base)
    with open(d + "/" + name, "rb") as f:
        f.seek(other)
        assert f.read(8192) == data, i
for fd, base in writers:
    try:
        mmap.mmap(fd, 4096)
        assert False
    except OSError as e:
        assert e.errno == errno.ENODEV
PY
}

@test "fuse-write: many writers and readers at once see no stale byte" {
  make_disk
  "$IMGMOUNT" "$DISK" "$D"
  python3 "$BATS_TEST_DIRNAME/fuse-stress.py" "$D" 1048576 5
  "$IMGMOUNT" --unmount "$D"
}

@test "fuse-write: what is allocated is measured again" {
  make_disk
  "$IMGMOUNT" "$DISK" "$D"
  for ((i = 0; i < 100; i++)); do
    before=$(stat -c %b "$D/p1")
    ((before > 1)) || break
    sleep 0.1
  done
  [ "$before" -eq 1 ]
  dd if=/dev/urandom of="$D/disk" bs=1M seek=2 count=4 conv=notrunc status=none
  for ((i = 0; i < 100; i++)); do
    after=$(stat -c %b "$D/p1")
    ((after == before)) || break
    sleep 0.1
  done
  [ "$after" -ge 8192 ]
  [ "$after" -le 9000 ]
}

@test "fuse-write: a file system in p1, through a loop device" {
  make_disk
  "$IMGMOUNT" "$DISK" "$D"
  loop=$(losetup -f --show "$D/p1") || skip "no loop devices"
  mkdir fs
  mkfs.ext4 -q "$loop" && mount "$loop" fs && cp -a /usr/share/doc/[a-c]* fs/ && sync -f fs &&
    rm -rf fs/b* && fstrim fs; copied=$?
  mkdir expected
  cp -a fs/. expected/
  umount fs
  run fsck.ext4 -f -n "$loop"
  fsck=$status
  losetup -d "$loop"
  [ "$copied" -eq 0 ]
  [ "$fsck" -eq 0 ]
  "$IMGMOUNT" --unmount "$D"
  mount_loop "$DISK" fs ro,offset=1048576,sizelimit=33554432
  run diff -r --no-dereference fs expected
  umount fs
  [ "$status" -eq 0 ]
}

@test "fuse-write: fio verifies what several jobs wrote through disk and p1" {
  command -v fio >/dev/null || skip "fio is not installed"
  make_disk
  "$IMGMOUNT" "$DISK" "$D"
  run fio --output-format=terse --size=4M --bsrange=512-128k --bs_unaligned --fallocate=none \
    --rw=randwrite --verify=crc32c --verify_fatal=1 --overwrite=1 --allow_file_create=0 \
    --name=a --filename="$D/disk" --offset=20M --ioengine=psync \
    --name=b --filename="$D/p1" --offset=4M --ioengine=psync --fsync=16 \
    --name=c --filename="$D/disk" --offset=12M --ioengine=libaio --iodepth=16 \
    --name=d --filename="$D/p1" --offset=24M --ioengine=libaio --iodepth=16
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "fuse-write: a full disk below: the writer is told, and the server goes on" {
  mkdir small
  truncate -s 8M small.img
  mkfs.ext4 -q -O ^has_journal small.img
  mount_loop small.img small || skip "no loop devices"
  truncate -s 64M small/disk.img
  "$IMGMOUNT" -f raw small/disk.img "$D"
  run dd if=/dev/urandom of="$D/disk" bs=1M count=32 conv=notrunc
  written=$status full=$output
  run cmp -n 1048576 "$D/disk" small/disk.img
  same=$status
  umount "$D"
  for ((i = 0; i < 200; i++)); do ! umount small 2>/dev/null || break; sleep 0.05; done
  [ "$written" -eq 1 ]
  [[ $full == *"No space left on device"* ]]
  [ "$same" -eq 0 ]
}

@test "fuse-write: fsync and the end of the server tell when bytes did not reach the disk" {
  mkdir tmp below
  mount -t tmpfs -o size=4M none tmp
  truncate -s 64M tmp/below.img
  mkfs.ext4 -q -O ^has_journal -E nodiscard,lazy_itable_init=1 tmp/below.img
  mount_loop tmp/below.img below || { umount tmp; skip "no loop devices"; }
  truncate -s 32M below/disk.img
  serve -f raw "$PWD/below/disk.img" "$D"
  dd if=/dev/urandom of="$D/disk" bs=1M count=16 conv=notrunc status=none
  run -1 dd if=/dev/zero of="$D/disk" bs=1 count=1 conv=notrunc,fsync
  synced=$output
  umount "$D"
  end=0
  ended "$SERVER" || end=$?
  SERVER=
  umount below; umount tmp
  [[ $synced == *"Input/output error"* || $synced == *"No space left"* ]]
  [ "$end" -eq 1 ]
  grep -q "$D: cannot make the writes durable" server.log
}

@test "fuse-write: SIGTERM of a busy mount: writes are served until the last handle closes" {
  make_disk
  serve "$DISK" "$D"
  exec 7<>"$D/p1"
  kill -TERM "$SERVER"
  until_unmounted
  kill -0 "$SERVER"
  head -c 100000 /dev/urandom >noise
  cat noise >&7
  exec 7>&-
  ended "$SERVER"
  SERVER=
  cmp noise <(tail -c +1048577 "$DISK" | head -c 100000)
}

@test "fuse-write: a second SIGTERM ends a server amid writes" {
  make_disk
  serve "$DISK" "$D"
  python3 "$BATS_TEST_DIRNAME/fuse-stress.py" "$D" 1048576 60 >stress.log 3>&- &
  stress=$!
  sleep 1
  kill -TERM "$SERVER"
  until_unmounted
  kill -TERM "$SERVER"
  ended "$SERVER"
  SERVER=
  end=0
  ended "$stress" || end=$?
  [ "$end" -eq 2 ]
  run ! grep stale stress.log
}

@test "fuse-write: a killed server has lost nothing that it answered, and leaves no lock" {
  make_disk
  for round in 1 2 3; do
    serve "$DISK" "$D"
    poke p1 300000 $((10000000 + round * 123457))
    python3 "$BATS_TEST_DIRNAME/fuse-stress.py" "$D" 1048576 60 >stress.log 3>&- &
    stress=$!
    sleep 0.5
    kill -KILL "$SERVER"
    run ended "$SERVER"
    SERVER=
    run ended "$stress"
    run ! grep stale stress.log
    "$IMGMOUNT" --unmount "$D"
    run ! is_mounted "$D"
    cmp -i 10M "$DISK" "$REFERENCE"
  done
}
