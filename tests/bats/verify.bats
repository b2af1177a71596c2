#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# --verify beside qemu-img check, on good images and on ones with one thing wrong.

bats_require_minimum_version 1.5.0

load crypt-helpers

setup() {
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  IMGMOUNT=$(realpath "$IMGMOUNT")
  cd "$BATS_TEST_TMPDIR" || return
}

# An image of 8 MiB with data, written twice, in file $1; further arguments for create.
make() {
  local file=$1
  shift
  qemu-img create -q -f qcow2 "$@" "$file" 8M
  qemu-io -c 'write -P 1 0 1M' -c 'write -P 2 3M 300k' -c 'write -z 5M 1M' "$file" >/dev/null
}

# The sums of both: "errors leaks"; imgmount's errors only as none or some.
ours() {
  "$IMGMOUNT" --verify "$1" >ours.txt || true
  sed -nE 's/.*: ([0-9]+) errors, ([0-9]+) leaked clusters$/\1 \2/p' ours.txt |
    awk '{ print ($1 > 0), $2 }'
}

theirs() {
  qemu-img check --output=json "$1" >theirs.json 2>/dev/null || true
  jq -r '"\((.corruptions // 0) > 0 | if . then 1 else 0 end) \(.leaks // 0)"' theirs.json
}

agree() {
  local a b
  a=$(ours "$1")
  b=$(theirs "$1")
  [ "$a" = "$b" ] || {
    echo "ours: $a, qemu-img: $b"
    cat ours.txt
    return 1
  }
}

