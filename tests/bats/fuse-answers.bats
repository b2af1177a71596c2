#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Errno by errno: what every call answers on every node of a mount, whoever makes it.

bats_require_minimum_version 1.5.0

load fuse-helpers

export PYTHONDONTWRITEBYTECODE=1

setup_file() {
  export DISK="$BATS_FILE_TMPDIR/disk.img"
  make_partitioned "$DISK"
  printf 'no hole' | dd of="$DISK" bs=1M seek=1 conv=notrunc status=none
}

# The table of what is right: MOUNT rw|ro root|reader|writer|owner
answers() {
  ${AS[@]+"${AS[@]}"} timeout 300 /usr/bin/python3 "$BATS_TEST_DIRNAME/fuse-errno.py" "$@"
}

# For another user the folders above must let him pass: P.
make_place() {
  P=$(mktemp -d)
  chmod 0755 "$P"
  mkdir "$P/m"
  AS=(setpriv --reuid=12345 --regid=12345 --clear-groups)
}

@test "fuse answers: a writable mount, to root" {
  cp "$DISK" own.img
  "$IMGMOUNT" --gaps own.img "$D"
  answers "$D" rw root
  "$IMGMOUNT" --unmount "$D"
  [ "$(stat -c %s own.img)" = 67108864 ]
}

@test "fuse answers: a read-only mount, to root, and the image is what it was" {
  before=$(sha256sum <"$DISK")
  "$IMGMOUNT" -r --gaps "$DISK" "$D"
  answers "$D" ro root
  "$IMGMOUNT" --unmount "$D"
  # The same of an image that the kernel does not read by itself.
  qemu-img convert -O qcow2 "$DISK" own.qcow2
  sum=$(sha256sum <own.qcow2)
  "$IMGMOUNT" -r --gaps own.qcow2 "$D"
  answers "$D" ro root
  "$IMGMOUNT" --unmount "$D"
  [ "$before" = "$(sha256sum <"$DISK")" ]
  [ "$sum" = "$(sha256sum <own.qcow2)" ]
}

@test "fuse answers: to users who may read, and who may write too" {
  make_place
  cp "$DISK" own.img
  failed=0
  for who in "0644 reader" "0666 writer"; do
    chmod "${who% *}" own.img
    "$IMGMOUNT" --gaps own.img "$P/m"
    answers "$P/m" rw "${who#* }" || failed=1
    "$IMGMOUNT" --unmount "$P/m"
    "$IMGMOUNT" -r --gaps own.img "$P/m"
    answers "$P/m" ro "${who#* }" || failed=1
    "$IMGMOUNT" --unmount "$P/m"
  done
  rm -r "$P"
  [ "$failed" -eq 0 ]
}

@test "fuse answers: to users who may do nothing: not even that something is there" {
  make_place
  cp "$DISK" own.img
  chmod 0600 own.img
  "$IMGMOUNT" own.img "$P/m"
  run "${AS[@]}" ls "$P/m/disk" "$P/m/none"
  listed=$output
  run "${AS[@]}" ls "$P/m"
  "$IMGMOUNT" --unmount "$P/m"
  rm -r "$P"
  [ "$(grep -c 'Permission denied' <<<"$listed")" -eq 2 ]
  [[ $output == *"Permission denied"* ]]
}

@test "fuse answers: to a user who mounted for himself" {
  command -v fusermount3 >/dev/null || skip "fusermount3 is not installed"
  as_user '
    ./imgmount --gaps disk.img m
    python3 ./fuse-errno.py $PWD/m rw owner || failed=yes
    ./imgmount --unmount m
    ./imgmount -r --gaps disk.img m
    python3 ./fuse-errno.py $PWD/m ro owner || failed=yes
    ./imgmount --unmount m
    echo failed: ${failed:-no}' 666 "$BATS_TEST_DIRNAME"/fuse{-errno,_calls}.py
  echo "$output"
  [ "${lines[-1]}" = "failed: no" ]
}

@test "fuse answers: a file as mount point" {
  touch file
  cp "$DISK" own.img
  "$IMGMOUNT" own.img "$PWD/file"
  answers "$PWD/file" rw root
  "$IMGMOUNT" --unmount file
  "$IMGMOUNT" -r own.img "$PWD/file"
  answers "$PWD/file" ro root
}

@test "fuse answers: folders list each name once, with its number and kind, from any place" {
  "$IMGMOUNT" --gaps "$DISK" "$D"
  py "$D" <<'PY'
import ctypes, os, stat, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
kinds = {4: stat.S_ISDIR, 8: stat.S_ISREG, 10: stat.S_ISLNK}

def getdents(fd, room):
    buffer = ctypes.create_string_buffer(room)
    n = libc.syscall(217 if os.uname().machine == "x86_64" else 61, fd, buffer, room)
    at = 0
    while at < n:
        ino, next, length, kind = struct.unpack_from("QqHB", buffer, at)
        yield buffer.raw[at + 19:at + length].split(b"\0")[0].decode(), ino, next, kind
        at += length

def every(fd, room):
    found = []
    while part := list(getdents(fd, room)):
        found += part
    return found

for folder, _, _ in os.walk(sys.argv[1]):
    fd = os.open(folder, os.O_RDONLY)
    entries = every(fd, 4096)
    names = [name for name, _, _, _ in entries]
    assert len(set(names)) == len(names) and names[:2] == [".", ".."], names
    assert sorted(names[2:]) == sorted(os.listdir(folder))
    for name, ino, next, kind in entries:
        st = os.lstat(os.path.join(folder, name))
        # Beyond the mount ".." is somebody else's.
        if folder != sys.argv[1] or name != "..":
            assert st.st_ino == ino, (folder, name, st.st_ino, ino)
        assert kinds[kind](st.st_mode), (name, kind)
    # Little by little, and again from each place that was given.
    os.lseek(fd, 0, os.SEEK_SET)
    assert every(fd, 64) == entries
    for i, (_, _, next, _) in enumerate(entries):
        os.lseek(fd, next, os.SEEK_SET)
        assert every(fd, 4096) == entries[i + 1:], (folder, i)
    os.close(fd)
PY
}

