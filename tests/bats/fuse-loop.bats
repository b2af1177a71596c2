#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Loop devices above a mount, with file systems in them; copies within and between mounts;
# and a full disk below, as seen through partitions and devices.

bats_require_minimum_version 1.5.0

load fuse-helpers
load loop-helpers

# FILE of 112 MiB: p1 at 1 MiB, 64 MiB, p2 at 66 MiB, 40 MiB.
make_disk() {
  truncate -s 112M "$1"
  printf 'label: gpt\nstart=2048,size=131072\nstart=135168,size=81920\n' | sfdisk -q "$1"
}

# Some hundred files of all sizes, links and folders, below FOLDER.
make_tree() { # FOLDER
  py "$1" <<'PY'
import os, random, sys
random.seed(11)
for folder in range(12):
    path = f"{sys.argv[1]}/{folder}"
    os.makedirs(path)
    for file in range(20):
        with open(f"{path}/{file}", "wb") as f:
            f.seek(random.choice((0, 0, 0, 70000)))
            f.write(random.randbytes(random.choice((0, 5, 4096, 30000, 200000))))
    os.symlink("../0/1", path + "/symbolic")
    os.link(path + "/2", path + "/hard")
PY
}

unmount_soon() {
  local round
  # A device that was just detached may have it open for a moment.
  for ((round = 0; round < 100; round++)); do
    ! "$IMGMOUNT" --unmount "$D" 2>/dev/null || return 0
    sleep 0.1
  done
  return 1
}

# A file system is made on DEVICE, filled, half emptied, trimmed, and filled again; `tree` is
# then what is in it.
live_in() { # DEVICE
  local status=0
  mkfs.ext4 -q "$1"
  mkdir -p fs
  mount "$1" fs
  { cp -a tree fs/a && cp -a tree fs/b && sync -f fs && rm -r fs/a && sync -f fs && fstrim -v fs &&
    cp -a tree fs/c && mkdir fs/d && fallocate -l 3M fs/d/zeros && sync -f fs; } || status=1
  umount fs
  ((status == 0)) && fsck.ext4 -f -n "$1" >fsck.log 2>&1 || { cat fsck.log; return 1; }
}

# What live_in left is on DEVICE.
lives_in() { # DEVICE
  local status=0
  mount -o ro,noload "$1" fs
  { diff -r --no-dereference tree fs/b && diff -r --no-dereference tree fs/c && [ ! -e fs/a ]; } || status=1
  umount fs
  return "$status"
}

# In p1 and p2 at once, by devices that write past the page cache; then from the image anew.
file_systems_in() { # IMAGE [OPTION...]
  local image=$1
  shift
  make_tree tree
  "$IMGMOUNT" --discard=unmap "$@" "$image" "$D"
  loop_up --direct-io=on "$D/p1"
  one=$LOOP
  loop_up --direct-io=on "$D/p2"
  two=$LOOP
  live_in "$one"
  live_in "$two"
  lives_in "$one"
  loop_down
  # What p1 has is in the disk.
  loop_up --direct-io=on -o 1M --sizelimit 64M "$D/disk"
  fsck.ext4 -f -n "$LOOP"
  lives_in "$LOOP"
  loop_down
  unmount_soon
  "$IMGMOUNT" -r "$image" "$D"
  loop_up -r "$D/p1"
  one=$LOOP
  loop_up -r "$D/p2"
  lives_in "$one"
  lives_in "$LOOP"
  loop_down
  unmount_soon
}

@test "fuse loop: file systems in two partitions at once, trimmed: raw" {
  make_disk disk.img
  file_systems_in disk.img
  # Trimmed is freed: the tree was there three times.
  [ "$(du -B1M disk.img | cut -f1)" -le $((2 * (2 * $(du -sm tree | cut -f1) + 14))) ]
}