# poke FILE OFFSET HEX
poke() {
  printf '%b' "$(sed 's/../\\x&/g' <<<"$3")" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# peek FILE OFFSET: 8 bytes there, big-endian, without the flags of an entry
peek() {
  echo $(($(od -An -j "$2" -N 8 -t u8 --endian=big "$1") & 0x00fffffffffffe00))
}

@test "verify: what qemu-img makes is in order, status 0" {
  make base.qcow2
  i=0
  for options in '-o compat=0.10' '-o compat=1.1' '-o cluster_size=512' '-o cluster_size=2M' \
    '-o refcount_bits=1' '-o refcount_bits=64' '-o extended_l2=on' '-o lazy_refcounts=on' \
    '-o preallocation=metadata' '-b base.qcow2 -F qcow2' '-o data_file=data.raw' \
    '-o data_file=data2.raw,data_file_raw=on'; do
    i=$((i + 1))
    # shellcheck disable=SC2086 # words are meant
    make "$i.qcow2" $options
    run "$IMGMOUNT" --verify "$i.qcow2"
    [ "$status" -eq 0 ]
    [[ $output == *"0 errors, 0 leaked clusters" ]]
    agree "$i.qcow2"
  done
}

@test "verify: snapshots, bitmaps and compressed clusters are counted" {
  make a.qcow2
  qemu-img snapshot -c one a.qcow2
  qemu-io -c 'write -P 9 512k 1M' a.qcow2 >/dev/null
  qemu-img snapshot -c two a.qcow2
  qemu-img bitmap --add --enable a.qcow2 b0
  qemu-img bitmap --add -g 4096 a.qcow2 b1
  qemu-io -c 'write -P 7 2M 1M' -c 'write -c -P 3 6M 64k' -c 'write -c -P 4 7M 64k' a.qcow2 >/dev/null
  run "$IMGMOUNT" --verify a.qcow2
  [ "$status" -eq 0 ]
  agree a.qcow2
  qemu-img snapshot -d one a.qcow2
  agree a.qcow2
}

@test "verify: the header of an encrypted image is in use" {
  "$IMGMOUNT" --version | grep -q 'gcrypt yes' || skip "built without libgcrypt"
  create_encrypted -f qcow2 --object secret,id=s,data=abc \
    -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 e.qcow2 8M
  run "$IMGMOUNT" --verify --object secret,id=s,data=abc e.qcow2
  [ "$status" -eq 0 ]
  [[ $output == *"0 errors, 0 leaked clusters" ]]
}

@test "verify: each thing wrong is found, as qemu-img finds it" {
  make good.qcow2
  l1=$(peek good.qcow2 40)
  l2=$(peek good.qcow2 "$l1")
  table=$(peek good.qcow2 48)
  block=$(peek good.qcow2 "$table")
  data=$(peek good.qcow2 "$l2")
  # place and bytes: a count too high, too low; a cluster at the L1 table; not aligned;
  # past the end; the flag taken away from an L2 and an L1 entry; one cluster twice;
  # reserved bits; a refcount block past the end; zeros whose place is past the end.
  while read -r at bytes; do
    cp good.qcow2 bad.qcow2
    poke bad.qcow2 "$at" "$bytes"
    agree bad.qcow2
    run "$IMGMOUNT" --verify bad.qcow2
    [ "$status" -eq "$([ "$(theirs bad.qcow2)" = '0 0' ] && echo 0 || echo 1)" ]
    [ "${#lines[@]}" -ge 2 ]
  done <<EOF
$((block + 2 * (data / 65536))) 0002
$((block + 2 * (data / 65536))) 0000
$((block + 2 * 100)) 0001
$l2 $(printf '8000%012x' "$l1")
$l2 8000000000050200
$l2 8000000010000000
$l2 $(printf '0000%012x' "$data")
$l1 $(printf '0000%012x' "$l2")
$((l2 + 8)) $(printf '8000%012x' "$data")
$((l2 + 16)) 0000000000000000
$((l2 + 800)) $(printf '8000%012x' "$l2")
$((l2 + 80 * 8)) 8000000010000001
EOF
}

@test "verify: leaks are told by the run, errors by the entry" {
  make good.qcow2
  l1=$(peek good.qcow2 40)
  poke good.qcow2 "$l1" 0000000000000000
  run "$IMGMOUNT" --verify good.qcow2
  [ "$status" -eq 1 ]
  [[ $output == *"leak: clusters "*": reference count 1, pointers to it 0"* ]]
  agree good.qcow2
}

@test "verify: a table of partitions: good, a checksum wrong, a copy gone" {
  truncate -s 16M disk.img
  printf 'label: gpt\nstart=2048,size=1000\n' | sfdisk -q disk.img
  "$IMGMOUNT" --verify disk.img
  cp disk.img bad.img
  poke bad.img $((512 + 16)) 00000000
  run "$IMGMOUNT" --verify bad.img
  [ "$status" -eq 1 ]
  [[ $output == *"error: partition table: "* ]]
  # Each names the other at a wrong place, with a checksum that is right.
  for header in 1 32767; do
    cp disk.img bad.img
    python3 - bad.img "$header" <<'PY'
import struct, sys, zlib
with open(sys.argv[1], "r+b") as disk:
    disk.seek(int(sys.argv[2]) * 512)
    header = bytearray(disk.read(92))
    struct.pack_into("<Q", header, 32, 5000)
    struct.pack_into("<I", header, 16, 0)
    struct.pack_into("<I", header, 16, zlib.crc32(header))
    disk.seek(int(sys.argv[2]) * 512)
    disk.write(header)
PY
    run "$IMGMOUNT" --verify bad.img
    [ "$status" -eq 1 ]
    [[ ${lines[0]} == *"header says that the "*" is at sector 5000, and it is at "* ]]
    [[ $output == *": 1 errors, 0 leaked clusters" ]]
  done
  cp disk.img bad.img
  truncate -s 15M bad.img
  run ! "$IMGMOUNT" --verify bad.img
}

@test "verify: nothing is changed, and an image in use is refused" {
  make a.qcow2
  before=$(sha256sum <a.qcow2)
  "$IMGMOUNT" --verify a.qcow2
  [ "$before" = "$(sha256sum <a.qcow2)" ]
  coproc qemu-io a.qcow2
  pid=$COPROC_PID
  # It has answered: so it has opened the image.
  echo 'write 0 512' >&"${COPROC[1]}"
  read -r _ <&"${COPROC[0]}"
  run ! "$IMGMOUNT" --verify a.qcow2
  kill "$pid"
  [[ $output == *lock* || $output == *"another process"* ]]
}
