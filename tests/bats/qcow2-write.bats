#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# qcow2 written through NBD and FUSE: the same changes on a plain copy, then bytes and
# structure as qemu-img sees them.

bats_require_minimum_version 1.5.0

setup() {
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  DIFFER=$BATS_TEST_DIRNAME/differ.py
  local tool
  for tool in qemu-img qemu-io; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
  /usr/bin/python3 -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
  cd "$BATS_TEST_TMPDIR"
}

teardown() {
  [ ! -e pid ] || kill "$(cat pid)" 2>/dev/null || :
  umount -l "$BATS_TEST_TMPDIR/mnt" 2>/dev/null || :
}

serve() {
  "$IMGMOUNT" --nbd --fork -t -e 0 --pid-file "$PWD/pid" -k "$PWD/s" "$@" 3>&-
}

stop() {
  local server
  server=$(cat pid)
  kill "$server"
  timeout 20 tail --pid="$server" -f /dev/null
  [ ! -e pid ]
}

# Random work on IMAGE; then it is sound, without leaks, and holds what the copy holds.
differ() { # IMAGE SEED [OPTION...]
  local image=$1 seed=$2
  shift 2
  serve "$@" "$image"
  /usr/bin/python3 "$DIFFER" "$PWD/s" reference.raw "$seed" "${OPERATIONS:-300}"
  stop
  qemu-img check -q "$image" || { qemu-img check "$image"; echo "check: $image"; return 1; }
  qemu-img convert -O raw "$image" got.raw
  cmp reference.raw got.raw
}

@test "qcow2-write: every cluster size and refcount width, both versions" {
  local seed=1 size
  for size in 512 1k 4k 64k 512k 2M; do
    qemu-img create -q -f qcow2 -o "cluster_size=$size" a.qcow2 9M
    differ a.qcow2 $((seed++))
  done
  for bits in 1 2 4 8 32 64; do
    qemu-img create -q -f qcow2 -o "cluster_size=4k,refcount_bits=$bits" a.qcow2 9M
    differ a.qcow2 $((seed++)) --discard=unmap
  done
  qemu-img create -q -f qcow2 -o compat=0.10 a.qcow2 9M
  differ a.qcow2 $((seed++))
}

@test "qcow2-write: over parents longer, shorter and of odd size, which stay as they are" {
  local seed=20
  for parent in 12M 5M 3000001; do
    head -c "$(numfmt --from=iec "$parent")" /dev/urandom >parent.raw
    md5sum parent.raw >sum
    qemu-img create -q -f qcow2 -F raw -b parent.raw a.qcow2 9M
    differ a.qcow2 $((seed++))
    md5sum -c --quiet sum
  done
}

@test "qcow2-write: compressed clusters, zlib and zstd, are copied and freed" {
  local seed=30 type
  yes 'something that can be compressed' | head -c 9M >plain.raw || :
  for type in zlib zstd; do
    qemu-img convert -c -O qcow2 -o "compression_type=$type" plain.raw a.qcow2
    differ a.qcow2 $((seed++)) --discard=unmap
  done
}

@test "qcow2-write: preallocated clusters, and what --detect-zeroes makes of zeros" {
  qemu-img create -q -f qcow2 -o preallocation=metadata a.qcow2 9M
  differ a.qcow2 40 --detect-zeroes=unmap --discard=unmap
}

@test "qcow2-write: an internal snapshot keeps its bytes" {
  qemu-img create -q -f qcow2 -o cluster_size=4k a.qcow2 9M
  qemu-io -f qcow2 -c 'write -P 7 0 9M' a.qcow2 >/dev/null
  qemu-img snapshot -c before a.qcow2
  differ a.qcow2 50 --discard=unmap
  qemu-img convert -l before -O raw a.qcow2 before.raw
  head -c 9M /dev/zero | tr '\0' '\007' | cmp - before.raw
}

@test "qcow2-write: opening and reading change no byte, -r and all" {
  qemu-img create -q -f qcow2 a.qcow2 9M
  qemu-io -f qcow2 -c 'write -P 1 0 1M' a.qcow2 >/dev/null
  md5sum a.qcow2 >sum
  serve a.qcow2
  nbdcopy "nbd+unix:///?socket=$PWD/s" null:
  stop
  md5sum -c --quiet sum
  serve -r a.qcow2
  run qemu-io -f raw -c 'write 0 512' "nbd+unix:///?socket=$PWD/s"
  stop
  md5sum -c --quiet sum
}

@test "qcow2-write: a virtual machine's image is refused, and refuses the other" {
  qemu-img create -q -f qcow2 a.qcow2 9M
  serve a.qcow2
  run qemu-io -f qcow2 -c 'write 0 512' a.qcow2
  [[ $output == *lock* ]]
  run qemu-io -r -f qcow2 -c 'read 0 512' a.qcow2
  [[ $output == *lock* ]]
  stop
}

