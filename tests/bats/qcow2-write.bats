#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# qcow2 written through NBD and FUSE: the same changes on a plain copy, then bytes and
# structure as qemu-img sees them.

bats_require_minimum_version 1.5.0

load forked-helpers

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
    qemu-img convert -c -m 1 -O qcow2 -o "compression_type=$type" plain.raw a.qcow2
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

@test "qcow2-write: lazy refcounts: kill -9 leaves the dirty mark, and what can be repaired; closing leaves neither" {
  local round
  qemu-img create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on a.qcow2 9M
  differ a.qcow2 60 --discard=unmap
  for round in $(seq 5); do
    serve --discard=unmap a.qcow2
    qemu-io -f raw -c 'discard 0 64k' -c 'write 0 64k' "nbd+unix:///?socket=$PWD/s" >/dev/null
    /usr/bin/python3 "$DIFFER" "$PWD/s" reference.raw "$round" 100000 2>/dev/null &
    sleep "0.$((RANDOM % 5 + 1))"
    kill -9 "$(cat pid)"
    wait $! || :
    rm -f pid
    [ "$(od -An -tu1 -j79 -N1 a.qcow2)" -eq 1 ]
    # Once more on what is dirty, which stays so, then repaired.
    run serve a.qcow2
    [[ $output == *"a.qcow2: it was not closed, "* ]]
    qemu-io -f raw -c 'write -P 7 1M 1M' -c flush "nbd+unix:///?socket=$PWD/s" >/dev/null
    stop
    [ "$(od -An -tu1 -j79 -N1 a.qcow2)" -eq 1 ]
    qemu-img check -q -r all a.qcow2
    qemu-img check -q a.qcow2
    qemu-io -r -f qcow2 -c 'read -P 7 1M 1M' a.qcow2 >/dev/null
  done
}

