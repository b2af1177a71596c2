#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# FUSE over io_uring, where libfuse and the kernel have it; a clear sentence elsewhere.

bats_require_minimum_version 1.5.0

load fuse-helpers

SWITCH=/sys/module/fuse/parameters/enable_uring

setup_file() {
  BEFORE=$(cat "$SWITCH" 2>/dev/null || true)
  export BEFORE
}

teardown_file() {
  [[ -z $BEFORE ]] || turn "$BEFORE"
}

turn() { # Y or N
  echo "$1" 2>/dev/null >"$SWITCH"
}

# A disk, with rings to be had; or skips.
need_rings() {
  make_partitioned disk.img
  ! turn Y || [[ $(cat "$SWITCH") != Y ]] || local on=yes
  run "$IMGMOUNT" -o io_uring disk.img "$D"
  [[ $output != *"needs libfuse"* ]] || skip "$output"
  [[ ${on:-} ]] || skip "the kernel's FUSE has no io_uring that could be switched on"
  [ "$status" -eq 0 ]
  "$IMGMOUNT" --unmount "$D"
}

@test "fuse-ring: what lacks it is named in one line, and nothing is mounted" {
  make_partitioned disk.img
  turn N || true
  run -1 "$IMGMOUNT" -o io_uring disk.img "$D"
  [ "${#lines[@]}" -eq 1 ]
  [[ $output == *"-o io_uring: needs libfuse 3.19 or later, this build has "* ||
    $output == *"-o io_uring: this kernel has no FUSE over io_uring"* ||
    $output == *"-o io_uring: switched off in the kernel, until root writes Y to $SWITCH" ]]
  run ! is_mounted "$D"
  run -1 "$IMGMOUNT" -o io_uring,auto_unmount disk.img "$D"
  [[ $output == *"-o io_uring and -o auto_unmount exclude each other" ]]
}

@test "fuse-ring: requests come by the rings, and the bytes are the image's" {
  need_rings
  qemu-img convert -f raw -O qcow2 -c disk.img disk.qcow2
  serve -r -o io_uring disk.qcow2 "$D"
  cmp disk.img "$D/disk"
  [ "$(cat "/proc/$SERVER"/task/*/comm | grep -c '^fuse-ring-')" -eq "$(getconf _NPROCESSORS_CONF)" ]
  cmp disk.img <(dd if="$D/disk" bs=1M iflag=direct status=none)
  cmp <(tail -c +41943041 disk.img | head -c 1049088) "$D/p2"
  cp --sparse=always "$D/disk" copy.img
  cmp disk.img copy.img
  python3 -m json.tool "$D/info.json" >/dev/null
  for i in 1 2 3 4 5 6; do cmp disk.img "$D/disk" & done 3>&-
  wait $(jobs -p | grep -vx "$SERVER")
  run ! dd if=/dev/zero of="$D/disk" count=1 conv=notrunc
  "$IMGMOUNT" --unmount "$D"
  ended "$SERVER"
}

@test "fuse-ring: writers and readers see no stale byte, and a hole is a hole" {
  need_rings
  "$IMGMOUNT" -o io_uring --discard unmap disk.img "$D"
  python3 "$BATS_TEST_DIRNAME/fuse-stress.py" "$D" 1048576 3
  head -c 3000000 /dev/urandom >noise
  dd if=noise of="$D/p1" bs=64K conv=notrunc,fsync status=none
  dd if=noise of="$D/p1" bs=700001 seek=4000001 oflag=seek_bytes,dsync conv=notrunc status=none
  cmp noise <(tail -c +5048578 disk.img | head -c 3000000)
  cmp <(head -c 32M "$D/p1") <(tail -c +1048577 disk.img | head -c 32M)
  fallocate -p -o 4096 -l 1048576 "$D/p1"
  cmp <(head -c 1048576 /dev/zero) <(tail -c +4097 "$D/p1" | head -c 1048576)
  cmp <(head -c 1048576 /dev/zero) <(tail -c +1052673 disk.img | head -c 1048576)
  "$IMGMOUNT" --unmount "$D"
}

@test "fuse-ring: a file system in p1, through a loop device" {
  need_rings
  "$IMGMOUNT" -o io_uring disk.img "$D"
  loop=$(losetup -f --show "$D/p1")
  ok=yes
  mkdir files
  mkfs.ext4 -q "$loop" && mount "$loop" files && cp -r "$BATS_TEST_DIRNAME" files/ &&
    umount files && fsck.ext4 -fn "$loop" && mount -o ro "$loop" files &&
    diff -r "$BATS_TEST_DIRNAME" "files/${BATS_TEST_DIRNAME##*/}" || ok=no
  umount files || true
  losetup -d "$loop"
  [ "$ok" = yes ]
  "$IMGMOUNT" --unmount "$D"
}

@test "fuse-ring: SIGTERM of a busy mount serves on, a second one ends it amid writes" {
  need_rings
  serve -o io_uring disk.img "$D"
  python3 "$BATS_TEST_DIRNAME/fuse-stress.py" "$D" 1048576 60 >stress.log 3>&- &
  stress=$!
  sleep 1
  kill -TERM "$SERVER"
  until_unmounted
  kill -0 "$stress"
  kill -TERM "$SERVER"
  ended "$SERVER"
  SERVER=
  end=0
  ended "$stress" || end=$?
  [ "$end" -eq 2 ]
  run ! grep stale stress.log
}

@test "fuse-ring: a killed server leaves a mount that can be removed, and no lock" {
  need_rings
  serve -o io_uring disk.img "$D"
  cmp disk.img "$D/disk"
  kill -KILL "$SERVER"
  run ended "$SERVER"
  SERVER=
  "$IMGMOUNT" --unmount "$D"
  "$IMGMOUNT" -o io_uring disk.img "$D"
  cmp disk.img "$D/disk"
  "$IMGMOUNT" --unmount "$D"
}
