#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# qcow2 written through NBD and FUSE: the same changes on a plain copy, then bytes and
# structure as qemu-img sees them.

bats_require_minimum_version 1.5.0

setup() {
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  DIFFER=$BATS_TEST_DIRNAME/nbd-differ.py
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

@test "qcow2-write: kill -9 in the middle leaves no corruption, many times" {
  local round
  qemu-img create -q -f qcow2 -o cluster_size=4k a.qcow2 9M
  for round in $(seq 10); do
    serve --discard=unmap a.qcow2
    /usr/bin/python3 "$DIFFER" "$PWD/s" reference.raw "$round" 100000 2>/dev/null &
    sleep "0.$((RANDOM % 5 + 1))"
    kill -9 "$(cat pid)"
    wait $! || :
    rm -f pid
    # Status 3: leaked clusters and nothing else.
    run qemu-img check a.qcow2
    [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || { echo "$output"; return 1; }
  done
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