@test "qcow2-write: a terabyte is discarded and zeroed at once, in little memory" {
  qemu-img create -q -f qcow2 -o preallocation=metadata a.qcow2 1T
  serve --discard=unmap a.qcow2
  qemu-io -f raw -c 'write -P 9 900G 1M' "nbd+unix:///?socket=$PWD/s" >/dev/null
  /usr/bin/python3 - "$PWD/s" <<'PYTHON'
import sys, nbd
h = nbd.NBD()
h.connect_unix(sys.argv[1])
step = 2 << 30
for at in range(0, 1 << 40, step):
    h.trim(step, at) if at % (2 * step) else h.zero(step, at)
h.flush()
assert h.pread(1 << 20, 900 << 30) == bytes(1 << 20)
PYTHON
  # Sanitizers keep what is freed.
  [ -n "${ASAN_OPTIONS:-}${TSAN_OPTIONS:-}" ] ||
    [ "$(awk '/VmHWM/ { print $2 }' "/proc/$(cat pid)/status")" -lt 400000 ]
  stop
  qemu-img check -q a.qcow2
  [ "$(stat -c %b a.qcow2)" -lt 1000000 ]
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

@test "qcow2-write: extended L2 entries: every cluster size, parents, preallocated" {
  local seed=60 size parent OPERATIONS=150
  for size in 16k 64k 2M; do
    qemu-img create -q -f qcow2 -o "extended_l2=on,cluster_size=$size" a.qcow2 9M
    differ a.qcow2 $((seed++)) --discard=unmap
    head -c 3000001 /dev/urandom >short.raw
    head -c 12M /dev/urandom >long.raw
    for parent in short long; do
      qemu-img create -q -f qcow2 -F raw -b $parent.raw \
        -o "extended_l2=on,cluster_size=$size" a.qcow2 9000001
      differ a.qcow2 $((seed++)) --discard=unmap
    done
    qemu-img create -q -f qcow2 -F raw -b short.raw \
      -o "extended_l2=on,cluster_size=$size,preallocation=metadata" a.qcow2 9000001
    differ a.qcow2 $((seed++))
  done
}

@test "qcow2-write: extended L2 entries: compressed clusters, and those of a snapshot" {
  yes 'something that can be compressed' | head -c 9M >plain.raw || :
  qemu-img convert -c -m 1 -O qcow2 -o extended_l2=on plain.raw a.qcow2
  differ a.qcow2 80 --discard=unmap
  qemu-img snapshot -c before a.qcow2
  qemu-img convert -O raw a.qcow2 before.raw
  differ a.qcow2 81 --discard=unmap
  qemu-img convert -l before -O raw a.qcow2 after.raw
  cmp before.raw after.raw
}

@test "qcow2-write: a write of a subcluster carries nothing over, and shares its cluster" {
  head -c 1M /dev/urandom >parent.raw
  qemu-img create -q -f qcow2 -F raw -b parent.raw -o extended_l2=on a.qcow2 1M
  serve a.qcow2
  qemu-io -f raw -c 'write -P 1 68k 2k' -c 'write -P 2 84k 512' -c 'write -z 72k 4k' \
    "nbd+unix:///?socket=$PWD/s" >/dev/null
  stop
  qemu-img check -q a.qcow2
  # Of the second cluster: subclusters 2 and 10 hold data, 4 and 5 zeros, the rest is not here.
  run qemu-img map --output=json a.qcow2
  [[ $output == *'"start": 0, "length": 69632, "depth": 1'* ]]
  [[ $output == *'"start": 69632, "length": 2048, "depth": 0, "present": true, "zero": false'* ]]
  [[ $output == *'"start": 73728, "length": 4096, "depth": 0, "present": true, "zero": true'* ]]
  [[ $output == *'"start": 86016, "length": 2048, "depth": 0, "present": true, "zero": false'* ]]
}

@test "qcow2-write: QEMU and imgmount take turns at subclusters" {
  local round
  head -c 5M /dev/urandom >parent.raw
  qemu-img create -q -f qcow2 -F raw -b parent.raw -o extended_l2=on,cluster_size=32k a.qcow2 9M
  for round in 1 2 3; do
    differ a.qcow2 $((90 + round)) --discard=unmap
    qemu-img convert -O raw a.qcow2 copy.raw
    for f in a.qcow2 copy.raw; do
      qemu-io -f "$([ $f = a.qcow2 ] && echo qcow2 || echo raw)" \
        -c "write -P $round $((round * 77))k 3k" -c "write -z ${round}M 37k" \
        -c "write -P 9 $((round * 1234))k 100k" -c "write -z -u 4M 512k" "$f" >/dev/null
    done
    qemu-img compare -q -F raw a.qcow2 copy.raw
  done
}

# A data file that is said to be the disk byte for byte is.
differ_data() { # SEED [OPTION...]
  differ a.qcow2 "$@"
  if qemu-img info a.qcow2 | grep -q 'data file raw: true'; then
    truncate -s "$(stat -c %s a.data)" reference.raw
    cmp reference.raw a.data
  fi
}

@test "qcow2-write: external data files, with and without subclusters and parents" {
  local seed=100 size kind options
  head -c 5M /dev/urandom >short.raw
  head -c 12M /dev/urandom >long.raw
  md5sum short.raw long.raw >sum
  for size in cluster_size=512 cluster_size=64k cluster_size=2M extended_l2=on; do
    for kind in plain metadata short long; do
      rm -f a.data
      options=data_file=a.data,$size
      case $kind in
        plain) qemu-img create -q -f qcow2 -o "$options" a.qcow2 9000001 ;;
        metadata) qemu-img create -q -f qcow2 -o "$options,preallocation=metadata" a.qcow2 9000001 ;;
        *) qemu-img create -q -f qcow2 -F raw -b $kind.raw -o "$options" a.qcow2 9000001 ;;
      esac
      OPERATIONS=150 differ_data $((seed++)) --discard=unmap
    done
  done
  md5sum -c --quiet sum
}

