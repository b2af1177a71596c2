#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The README's first command, as a newcomer runs it.

bats_require_minimum_version 1.5.0

setup() {
  ROOT=$BATS_TEST_DIRNAME/../..
  [ -c /dev/fuse ] || skip "no /dev/fuse"
  [ -x "$ROOT/build/src/cli/imgmount" ] || skip "quickstart builds in build/, which is another one's here"
}

teardown() {
  while read -r _ mountpoint _; do
    [[ $mountpoint != "$BATS_TEST_TMPDIR"/* ]] || umount -l "$mountpoint"
  done </proc/mounts
}

@test "quickstart: without arguments it makes a sample disk and mounts it" {
  TMPDIR=$BATS_TEST_TMPDIR run "$ROOT/scripts/quickstart"
  [ "$status" -eq 0 ]
  [[ $output == *"p1, equal to sectors 2048 to 67583 of the image"* ]]
  # The way out that it names works as it stands.
  unmount=$(grep -E -- ' --unmount ' <<<"$output")
  eval "$unmount"
  ! grep -q "$BATS_TEST_TMPDIR" /proc/mounts
}

@test "quickstart: with an image and a mount point that does not exist yet" {
  command -v qemu-img >/dev/null || skip "qemu-img is not installed"
  truncate -s 8M "$BATS_TEST_TMPDIR/disk.raw"
  printf '2048,4096,83\n' | sfdisk -q "$BATS_TEST_TMPDIR/disk.raw"
  qemu-img convert -O qcow2 "$BATS_TEST_TMPDIR/disk.raw" "$BATS_TEST_TMPDIR/disk.qcow2"
  run "$ROOT/scripts/quickstart" "$BATS_TEST_TMPDIR/disk.qcow2" "$BATS_TEST_TMPDIR/mnt"
  [ "$status" -eq 0 ]
  cmp "$BATS_TEST_TMPDIR/mnt/disk" "$BATS_TEST_TMPDIR/disk.raw"
  [ "$(stat -c %s "$BATS_TEST_TMPDIR/mnt/p1")" -eq $((4096 * 512)) ]
}
