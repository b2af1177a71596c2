#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Images that lie: every field poked to extremes, ends cut off, chains that loop.  Each is
# one clear error, or what can be read; never a crash, a hang, or unbounded memory.

bats_require_minimum_version 1.5.0

setup() {
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  POKE=$BATS_TEST_DIRNAME/poke.py
  cd "$BATS_TEST_TMPDIR"
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
}

# Reads the whole disk of IMAGE; ends by itself.
drain() {
  timeout 20 "$IMGMOUNT" --list "$1"
}

make_qcow2() {
  need qemu-img qemu-io
  qemu-img create -q -f raw parent.raw 2M
  qemu-img create -q -f qcow2 -F raw -b parent.raw "$@" good.qcow2 2M
  qemu-io -f qcow2 -c 'write -P 1 0 200k' good.qcow2 >/dev/null
  qemu-img snapshot -c first good.qcow2
  qemu-io -f qcow2 -c 'write -P 2 1M 100k' good.qcow2 >/dev/null
}

# Lines for poke.py of the whole qcow2 header, and of the tables it points at.
qcow2_fields() {
  cat <<'FIELDS'
0 4 big magic
4 4 big version
8 8 big backing_offset
16 4 big backing_size
20 4 big cluster_bits
24 8 big size
32 4 big crypt_method
36 4 big l1_size
40 8 big l1_offset
48 8 big refcount_table_offset
56 4 big refcount_table_clusters
60 4 big nb_snapshots
64 8 big snapshots_offset
72 8 big incompatible
80 8 big compatible
88 8 big autoclear
96 4 big refcount_order
100 4 big header_length
104 1 big compression_type
112 4 big first_extension
116 4 big first_extension_length
FIELDS
  python3 - <<'PYTHON'
import struct
data = open("good.qcow2", "rb").read()
l1, = struct.unpack_from(">Q", data, 40)
refs, = struct.unpack_from(">Q", data, 48)
snaps, = struct.unpack_from(">Q", data, 64)
l2 = struct.unpack_from(">Q", data, l1)[0] & 0x00FFFFFFFFFFFE00
for at, width, name in [(l1, 8, "l1[0]"), (l1 + 8, 8, "l1[1]"), (l2, 8, "l2[0]"), (l2 + 8, 8, "l2[1]"),
                        (refs, 8, "refcount_table[0]"), (snaps, 8, "snapshot.l1_offset"),
                        (snaps + 8, 4, "snapshot.l1_size"), (snaps + 12, 2, "snapshot.id_size"),
                        (snaps + 14, 2, "snapshot.name_size"), (snaps + 36, 4, "snapshot.extra_size")]:
    print(at, width, "big", name)
PYTHON
}

@test "hostile: every qcow2 field poked: --info says one line and ends" {
  make_qcow2
  qcow2_fields >fields
  "$POKE" good.qcow2 fields "$IMGMOUNT" --info @
}

@test "hostile: every qcow2 field poked: listing the table reads the disk and ends" {
  make_qcow2 -o extended_l2=on
  qcow2_fields >fields
  "$POKE" good.qcow2 fields "$IMGMOUNT" --list @
}

@test "hostile: every field of a snapshot poked: -l ends" {
  make_qcow2
  qcow2_fields | grep -E 'snap|l1|l2|size' >fields
  "$POKE" good.qcow2 fields "$IMGMOUNT" --list -l first @
}

@test "hostile: every field of an MBR with logical partitions poked" {
  need sfdisk
  truncate -s 16M good.img
  sfdisk -q good.img <<<$'label: dos\n2048,2048,83\n4096,16384,5\n6144,1024,83\n9216,1024,83'
  for slot in 0 1 2 3; do
    at=$((446 + 16 * slot))
    printf '%d 1 little flag%d\n%d 1 little type%d\n%d 4 little start%d\n%d 4 little count%d\n' \
      $at $slot $((at + 4)) $slot $((at + 8)) $slot $((at + 12)) $slot
  done >fields
  ebr=$((4096 * 512 + 446))
  printf '%d 1 little ebr.type\n%d 4 little ebr.start\n%d 4 little ebr.count\n%d 4 little ebr.next\n%d 4 little ebr.next_count\n' \
    $((ebr + 4)) $((ebr + 8)) $((ebr + 12)) $((ebr + 24)) $((ebr + 28)) >>fields
  "$POKE" good.img fields "$IMGMOUNT" --list @
}