@test "qcow2-write: a raw data file is the disk byte for byte, and stays called so" {
  local seed=130 options discard
  for options in cluster_size=512 cluster_size=64k cluster_size=16k,extended_l2=on preallocation=full; do
    for discard in ignore unmap; do
      rm -f a.data
      qemu-img create -q -f qcow2 -o "data_file=a.data,data_file_raw=on,$options" a.qcow2 9000001
      differ_data $((seed++)) --discard=$discard
      qemu-img info a.qcow2 | grep -q 'data file raw: true'
    done
  done
}

@test "qcow2-write: data files and subclusters in every cache mode and with every engine" {
  local seed=170 mode OPERATIONS=100
  for mode in --cache=none --cache=directsync --cache=writethrough "--cache=none --aio=io_uring" \
    "--cache=none --aio=native"; do
    rm -f a.data
    qemu-img create -q -f qcow2 -o data_file=a.data,data_file_raw=on,extended_l2=on a.qcow2 9000001
    # shellcheck disable=SC2086
    differ_data $((seed++)) --discard=unmap $mode
  done
}

@test "qcow2-write: preallocation=falloc and full, plain and with subclusters" {
  local seed=150 kind
  for kind in falloc full; do
    for extended in off on; do
      qemu-img create -q -f qcow2 -o "preallocation=$kind,extended_l2=$extended" a.qcow2 9M
      differ a.qcow2 $((seed++)) --discard=unmap
    done
  done
}

@test "qcow2-write: a data file is locked against QEMU, and by it; read-only it is only read" {
  qemu-img create -q -f qcow2 -o data_file=a.data a.qcow2 9M
  serve a.qcow2
  run qemu-io -f raw -c 'write 0 512' a.data
  [[ $output == *lock* ]]
  stop
  qemu-io -f raw -c 'sleep 100000' a.data >/dev/null &
  until grep -q "$(stat -c %i a.data)" /proc/locks; do sleep 0.05; done
  run serve a.qcow2
  kill $!
  wait $! || :
  [ "$status" -eq 1 ]
  [[ $output == *"a.data: is in use"* ]]
  serve -r a.qcow2
  for fd in "/proc/$(cat pid)/fd"/*; do
    [[ $(readlink "$fd") != */a.data ]] || grep -q '^flags:.*0$' "/proc/$(cat pid)/fdinfo/${fd##*/}"
  done
  stop
}

@test "qcow2-write: an image that names itself as its data file is refused" {
  qemu-img create -q -f qcow2 -o data_file=a.data a.qcow2 1M
  ln -f a.qcow2 a.data
  md5sum a.qcow2 >sum
  run serve a.qcow2
  [ "$status" -eq 1 ]
  [[ $output == *"a.data: the image and the data file that it names are the same file"* ]]
  md5sum -c --quiet sum
}

@test "qcow2-write: a raw data file below a parent is no promise: the bit goes before a write" {
  head -c 5M /dev/urandom >short.raw
  qemu-img create -q -f qcow2 -F raw -b short.raw -o data_file=a.data a.qcow2 9M
  printf '\002' | dd of=a.qcow2 bs=1 seek=95 conv=notrunc status=none
  serve a.qcow2
  stop
  qemu-img info a.qcow2 | grep -q 'data file raw: true'
  differ a.qcow2 160 --discard=unmap
  qemu-img info a.qcow2 | grep -q 'data file raw: false'
}

@test "qcow2-write: what cannot be written is served read-only, and says why" {
  qemu-img create -q -f qcow2 -o data_file=a.data a.qcow2 1M
  chmod 0444 a.data
  run serve a.qcow2
  [[ $output == *"a.qcow2: exported read-only: its data file cannot be opened for writing"* ]]
  stop
  qemu-img create -q -f qcow2 b.qcow2 1M
  printf '\002' | dd of=b.qcow2 bs=1 seek=79 conv=notrunc status=none
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