@test "fuse answers: O_DIRECT works where the image's file system has none" {
  mkdir ram
  mount -t ramfs none ram || skip "no ramfs"
  cp --sparse=always "$DISK" ram/disk.img
  "$IMGMOUNT" -r "$PWD/ram/disk.img" "$D" || { umount -l ram; false; }
  run dd if="$D/disk" of=direct bs=1M iflag=direct status=none
  "$IMGMOUNT" --unmount "$D"
  umount ram
  echo "$output"
  cmp direct "$DISK"
}

@test "fuse answers: signals that end nobody interrupt no call" {
  qemu-img create -q -f qcow2 -o cluster_size=4k wide.qcow2 64G
  "$IMGMOUNT" wide.qcow2 "$D"
  py "$D/disk" <<'PY'
import ctypes, errno, os, signal, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.lseek.restype = libc.pread.restype = libc.pwrite.restype = ctypes.c_long
N, L = ctypes.c_size_t, ctypes.c_long
reader, writer = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[1], os.O_RDWR)
buffer = ctypes.create_string_buffer(1 << 20)
calls = {
    "seek to data": lambda i: libc.lseek(reader, L(0), os.SEEK_DATA),
    "seek to a hole": lambda i: libc.lseek(reader, L(i << 12), os.SEEK_HOLE),
    "read": lambda i: libc.pread(reader, buffer, N(1 << 20), L(i << 20)),
    "write": lambda i: libc.pwrite(writer, buffer, N(300000), L(i % 50 << 20)),
    "punch": lambda i: libc.fallocate(writer, 3, L(i % 50 << 20), L(4096)),
    "fdatasync": lambda i: libc.fdatasync(writer) if i % 50 == 0 else 0,
}
# As a program has them that counts time, or whose children end.
signals = 0
def count(*_):
    global signals
    signals += 1
signal.signal(signal.SIGALRM, count)
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0003)
end, i = time.monotonic() + 2, 0
while time.monotonic() < end or signals < 100:
    for name, call in calls.items():
        if call(i) < 0 and ctypes.get_errno() != errno.ENXIO:
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.exit(f"{name}: {os.strerror(ctypes.get_errno())}, after {i} rounds")
    i += 1
signal.setitimer(signal.ITIMER_REAL, 0)
PY
}

large() { # same|shrink|together ARGUMENT...
  timeout 200 /usr/bin/python3 "$BATS_TEST_DIRNAME/fuse-large.py" "$@"
}

@test "fuse answers: large reads past the page cache, wherever they begin" {
  cp "$DISK" own.img
  head -c 20M /dev/urandom | dd of=own.img bs=1M seek=5 conv=notrunc status=none
  "$IMGMOUNT" -r own.img "$D"
  large same "$D/p1" own.img 1048576
  large same "$D/p2" own.img 41943040
  large same "$D/disk" own.img 0
  "$IMGMOUNT" --unmount "$D"
  qemu-img convert -O qcow2 own.img own.qcow2
  "$IMGMOUNT" -r own.qcow2 "$D"
  large same "$D/p1" own.img 1048576
  "$IMGMOUNT" --unmount "$D"
}

@test "fuse answers: direct readers and others have one disk open at once" {
  cp "$DISK" own.img
  head -c 20M /dev/urandom | dd of=own.img bs=1M seek=5 conv=notrunc status=none
  qemu-img convert -O qcow2 own.img own.qcow2
  local image
  for image in own.img own.qcow2; do
    "$IMGMOUNT" -r "$image" "$D"
    large together "$D/disk" own.img
    # Whoever comes first decides how the kernel has it open.
    exec 8<"$D/disk"
    dd if="$D/disk" iflag=direct bs=1M status=none | cmp - own.img
    cmp /dev/fd/8 own.img
    exec 8<&-
    dd if="$D/disk" iflag=direct bs=1M status=none | { cmp "$D/disk" own.img && cmp - own.img; }
    cmp "$D/disk" own.img
    "$IMGMOUNT" --unmount "$D"
  done
}

@test "fuse answers: an image that is cut short while it is read gives errors, and the server lives" {
  cp "$DISK" own.img
  serve -r own.img "$D"
  large shrink "$D/p1" own.img
  kill -0 "$SERVER"
  "$IMGMOUNT" --unmount "$D"
  wait "$SERVER"
  SERVER=
}