@test "fuse loop: file systems in two partitions at once, trimmed: qcow2, past the page cache" {
  make_disk disk.img
  qemu-img convert -f raw -O qcow2 disk.img disk.qcow2
  file_systems_in disk.qcow2 --cache=none
  qemu-img check -q disk.qcow2
}

@test "fuse loop: a file system on all of a disk without a table, and in a file mount point" {
  truncate -s 64M plain.img
  touch file
  make_tree tree
  "$IMGMOUNT" -f raw --discard=unmap plain.img "$D"
  loop_up --direct-io=on "$D/disk"
  live_in "$LOOP"
  loop_down
  unmount_soon
  "$IMGMOUNT" -f raw plain.img "$PWD/file"
  loop_up --direct-io=on "$PWD/file"
  lives_in "$LOOP"
  fsck.ext4 -f -n "$LOOP"
  loop_down
}

# DISK's p1 gets an ext4 whose journal was not played back.
make_dirty() {
  truncate -s 64M fs.img
  mkfs.ext4 -q fs.img
  mkdir -p fs
  mount_loop fs.img fs || skip "no loop devices"
  printf 'in the journal' >fs/file
  sync -f fs
  for ((i = 0; i < 50; i++)); do mkdir "fs/$i"; done
  sync -f fs
  cp fs.img dirty.img
  umount fs
  dumpe2fs -h dirty.img 2>/dev/null | grep -q needs_recovery
  make_disk "$DISK"
  dd if=dirty.img of="$DISK" bs=1M seek=1 conv=notrunc status=none
}

@test "fuse loop: a dirty journal is left alone: mounted without recovery, the image keeps every bit" {
  DISK=disk.img
  make_dirty
  qemu-img convert -f raw -O qcow2 disk.img disk.qcow2
  sum=$(sha256sum disk.img disk.qcow2)
  stamp=$(stat -c '%Y %.Z' disk.img disk.qcow2)
  for image in disk.img disk.qcow2; do
    "$IMGMOUNT" -r "$image" "$D"
    loop_up -r "$D/p1"
    mount -o ro,norecovery "$LOOP" fs
    read -r -d '' inside <fs/file || true
    umount fs
    # Recovery writes, for which there is no way.
    run ! mount -o ro "$LOOP" fs
    loop_down
    # mount(8) makes devices itself.
    mount_loop "$D/p1" fs ro,noload
    ls fs >/dev/null
    umount fs
    unmount_soon
    [ "$inside" = "in the journal" ]
  done
  [ "$sum" = "$(sha256sum disk.img disk.qcow2)" ]
  [ "$stamp" = "$(stat -c '%Y %.Z' disk.img disk.qcow2)" ]
  # With a temporary overlay the journal is played back, and the image stays as it was.
  "$IMGMOUNT" -s disk.qcow2 "$D"
  loop_up "$D/p1"
  mount "$LOOP" fs
  [ "$(find fs -maxdepth 1 -name '[0-9]*' | wc -l)" -eq 50 ] || { umount fs; false; }
  umount fs
  fsck.ext4 -f -n "$LOOP"
  loop_down
  unmount_soon
  [ "$sum" = "$(sha256sum disk.img disk.qcow2)" ]
}

