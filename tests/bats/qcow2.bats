#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# qcow2 images as qemu-img makes them: each byte and each hole as qemu-img reads them.

bats_require_minimum_version 1.5.0

load qcow2-helpers

setup() {
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  for tool in qemu-img qemu-io nbdcopy nbdinfo; do
    command -v $tool >/dev/null || skip "$tool is not installed"
  done
  cd "$BATS_TEST_TMPDIR" || exit
  make_disk disk.raw
}

teardown() {
  stop_serving
}

has_zstd() { "$IMGMOUNT" --version | grep -q "zstd yes"; }

@test "qcow2: every cluster size, in both versions, plain and compressed, with a child" {
  local size version
  for size in 512 1k 2k 4k 8k 16k 32k 64k 128k 256k 512k 1M 2M; do
    for version in 0.10 1.1; do
      make_image base "$size" "compat=$version" "$([ $version = 1.1 ] && echo -c)"
      make_child top "$size" "compat=$version" base
      same_as_qemu top "$size $version"
    done
    make_image base "$size" compat=1.1
    same_as_qemu base "$size plain"
  done
}

@test "qcow2: zstd clusters" {
  local size
  has_zstd || skip "built without zstd"
  for size in 512 4k 64k 2M; do
    make_image base "$size" compression_type=zstd -c || skip "qemu-img has no zstd"
    same_as_qemu base "$size"
  done
}

@test "qcow2: every refcount width" {
  local bits
  for bits in 1 2 4 8 16 32 64; do
    make_image base 64k "refcount_bits=$bits,lazy_refcounts=on"
    same_as_qemu base "$bits"
  done
}

@test "qcow2: extended L2 entries" {
  local size
  for size in 16k 64k 2M; do
    make_image base "$size" extended_l2=on -c
    make_child top "$size" extended_l2=on base
    same_as_qemu top "$size"
    make_image base "$size" extended_l2=on
    same_as_qemu base "$size plain"
  done
}

@test "qcow2: external data files" {
  local options
  for options in cluster_size=4k cluster_size=64k,extended_l2=on \
    cluster_size=64k,data_file_raw=on cluster_size=2M,preallocation=metadata; do
    rm -f base base.data
    qemu-img create -q -f qcow2 -o "data_file=base.data,$options" base 4M
    qemu-io -c "write -P 1 0 100k" -c "write -z 64k 200k" -c "write -P 2 3M 5k" base >/dev/null
    same_as_qemu base "$options"
  done
  make_image base 64k data_file=base.data
  make_child top 64k data_file=top.data base
  same_as_qemu top child
}

@test "qcow2: a missing data file is named" {
  make_image base 64k data_file=base.data
  rm base.data
  refused base base.data
}

@test "qcow2: preallocated images: holes of the file are holes of the disk" {
  local mode
  for mode in metadata falloc full; do
    rm -f base
    qemu-img create -q -f qcow2 -o preallocation=$mode base 8M
    qemu-io -c "write -P 1 1M 100k" -c "write -P 1 5M 1M" base >/dev/null
    same_as_qemu base $mode
  done
}

@test "qcow2: a chain of six, on a short raw image" {
  head -c 700000 disk.raw >0.raw
  qemu-img create -q -f qcow2 -b 0.raw -F raw 0.qcow2 1M
  local i
  for i in 1 2 3 4 5; do
    qemu-img create -q -f qcow2 -o cluster_size=$((1024 << i)) -b $((i - 1)).qcow2 -F qcow2 \
      $i.qcow2 $((i + 1))M
    qemu-io -c "write -P $i ${i}00k 33k" -c "write -z ${i}50k 10k" \
      -c "write -P $i ${i}M 10k" $i.qcow2 >/dev/null
  done
  same_as_qemu 5.qcow2
}

@test "qcow2: a backing name with the prefix file:" {
  make_image base 64k compat=1.1
  qemu-img create -q -f qcow2 -b file:base -F qcow2 top
  same_as_qemu top
}

@test "qcow2: backing names that are no file names are refused" {
  qemu-img create -q -f qcow2 -u -b 'json:{"driver":"file","filename":"disk.raw"}' -F raw top 1M
  refused top "only file names are followed"
  qemu-img create -q -f qcow2 -u -b nbd://127.0.0.1/x -F raw top 1M
  refused top 'names the protocol "nbd"'
  qemu-img create -q -f qcow2 -u -b fat:rw:/etc -F raw top 1M
  refused top 'names the protocol "fat"'
}

