#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Random reads and changes of one disk through all its files at once, each byte of which is
# held against a model: tests/fsx.  IMGMOUNT_TEST_SECONDS of each test, IMGMOUNT_TEST_SEED.

bats_require_minimum_version 1.5.0

load fuse-helpers

# 12 MiB, with partitions that share pages and clusters with what is around them.
make_disk() {
  truncate -s 12M "$1"
  printf 'label: gpt\nstart=2049,size=10001\nstart=18432,size=5001\n' | sfdisk -q "$1"
  head -c 3M /dev/urandom | dd of="$1" bs=1M seek=7 conv=notrunc status=none
}

# Works on a mount of IMAGE; model.raw is what must be in it afterwards.
exercise() { # IMAGE [OPTION...]
  local image=$1 round fsx=${IMGMOUNT%/src/cli/imgmount}/tests/fsx/fsx
  shift
  [[ -x $fsx ]] || skip "tests/fsx was not built"
  "$IMGMOUNT" "$@" "$image" "$D"
  # Devices above: one that writes past the page cache, one that reads through it.
  views=("$D/disk@0" "$D/p1@1049088" "$D/p2@9437184")
  loop_up --direct-io=on "$D/disk"
  views+=("$LOOP@0")
  loop_up --direct-io=on "$D/p1"
  views+=("$LOOP@1049088")
  loop_up -r "$D/p2"
  views+=("$LOOP@9437184")
  "$fsx" -t "${IMGMOUNT_TEST_SECONDS:-18}" ${IMGMOUNT_TEST_SEED:+-s "$IMGMOUNT_TEST_SEED"} -o model.raw "$(stat -c %s "$D/disk")" "${views[@]}"
  loop_down
  # A device that was just detached may have it open for a moment.
  for ((round = 0; round < 100; round++)); do
    ! "$IMGMOUNT" --unmount "$D" 2>/dev/null || break
    sleep 0.1
  done
}

holds_the_model() { # IMAGE
  if [[ $1 == *.qcow2 ]]; then
    qemu-img check -q "$1"
    qemu-img compare -q -f qcow2 -F raw "$1" model.raw
  else
    cmp "$1" model.raw
  fi
}

@test "fsx: raw" {
  make_disk disk.img
  exercise disk.img --discard=unmap
  holds_the_model disk.img
}

@test "fsx: raw, past the page cache, and of odd size" {
  make_disk disk.img
  truncate -s +100 disk.img
  exercise disk.img --cache=none
  holds_the_model disk.img
}

@test "fsx: qcow2" {
  make_disk disk.img
  qemu-img convert -f raw -O qcow2 disk.img disk.qcow2
  exercise disk.qcow2 --discard=unmap --detect-zeroes=unmap
  holds_the_model disk.qcow2
}

@test "fsx: qcow2 with a compressed parent, past the page cache" {
  make_disk disk.img
  qemu-img convert -c -f raw -O qcow2 disk.img parent.qcow2
  qemu-img create -q -f qcow2 -F qcow2 -b parent.qcow2 -o cluster_size=16k disk.qcow2
  sum=$(sha256sum parent.qcow2)
  exercise disk.qcow2 --cache=none --discard=unmap
  holds_the_model disk.qcow2
  [ "$sum" = "$(sha256sum parent.qcow2)" ]
}

@test "fsx: qcow2 with subclusters, by io_uring, past the page cache" {
  make_disk disk.img
  qemu-img convert -f raw -O qcow2 -o extended_l2=on,cluster_size=128k disk.img disk.qcow2
  exercise disk.qcow2 --cache=none --aio=io_uring --discard=unmap
  holds_the_model disk.qcow2
}

@test "fsx: a temporary overlay: the image stays as it was" {
  make_disk disk.img
  sum=$(sha256sum disk.img)
  exercise disk.img -s --discard=unmap
  [ "$sum" = "$(sha256sum disk.img)" ]
}

@test "fsx: io_uring above: fio verifies what it wrote through disk and p1" {
  command -v fio >/dev/null || skip "fio is not installed"
  [[ $(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null) != 2 ]] || skip "this kernel's io_uring is off"
  make_disk disk.img
  "$IMGMOUNT" disk.img "$D"
  run fio --output-format=terse --size=2M --bsrange=512-128k --bs_unaligned --fallocate=none --ioengine=io_uring \
    --iodepth=16 --rw=randwrite --verify=crc32c --verify_fatal=1 --overwrite=1 --allow_file_create=0 \
    --name=a --filename="$D/disk" --offset=8M --name=b --filename="$D/p1" --offset=2M --registerfiles=1 --fixedbufs=1
  echo "$output"
  [ "$status" -eq 0 ]
}