@test "fuse loop: copies within a mount, between mounts, and out of it" {
  make_disk disk.img
  head -c 5M /dev/urandom >noise
  dd if=noise of=disk.img bs=1M seek=1 conv=notrunc status=none
  make_disk other.img
  same=
  mkdir m2
  "$IMGMOUNT" disk.img "$D"
  "$IMGMOUNT" other.img "$PWD/m2" || { umount -l "$D"; false; }
  run py "$D" "$PWD/m2" <<'PY'
import errno, os, sys
here, there = sys.argv[1:]
part, size = 1 << 20, 5 << 20
noise = open("noise", "rb").read()

def copy(source, at, target, to, length):
    a, b = os.open(source, os.O_RDONLY), os.open(target, os.O_RDWR)
    while length:
        n = os.copy_file_range(a, b, length, at, to)
        assert n > 0
        at, to, length = at + n, to + n, length - n
    os.close(a), os.close(b)

def holds(path, at, data):
    fd = os.open(path, os.O_RDONLY)
    assert os.pread(fd, len(data), at) == data, (path, at)
    os.close(fd)

# Within: p1 to disk, disk to p1, p1 to p2, at odd places.
copy(here + "/p1", 0, here + "/disk", 80 << 20, size)
holds(here + "/disk", 80 << 20, noise)
copy(here + "/disk", 80 << 20, here + "/p1", (9 << 20) + 77, size)
holds(here + "/p1", (9 << 20) + 77, noise)
holds(here + "/disk", part + (9 << 20) + 77, noise)
copy(here + "/p1", 3, here + "/p2", 7, 1000001)
holds(here + "/p2", 7, noise[3:1000004])
# The same bytes onto themselves, through two files that do not know of one another.
copy(here + "/disk", part, here + "/p1", 0, size)
copy(here + "/p1", 0, here + "/disk", part, size)
holds(here + "/p1", 0, noise)
# Between two mounts, and to where the kernel lets the program copy.
try:
    copy(here + "/p1", 0, there + "/disk", 20 << 20, size)
    holds(there + "/disk", 20 << 20, noise)
except OSError as e:
    assert e.errno == errno.EXDEV
open("out", "wb").close()
try:
    copy(here + "/p1", 0, "out", 0, size)
except OSError as e:
    assert e.errno == errno.EXDEV
PY
  cp "$D/p1" out
  # Onto a disk, which keeps what nobody writes: holes are to be written or punched.
  for how in never always; do
    head -c 3M /dev/urandom | dd of="$PWD/m2/p1" bs=1M seek=20 conv=notrunc status=none
    cp --sparse="$how" out "$PWD/m2/p1"
    cmp out "$D/p1" && cmp out "$PWD/m2/p1" && same+=yes
  done
  "$IMGMOUNT" --unmount "$PWD/m2"
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$same" = yesyes ]
}

# A small file system at `below`, full but for 4 MiB.
make_small() {
  truncate -s 40M small.img
  mkfs.ext4 -q -m 0 -O ^has_journal small.img
  mkdir below
  mount_loop small.img below || skip "no loop devices"
}

@test "fuse loop: a full disk below is ENOSPC through p1 and a device, and freed space is used again" {
  make_small
  make_disk below/disk.img
  qemu-img convert -f raw -O qcow2 below/disk.img below/disk.qcow2
  failed=
  for image in disk.img disk.qcow2; do
    fallocate -l "$(($(stat -f -c '%a * %S' below) - 4000000))" below/filler
    "$IMGMOUNT" --discard=unmap "below/$image" "$D"
    run dd if=/dev/urandom of="$D/p1" bs=100k count=100 conv=notrunc status=none
    [[ $output == *"No space left on device"* ]] || failed+="$image: dd: $output;"
    # Zeros and holes need none, and what was written is there.
    fallocate -p -o 0 -l 2M "$D/p1" || failed+="$image: punch;"
    loop_up --direct-io=on "$D/p2"
    run dd if=/dev/urandom of="$LOOP" bs=100k count=100 oflag=direct status=none
    [[ $output == *"No space left on device"* || $output == *"Input/output error"* ]] || failed+="$image: loop: $output;"
    loop_down
    rm below/filler
    dd if=/dev/urandom of="$D/p1" bs=1M count=6 conv=notrunc,fsync status=none || failed+="$image: again;"
    cp "$D/p1" p1.raw
    unmount_soon
    "$IMGMOUNT" -r "below/$image" "$D"
    cmp "$D/p1" p1.raw || failed+="$image: differs;"
    unmount_soon
    rm "below/$image"
  done
  umount below
  echo "$failed"
  [ -z "$failed" ]
}