@test "hostile: every field of a GPT poked, the checksums made right again" {
  need sfdisk
  truncate -s 4M good.img
  sfdisk -q good.img <<<$'label: gpt\n2048,1024\n3072,1024'
  # Without a backup to fall back to, and with it.
  for backup in kept wiped; do
    [ $backup = kept ] || dd if=/dev/zero of=good.img bs=512 seek=8159 count=33 conv=notrunc status=none
    cat >fields <<'FIELDS'
512 8 little signature
520 4 little revision
524 4 little header_size
528 4 little header_crc
536 8 little my_lba
544 8 little alternate_lba
552 8 little first_usable
560 8 little last_usable
584 8 little entries_lba
592 4 little entry_count
596 4 little entry_size
600 4 little entries_crc
1056 8 little first_lba
1064 8 little last_lba
1072 8 little attributes
FIELDS
    "$POKE" good.img fields "$IMGMOUNT" --list @
    "$POKE" good.img fields "$BATS_TEST_DIRNAME/gpt-fix-and-run.sh" "$IMGMOUNT" @
  done
}

@test "hostile: images cut off at every power of two and a little beside it" {
  make_qcow2
  size=$(stat -c %s good.qcow2)
  for ((n = 1; n < size; n *= 2)); do
    for cut in $((n - 1)) $n $((n + 1)); do
      head -c "$cut" good.qcow2 >cut.qcow2
      status=0
      drain cut.qcow2 >out 2>&1 || status=$?
      [ "$status" -le 1 ] || { echo "cut at $cut: status $status"; cat out; return 1; }
    done
  done
}

@test "hostile: chains of backing files that loop" {
  need qemu-img
  qemu-img create -q -f qcow2 a.qcow2 1M
  qemu-img create -q -f qcow2 -F qcow2 -b a.qcow2 b.qcow2
  qemu-img rebase -q -u -F qcow2 -b b.qcow2 a.qcow2
  run "$IMGMOUNT" --list a.qcow2
  [ "$status" -eq 1 ]
  [[ $output == *"loops"* ]]
  qemu-img rebase -q -u -F qcow2 -b a.qcow2 a.qcow2
  run "$IMGMOUNT" --list a.qcow2
  [ "$status" -eq 1 ]
  [[ $output == *"loops"* ]]
}

@test "hostile: a chain of a hundred images is refused, one of sixty is read" {
  need qemu-img
  qemu-img create -q -f qcow2 0.qcow2 1M
  for i in $(seq 1 100); do
    cp 0.qcow2 "$i.qcow2"
    qemu-img rebase -q -u -F qcow2 -b "$((i - 1)).qcow2" "$i.qcow2"
  done
  run "$IMGMOUNT" --list 60.qcow2
  [ "$status" -eq 0 ]
  run "$IMGMOUNT" --list 100.qcow2
  [ "$status" -eq 1 ]
  [[ $output == *"longer than"* ]]
}

@test "hostile: backing files stay where --backing allows them" {
  need qemu-img
  mkdir in out
  truncate -s 1M in/base.raw out/base.raw
  ln -s ../out/base.raw in/link.raw
  for base in in/base.raw out/base.raw in/link.raw; do
    qemu-img create -q -f qcow2 -F raw -b "$PWD/$base" "top-${base//\//-}.qcow2"
  done
  run "$IMGMOUNT" --list --backing in top-in-base.raw.qcow2
  [ "$status" -eq 0 ]
  for top in top-out-base.raw.qcow2 top-in-link.raw.qcow2; do
    run "$IMGMOUNT" --list --backing in "$top"
    [ "$status" -eq 1 ]
    [[ $output == *"is not below in"* ]]
    run "$IMGMOUNT" --list --backing none "$top"
    [ "$status" -eq 0 ]
  done
}

@test "hostile: a data file stays where --backing allows it: with none beside the image" {
  need qemu-img
  mkdir in in/below out
  for data in in/beside.raw in/below/beside.raw out/other.raw; do
    top=in/${data//\//-}.qcow2
    qemu-img create -q -f qcow2 -o "data_file=$PWD/$data" "$top" 1M
    run "$IMGMOUNT" --list --backing none "$top"
    if [[ $data == in/* ]]; then
      [ "$status" -eq 0 ]
    else
      [ "$status" -eq 1 ]
      [[ $output == *"other.raw: is not below $PWD/in, which --backing demands"* ]]
    fi
  done
}

@test "hostile: a backing file named json: or by a protocol is refused" {
  need qemu-img
  truncate -s 1M base.raw
  qemu-img create -q -f qcow2 -F raw -b base.raw top.qcow2
  for name in 'json:{"driver":"file","filename":"base.raw"}' nbd://localhost/x ssh://host/file; do
    qemu-img rebase -u -F raw -b "$name" top.qcow2
    run "$IMGMOUNT" --list top.qcow2
    [ "$status" -eq 1 ]
    [ "${#lines[@]}" -eq 1 ]
    [[ $output == "imgmount: top.qcow2: "* ]]
  done
}
