#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Images that are block devices: those that are write-protected, and those in use.

bats_require_minimum_version 1.5.0

load fuse-helpers

# A loop device above a file system of 8 MiB.
make_device() { # [OPTION...]
  truncate -s 8M fs.img
  mkfs.ext4 -q fs.img
  loop_up "$@" "$PWD/fs.img"
}

@test "devices: one that is write-protected is handed out read-only, and one line says so" {
  make_device -r
  before=$(sha256sum <fs.img)
  run -0 "$IMGMOUNT" "$LOOP" "$D" 3>&-
  [ "$output" = "imgmount: warning: $LOOP: exported read-only: it cannot be opened for writing" ]
  [ "$(findmnt -n -o VFS-OPTIONS "$D" | cut -d, -f1)" = ro ]
  [ "$(stat -c %A "$D/disk" | cut -c3)" = - ]
  run ! dd if=/dev/zero of="$D/disk" bs=512 count=1 conv=notrunc
  "$IMGMOUNT" --unmount "$D"
  # Nor does a qcow2 on one take changes that could not be kept.
  qemu-img create -q -f qcow2 disk.qcow2 4M
  truncate -s 4M disk.qcow2
  loop_up -r "$PWD/disk.qcow2"
  "$IMGMOUNT" -f qcow2 "$LOOP" "$D" 3>&-
  run ! fallocate -p -o 0 -l 1M "$D/disk"
  "$IMGMOUNT" --unmount "$D"
  [ "$before" = "$(sha256sum <fs.img)" ]
}

@test "devices: one that is mounted is written by nobody else, and read if asked" {
  make_device
  mkdir fs
  mount "$LOOP" fs
  LOOPS+=("$PWD/fs")
  for form in "$LOOP $D" "--nbd -k $PWD/s $LOOP"; do
    # shellcheck disable=SC2086 # several words
    run -1 timeout 20 "$IMGMOUNT" $form 3>&-
    [ "$output" = "imgmount: $LOOP: is in use: it is mounted, or a part of another device (-r reads it all the same)" ]
  done
  "$IMGMOUNT" -r "$LOOP" "$D" 3>&-
  cmp "$D/disk" "$LOOP"
  "$IMGMOUNT" --unmount "$D"
  "$IMGMOUNT" -s "$LOOP" "$D" 3>&-
  dd if=/dev/zero of="$D/disk" bs=4k count=1 conv=notrunc status=none
  "$IMGMOUNT" --unmount "$D"
  umount fs
  LOOPS=("$LOOP")
  loop_down
}

@test "devices: nobody mounts one while it is written here" {
  make_device
  mkdir fs
  "$IMGMOUNT" "$LOOP" "$D" 3>&-
  run ! mount "$LOOP" fs
  [[ $output == *busy* || $output == *"already mounted"* ]]
  dd if=/dev/urandom of="$D/disk" bs=4k seek=1 count=1 conv=notrunc status=none
  run -1 "$IMGMOUNT" --nbd -k "$PWD/s" "$LOOP" 3>&-
  "$IMGMOUNT" --unmount "$D"
  mkfs.ext4 -q "$LOOP"
  mount "$LOOP" fs
  umount fs
  loop_down
}
