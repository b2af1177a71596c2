#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Metadata contexts of an image's chain and of its persistent bitmaps, against qemu-nbd.

bats_require_minimum_version 1.5.0
load nbd-helpers

# A chain of three, the middle one short; the lowest and the highest have bitmaps.
setup_file() {
  cd "$BATS_FILE_TMPDIR"
  command -v qemu-img >/dev/null || return 0
  qemu-img create -q -f qcow2 base.qcow2 48M
  qemu-img bitmap --add -g 64k base.qcow2 low
  qemu-io -c 'write -P 1 0 1M' -c 'write -P 2 40M 3M' base.qcow2
  qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 middle.qcow2 24M
  qemu-io -c 'write -P 3 2M 1M' -c 'write -z 5M 1M' middle.qcow2
  # Clusters of 4 KiB: the bits of the finest one fill five of them.
  qemu-img create -q -f qcow2 -o cluster_size=4k -b middle.qcow2 -F qcow2 top.qcow2 $((80 * 1024 * 1024 + 512))
  qemu-img bitmap --add -g 512 top.qcow2 fine
  qemu-img bitmap --add -g 2M top.qcow2 coarse
  qemu-img bitmap --add top.qcow2 off
  qemu-io -c 'write -P 4 1000 3' -c 'write -P 5 10M 7M' -c 'write -P 6 60M 512' \
    -c 'write -P 7 61M 10000000' -c 'write -z 20M 2M' top.qcow2
  qemu-img bitmap --disable top.qcow2 off
  qemu-io -c 'write -P 8 30M 1M' top.qcow2
}

setup() {
  need qemu-img qemu-io qemu-nbd nbdinfo
  nbd_setup
  TOP=$BATS_FILE_TMPDIR/top.qcow2
}

teardown() {
  nbd_teardown
}

# The map that a server, `ours` or `theirs`, has of CONTEXT for IMAGE with OPTION...
map_of() { # WHOSE CONTEXT IMAGE [OPTION...]
  local whose=$1 context=$2 image=$3
  local -a program=(qemu-nbd -f qcow2)
  shift 3
  [[ $whose == theirs ]] || program=("$IMGMOUNT" --nbd)
  start_server "${program[@]}" -t -k "$SOCKET" "$@" "$image"
  nbdinfo --map="$context" "$URI" >"$whose"
  end_server
}

same_map() { # CONTEXT IMAGE [OPTION...]
  map_of theirs "$@"
  map_of ours "$@"
  diff theirs ours || { echo "$*"; return 1; }
}

@test "contexts: the allocation depth is qemu-nbd's" {
  same_map qemu:allocation-depth "$TOP" -A -r
  # Every depth is there.
  [ "$(awk '{print $3}' ours | sort -u | tr -d '\n')" = 0123 ]
  same_map qemu:allocation-depth "$BATS_FILE_TMPDIR/base.qcow2" -A -r
  same_map qemu:allocation-depth "$TOP" -A -s
}

@test "contexts: bitmaps are qemu-nbd's, wherever in the chain they are" {
  local name
  for name in fine coarse off low; do
    same_map "qemu:dirty-bitmap:$name" "$TOP" -r -B "$name"
    grep -q ' 1 ' ours
    grep -q ' 0 ' ours
  done
  same_map base:allocation "$TOP" -r -B fine
}

@test "contexts: several bitmaps and the depth, listed as qemu-nbd lists them" {
  start_server "$IMGMOUNT" --nbd -r -t -e 2 -k "$SOCKET" -A -B fine -B low "$TOP"
  "$IMGMOUNT" --nbd -L -k "$SOCKET" | sed -n '/contexts/,$p' >ours
  nbdinfo --map=qemu:dirty-bitmap:low "$URI" >low
  nbdinfo --map=qemu:dirty-bitmap:fine "$URI" >fine
  run ! nbdinfo --map=qemu:dirty-bitmap:coarse "$URI"
  end_server
  diff ours - <<'END'
  available meta contexts: 4
   base:allocation
   qemu:allocation-depth
   qemu:dirty-bitmap:fine
   qemu:dirty-bitmap:low
END
  map_of theirs qemu:dirty-bitmap:low "$TOP" -r -B low
  diff theirs low
  map_of theirs qemu:dirty-bitmap:fine "$TOP" -r -B fine
  diff theirs fine
}

@test "contexts: QEMU's client reads a bitmap" {
  start_server "$IMGMOUNT" --nbd -r -t -k "$SOCKET" -B fine "$TOP"
  local options=driver=nbd,server.type=unix,server.path=$SOCKET,x-dirty-bitmap=qemu:dirty-bitmap:fine
  qemu-img map --output=json --image-opts "$options" >ours
  end_server
  start_server qemu-nbd -r -t -k "$SOCKET" -B fine -f qcow2 "$TOP"
  qemu-img map --output=json --image-opts "$options" >theirs
  end_server
  diff theirs ours
}