@test "qcow2-write: what cannot be written yet is served read-only, and says why" {
  qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
  run serve a.qcow2
  [[ $output == *"a.qcow2: exported read-only: "* ]]
  stop
  qemu-img create -q -f qcow2 -o data_file=a.data b.qcow2 1M
  run serve b.qcow2
  [[ $output == *"b.qcow2: exported read-only: "* ]]
  stop
}

@test "qcow2-write: through FUSE: a file system made, filled and checked over a loop device" {
  [ "$EUID" -eq 0 ] && [ -c /dev/fuse ] && [ -e /dev/loop-control ] || skip "needs root, FUSE and loop devices"
  qemu-img create -q -f qcow2 a.qcow2 64M
  mkdir mnt fs
  "$IMGMOUNT" a.qcow2 mnt 3>&-
  loop=$(losetup -f --show mnt/disk)
  mke2fs -q -t ext4 "$loop"
  mount "$loop" fs
  cp -r "$BATS_TEST_DIRNAME/.." fs/tree
  umount fs
  e2fsck -fn "$loop" >/dev/null 2>&1
  losetup -d "$loop"
  cp mnt/disk copy.raw
  "$IMGMOUNT" --unmount mnt
  qemu-img check -q a.qcow2
  qemu-img compare -q -F raw a.qcow2 copy.raw
}

@test "qcow2-write: qemu-io over NBD: what it writes it reads, and so does qemu-io on the image" {
  qemu-img create -q -f qcow2 -o cluster_size=16k a.qcow2 9M
  qemu-io -f qcow2 -c 'write -P 1 0 9M' a.qcow2 >/dev/null
  serve --discard=unmap a.qcow2
  local looks=(-c 'read -P 1 0 1000' -c 'read -P 2 1000 70000' -c 'read -P 1 71000 5000' -c 'read -P 0 1M 64k'
    -c 'read -P 0 2M 20000' -c 'read -P 3 3M 512' -c 'read -P 0 4M 128k' -c 'read -P 4 5000000 1M')
  qemu-io -f raw -c 'write -P 2 1000 70000' -c 'write -z 1M 64k' -c 'write -z -u 2M 20000' -c 'write -f -P 3 3M 512' \
    -c 'discard 4M 128k' -c 'aio_write -P 4 5000000 1M' -c 'aio_flush' -c 'flush' "${looks[@]}" \
    "nbd+unix:///?socket=$PWD/s" >log
  run ! grep -i 'failed\|error' log
  stop
  qemu-img check -q a.qcow2
  qemu-io -r -f qcow2 "${looks[@]}" a.qcow2 >log
  run ! grep -i 'failed\|error' log
}

@test "qcow2-write: fio verifies what it wrote over NBD" {
  command -v fio >/dev/null && fio --enghelp=nbd >/dev/null 2>&1 || skip "fio has no nbd engine"
  qemu-img create -q -f qcow2 -o cluster_size=4k,refcount_bits=1 a.qcow2 24M
  serve a.qcow2
  fio --name=verify --ioengine=nbd --uri="nbd+unix:///?socket=$PWD/s" --rw=randwrite --bsrange=512-200k \
    --bs_unaligned --iodepth=16 --size=20M --verify=crc32c --verify_fatal=1 >log 2>&1 || {
    cat log
    return 1
  }
  stop
  qemu-img check -q a.qcow2
}

@test "qcow2-write: fio verifies what several jobs wrote through FUSE" {
  [ "$EUID" -eq 0 ] && [ -c /dev/fuse ] || skip "needs root and FUSE"
  command -v fio >/dev/null || skip "fio is not installed"
  head -c 20M /dev/urandom >parent.raw
  qemu-img create -q -f qcow2 -F raw -b parent.raw a.qcow2 32M
  mkdir mnt
  "$IMGMOUNT" a.qcow2 mnt 3>&-
  run fio --output-format=terse --size=7M --bsrange=512-128k --bs_unaligned --fallocate=none --rw=randwrite \
    --verify=crc32c --verify_fatal=1 --overwrite=1 --allow_file_create=0 --filename="$PWD/mnt/disk" \
    --name=a --offset=0 --ioengine=psync --name=b --offset=8M --ioengine=psync --fsync=16 \
    --name=c --offset=16M --ioengine=libaio --iodepth=16 --name=d --offset=24M --ioengine=libaio --iodepth=16
  "$IMGMOUNT" --unmount mnt
  echo "$output"
  [ "$status" -eq 0 ]
  qemu-img check -q a.qcow2
}