@test "qcow2: internal snapshots by id and by name" {
  local want
  make_image base 64k compat=1.1
  qemu-img snapshot -c before base
  qemu-io -c "write -P 1 0 1M" base >/dev/null
  # Its name is the first one's id: ids are looked for first.
  qemu-img snapshot -c 1 base
  qemu-img resize -q base 600M
  qemu-io -c "write -P 2 500M 1M" base >/dev/null
  for want in "1 1" "1 before" "1 snapshot.id=1" "1 snapshot.name=before" \
    "2 2" "2 snapshot.name=1" "2 snapshot.id=2,snapshot.name=1"; do
    serve base -l "${want#* }"
    nbdcopy "$(uri)" got.raw
    stop_serving
    # The disk had another size then; qemu-img gives it today's.
    [ "$(stat -c %s got.raw)" -eq "$(stat -c %s disk.raw)" ]
    if [ "${want%% *}" = 1 ]; then
      cmp disk.raw got.raw
    else
      cmp -n 1048576 got.raw <(tr '\0' '\1' </dev/zero | head -c 1M)
      cmp -i 1048576 disk.raw got.raw
    fi
  done
  refused base "none of its 2 snapshots has the id or name \"3\"" -l 3
}

@test "qcow2: a damaged L2 entry fails its own cluster only" {
  make_image base 64k compat=1.1
  local l1 l2
  l1=$(od -An -tu8 --endian=big -j 40 -N 8 base)
  l2=$(($(od -An -td8 --endian=big -j "${l1// /}" -N 8 base) & 0xffffffffffffff))
  # The second cluster begins far past the end of the file.
  poke base $((l2 + 8)) '\x80\x00\x7f\xff\xff\xff\x00\x00'
  serve base
  /usr/bin/python3 - "$(uri)" disk.raw <<'END'
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
want = open(sys.argv[2], "rb").read()
for at in (0, 131072):
    assert h.pread(65536, at) == want[at:at + 65536]
try:
    h.pread(512, 65536)
    sys.exit("the damaged cluster was read")
except nbd.Error:
    pass
END
}

@test "qcow2: an unknown incompatible feature is refused by its name" {
  make_image base 64k compat=1.1
  poke base 79 '\x80'
  refused base "bit 7"
  # qemu-img writes a table of names; its first entry's bit number becomes 7.
  local at
  at=$(LC_ALL=C grep -obUaP 'dirty bit' base | head -1 | cut -d: -f1)
  poke base $((at - 1)) '\x07'
  refused base "dirty bit"
}

@test "qcow2: a refcount table past the end names offset and size" {
  make_image base 64k compat=1.1
  poke base 48 '\x00\x00\x00\x00\x7f\xff\x00\x00'
  refused base "header: refcount table offset 0x7fff0000 is past the end of the file ($(stat -c %s base) bytes)"
}

@test "qcow2: an unknown encryption method, and LUKS without its header, are refused" {
  make_image base 64k compat=1.1
  poke base 35 '\x03'
  refused base "encryption method 3 is not known"
  poke base 35 '\x02'
  refused base "encryption method 2 (LUKS), but no extension"
}

@test "qcow2: sample images of other programs" {
  local samples=${SAMPLES:-$BATS_TEST_DIRNAME/../../../shared/samples} name sum
  [ -d "$samples" ] || skip "no folder with samples"
  while read -r name sum; do
    serve "$samples/$name"
    nbdcopy "$(uri)" got.raw
    stop_serving
    [ "$(md5sum <got.raw)" = "$sum  -" ]
  done <<'END'
ext2.qcow2 196066add11fb71c4c49cf1bb50d6d24
windows_volume.qcow2 e472c93726a55ee3c5f9a860f3a39cae
END
}

@test "qcow2: --info tells features, snapshots and bitmaps" {
  qemu-img create -q -f qcow2 -o lazy_refcounts=on base 1M
  qemu-img snapshot -c "first one" base
  qemu-img bitmap --add -g 32k base changed
  run "$IMGMOUNT" --info --json base
  [ "$status" -eq 0 ]
  /usr/bin/python3 - <<END
import json
facts = json.loads('''$output''')["chain"][0]["facts"]
assert facts["compat"] == "1.1" and facts["lazy-refcounts"] and not facts["dirty"]
assert facts["snapshots"][0]["name"] == "first one"
assert facts["bitmaps"] == [{"name": "changed", "granularity": 32768, "flags": ["auto"]}]
assert facts["autoclear-features"] == ["bitmaps"]
END
}