@test "contexts: a slice and a partition see their part of a bitmap" {
  need sfdisk
  qemu-img create -q -f qcow2 disk.qcow2 64M
  truncate -s 64M table
  printf 'label: dos\nstart=2048,size=20480\nstart=40960,size=65536\n' | sfdisk -q table
  qemu-img convert -n -f raw -O qcow2 table disk.qcow2
  qemu-img bitmap --add -g 512 disk.qcow2 b
  qemu-io -c 'write 1M 512' -c 'write 1025k 1k' -c 'write 20M 1M' -c 'write 51M 2M' disk.qcow2
  start_server "$IMGMOUNT" --nbd -r -t -k "$SOCKET" -B b disk.qcow2
  nbdinfo --map=qemu:dirty-bitmap:b "nbd+unix:///p1?socket=$SOCKET" >p1
  nbdinfo --map=qemu:dirty-bitmap:b "nbd+unix:///p2?socket=$SOCKET" >p2
  end_server
  dirty() { awk '$3 == 1 { print $1 "+" $2 }' "$1" | tr '\n' ' '; }
  [ "$(dirty p1)" = "0+512 1024+1024 " ]
  [ "$(dirty p2)" = "0+1048576 32505856+1048576 " ]
  map_of ours qemu:dirty-bitmap:b disk.qcow2 -r -P 2 -B b
  diff p2 ours
  map_of ours qemu:dirty-bitmap:b disk.qcow2 -r --offset 1M --size 10M -B b
  diff p1 ours
}

@test "contexts: without an overlay the image of a bitmap is exported read-only, which is said" {
  cp "$BATS_FILE_TMPDIR/base.qcow2" .
  start_server "$IMGMOUNT" --nbd -t -k "$SOCKET" -B low base.qcow2
  nbdinfo "$URI" | grep -q 'is_read_only: true'
  end_server
  grep -q 'base.qcow2: exported read-only: its bitmaps could not follow what is written' server.log
  start_server "$IMGMOUNT" --nbd -t -k "$SOCKET" -B low -s base.qcow2
  nbdinfo "$URI" | grep -q 'is_read_only: false'
  end_server
  cmp base.qcow2 "$BATS_FILE_TMPDIR/base.qcow2"
}

refused() { # MESSAGE IMAGE OPTION...
  local message=$1 image=$2
  shift 2
  run --separate-stderr timeout 20 "$IMGMOUNT" --nbd -k "$SOCKET" "$@" "$image"
  [ "$status" -eq 1 ]
  [ "${stderr_lines[0]}" = "imgmount: $message" ] || { echo "said: $stderr"; return 1; }
}

# The directory entry of bitmap INDEX, and where its table begins.
find_bitmap() { # IMAGE
  read -r DIRECTORY TABLE < <(python3 - "$1" <<'END'
import struct, sys
image = open(sys.argv[1], "rb").read()
at = struct.unpack(">I", image[100:104])[0]
while True:
    kind, length = struct.unpack(">II", image[at:at + 8])
    if kind == 0x23852875:
        directory = struct.unpack(">Q", image[at + 24:at + 32])[0]
        print(directory, struct.unpack(">Q", image[directory:directory + 8])[0])
        break
    at += 8 + (length + 7) // 8 * 8
END
)
}

poke() { # IMAGE OFFSET HEX
  printf '%b' "$(sed 's/../\\x&/g' <<<"$3")" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "contexts: bitmaps that cannot be relied on are refused in one line" {
  need python3
  local base=$BATS_FILE_TMPDIR/base.qcow2
  refused "$TOP: --bitmap: no image of the chain has a bitmap \"nope\"" "$TOP" -B nope
  refused "$TOP: --bitmap: \"fine\" is given twice" "$TOP" -B fine -B low -B fine
  refused "--bitmap and --load-snapshot exclude each other" "$TOP" -B fine -l 1
  find_bitmap "$base"
  poked() { # MESSAGE OFFSET HEX
    cp "$base" poked.qcow2
    poke poked.qcow2 "$2" "$3"
    refused "poked.qcow2: --bitmap: bitmap \"low\": $1" poked.qcow2 -r -B low
  }
  poked "in use: whoever had it last has not saved it, or has it still" $((DIRECTORY + 15)) 03
  poked "of a kind that is not known" $((DIRECTORY + 15)) 08
  poked "of a kind that is not known" $((DIRECTORY + 16)) 02
  poked "granularity bits 8 are not from 9 to 31" $((DIRECTORY + 17)) 08
  poked "granularity bits 32 are not from 9 to 31" $((DIRECTORY + 17)) 20
  poked "0 clusters of bits do not cover the disk" $((DIRECTORY + 8)) 00000000
  poked "281474976645120 bytes of bits are beyond the limit of 536870912" $((DIRECTORY + 8)) ffffffff
  poked "table at 0x100, 1 entries, is not aligned or runs past the end of the file" "$DIRECTORY" 0000000000000100
  poked "table at 0x7fffffffffff0000, 1 entries, is not aligned or runs past the end of the file" "$DIRECTORY" 7fffffffffff0000
  local entry
  for entry in 7f00000000000000 00ffffffffff0000 0000000000000200 0000000000000003; do
    poked "table entry 0x$(sed 's/^0*//' <<<"$entry") has reserved bits, is not aligned or points past the end of the file" \
      "$TABLE" "$entry"
  done
  poked "the image was written by a program that keeps no bitmaps" 95 00
}

@test "contexts: a table may say that a cluster of bits is all ones" {
  need python3
  cp "$BATS_FILE_TMPDIR/base.qcow2" ones.qcow2
  find_bitmap ones.qcow2
  poke ones.qcow2 "$TABLE" 0000000000000001
  map_of ours qemu:dirty-bitmap:low ones.qcow2 -r -B low
  [ "$(awk '{print $1, $2, $3}' ours)" = "0 $((48 << 20)) 1" ]
}
