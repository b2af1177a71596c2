#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# --damage: what damaged images read as, that nothing around the damage is moved by it, and
# where it is told of.

bats_require_minimum_version 1.5.0

load qcow2-helpers

# A disk of 6 MiB of noise with one partition, p1, 1 MiB to 5 MiB.
setup_file() {
  export DISK="$BATS_FILE_TMPDIR/disk.raw"
  head -c 6M /dev/urandom >"$DISK"
  head -c 2048 /dev/zero | dd of="$DISK" conv=notrunc status=none
  printf 'label: dos\nstart=2048,size=8192,type=83\n' | sfdisk -q "$DISK"
  # What compresses, where nothing else is tested.
  { yes 'text that can be compressed' || :; } | head -c 6M >"$BATS_FILE_TMPDIR/text.raw"
  head -c 1M "$DISK" | dd of="$BATS_FILE_TMPDIR/text.raw" conv=notrunc status=none
}

setup() {
  IMGMOUNT=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  local tool
  for tool in qemu-img qemu-io jq nbdinfo sfdisk; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
  cd "$BATS_TEST_TMPDIR"
  mkdir mnt
}

teardown() {
  [[ ! -s pid ]] || kill "$(cat pid)" 2>/dev/null || :
  while umount -l "$BATS_TEST_TMPDIR/mnt" 2>/dev/null; do :; done
}

need_fuse() {
  [[ $EUID == 0 && -c /dev/fuse ]] || skip "needs root and FUSE"
}

# The library that breaks a disk, as words before a command; the file IMAGE is hit.
on_broken_disk() { # IMAGE COMMAND...
  local library=${IMGMOUNT%/src/cli/imgmount}/tests/preload/fault.so image=$1
  shift
  [[ -e $library ]] || skip "tests/preload/fault.so was not built"
  env "LD_PRELOAD=$library" "FAULT_FILE=$PWD/$image" FAULT_RULES=rules \
    "ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0" "$@"
}

# Where the entry for guest offset AT stands; tables of 8-byte entries.
l2_entry() { # IMAGE AT
  /usr/bin/python3 - "$@" <<'END'
import struct, sys
image, at = open(sys.argv[1], "rb").read(), int(sys.argv[2])
bits, = struct.unpack_from(">I", image, 20)
l1, = struct.unpack_from(">Q", image, 40)
cluster = at >> bits
per_table = 1 << (bits - 3)
table, = struct.unpack_from(">Q", image, l1 + cluster // per_table * 8)
print((table & 0xffffffffffff00) + cluster % per_table * 8)
END
}

# The entry's value, of which the last bits are where the cluster is.
entry_of() { # IMAGE AT
  od -An -tu8 --endian=big -j "$(l2_entry "$1" "$2")" -N 8 "$1" | tr -d ' '
}

# Copies SOURCE to `expected`, with zeros at each OFFSET for LENGTH bytes.
expect() { # SOURCE [OFFSET LENGTH]...
  cp "$1" expected
  shift
  while (($#)); do
    head -c "$2" /dev/zero | dd of=expected bs=64k oflag=seek_bytes seek="$1" conv=notrunc status=none
    shift 2
  done
}

# The ranges of a JSON file's damage as "OFFSET LENGTH", a line each.
ranges() { # FILE
  jq -r '.damage.ranges[] | "\(.offset) \(.bytes)"' "$1"
}

# IMAGE extracted with errors fails, without leaves what is `expected`, and says where the
# damage is: the lines OFFSET LENGTH on standard input.
salvages() { # IMAGE [OPTION...]
  local image=$1
  shift
  cat >want
  run ! "$IMGMOUNT" --extract disk -O out "$@" "$image"
  [[ $output == "imgmount: $image: damaged at disk offset $(head -n 1 want | cut -d ' ' -f 1): "* ]]
  [ ! -e out ]
  "$IMGMOUNT" --extract disk --damage=zero -O out "$@" "$image" >sums 2>said
  cmp out expected
  grep '^SHA256 ' sums | sha256sum --check --status
  diff want <(ranges out.json)
  jq -e '.damage | .["reads-as"] == "zero" and .bytes == ([.ranges[].bytes] | add) and
    .["unlisted-bytes"] == 0 and all(.ranges[]; .["file-offset"] == .offset)' out.json
  # A line for each range as it is found, and one for them all.
  [ "$(wc -l <said)" -eq $(($(wc -l <want) + 1)) ]
  [ "$(tail -n 1 said)" = "imgmount: warning: out: damaged: $(jq .damage.bytes out.json) bytes in $(
    wc -l <want) range$([[ $(wc -l <want) == 1 ]] || echo s) are zeros, listed in out.json" ]
  rm out out.json
}

@test "damage: entries that make no sense cost their clusters, and no byte more" {
  qemu-img convert -f raw -O qcow2 "$DISK" bad.qcow2
  poke bad.qcow2 "$(l2_entry bad.qcow2 $((20 * 65536)))" '\x80\x00\x00\x00\x00\x00\x02\x00'
  poke bad.qcow2 "$(l2_entry bad.qcow2 $((40 * 65536)))" '\x80\x00\x7f\xff\xff\xff\x00\x00'
  expect "$DISK" $((20 * 65536)) 65536 $((40 * 65536)) 65536
  printf '%d 65536\n' $((20 * 65536)) $((40 * 65536)) | salvages bad.qcow2
}

@test "damage: compressed clusters that do not decode, zlib and zstd" {
  local text=$BATS_FILE_TMPDIR/text.raw type at
  for type in zlib zstd; do
    qemu-img convert -c -f raw -O qcow2 -o compression_type=$type "$text" bad.qcow2
    for at in 30 31 50; do
      poke bad.qcow2 $(($(entry_of bad.qcow2 $((at * 65536))) & 0xffffffff)) '\xff\xff\xff\xff\xff\xff\xff\xff'
    done
    expect "$text" $((30 * 65536)) 131072 $((50 * 65536)) 65536
    # Each is logged by itself; neighbours are one range.
    printf '%d %d\n' $((30 * 65536)) 131072 $((50 * 65536)) 65536 >want
    "$IMGMOUNT" --extract disk --damage=zero -O out bad.qcow2 2>said
    cmp out expected
    diff want <(ranges out.json)
    [ "$(grep -c "read as zeros: compressed data at offset" said)" -eq 3 ]
    rm out out.json
  done
}

@test "damage: an image that was cut off keeps its size" {
  qemu-img convert -f raw -O qcow2 "$DISK" cut.qcow2
  local entry
  entry=$(($(entry_of cut.qcow2 $((60 * 65536))) & 0xffffffff))
  truncate -s "$entry" cut.qcow2
  expect "$DISK" $((60 * 65536)) $((36 * 65536))
  # Clusters lie in the disk's order, so all that follow are gone.
  "$IMGMOUNT" --extract disk --damage=zero -O out cut.qcow2 2>said
  cmp out expected
  [ "$(ranges out.json)" = "$((60 * 65536)) $((36 * 65536))" ]
  run ! "$IMGMOUNT" --extract disk -O out2 cut.qcow2
  [[ $output == *"damaged at disk offset $((60 * 65536)): "*"points past the end of the file"* ]]
}

@test "damage: of a parent, subclusters of the child around it" {
  qemu-img convert -f raw -O qcow2 "$DISK" parent.qcow2
  poke parent.qcow2 "$(l2_entry parent.qcow2 $((20 * 65536)))" '\x80\x00\x00\x00\x00\x00\x02\x00'
  qemu-img create -q -f qcow2 -o extended_l2=on -b parent.qcow2 -F qcow2 child.qcow2 6M
  qemu-io -c "write -P 7 $((20 * 65536 + 8192)) 4096" child.qcow2 >/dev/null
  expect "$DISK" $((20 * 65536)) 65536
  head -c 4096 /dev/zero | tr '\0' '\7' | dd of=expected bs=1 seek=$((20 * 65536 + 8192)) conv=notrunc status=none
  printf '%d %d\n' $((20 * 65536)) 8192 $((20 * 65536 + 12288)) $((65536 - 12288)) | salvages child.qcow2
  "$IMGMOUNT" --extract disk --damage=zero -O out child.qcow2 2>/dev/null
  jq -e 'all(.damage.ranges[]; .reason | startswith("parent 1: table entry at "))' out.json
}

@test "damage: --info tells of what the partition table's reading met" {
  qemu-img convert -f raw -O qcow2 "$DISK" bad.qcow2
  poke bad.qcow2 "$(l2_entry bad.qcow2 0)" '\x80\x7f'
  run -0 "$IMGMOUNT" --info bad.qcow2
  [[ $output == *$'\ndamage, read as errors:\n  at disk offset 0, 64 KiB (65536 bytes): table entry at 0x'* ]]
  run -0 --separate-stderr "$IMGMOUNT" --info --damage=zero bad.qcow2
  [[ $output == *$'\ndamage, read as zeros:\n  at disk offset 0, 64 KiB (65536 bytes): table entry at 0x'* ]]
  run -0 "$IMGMOUNT" --info "$DISK"
  [[ $output != *damage* ]]
}

@test "damage: more of it than anybody reads is counted" {
  qemu-img convert -f raw -O qcow2 -o cluster_size=512 "$DISK" bad.qcow2
  /usr/bin/python3 - bad.qcow2 <<'END'
import struct, sys
image = bytearray(open(sys.argv[1], "rb").read())
l1, = struct.unpack_from(">Q", image, 40)
for cluster in range(4000, 4000 + 2 * 1100, 2):
    table, = struct.unpack_from(">Q", image, l1 + cluster // 64 * 8)
    struct.pack_into(">Q", image, (table & 0xffffffffffff00) + cluster % 64 * 8, 1 << 63 | 0x7fff << 32)
open(sys.argv[1], "wb").write(image)
END
  "$IMGMOUNT" --extract disk --damage=zero -O out bad.qcow2 2>said
  [ "$(jq '.damage.ranges | length' out.json)" -eq 1024 ]
  [ "$(jq .damage.bytes out.json)" -eq $((1024 * 512)) ]
  [ "$(jq '.damage["unlisted-bytes"]' out.json)" -eq $((76 * 512)) ]
  [ "$(wc -l <said)" -eq 1026 ]
  grep -q 'more damage than 1024 ranges: the rest is not logged' said
  grep -q "out: damaged: $((1100 * 512)) bytes in more than 1024 ranges are zeros" said
}

@test "damage: FUSE, EIO: what comes before is read, what comes behind too" {
  need_fuse
  qemu-img convert -f raw -O qcow2 "$DISK" bad.qcow2
  poke bad.qcow2 "$(l2_entry bad.qcow2 $((22 * 65536)))" '\x80\x00\x00\x00\x00\x00\x02\x00'
  "$IMGMOUNT" -r --log log bad.qcow2 mnt
  local flag
  for flag in '' iflag=direct; do
    # Reads across the damage end before it.
    run ! dd if=mnt/disk of=got bs=1M $flag
    [[ $output == *"Input/output error"* ]]
    [ "$(stat -c %s got)" -eq $((22 * 65536)) ]
    cmp -n $((22 * 65536)) got "$DISK"
    # In p1 it lies elsewhere.
    run ! dd if=mnt/p1 of=got bs=1M $flag
    [ "$(stat -c %s got)" -eq $((6 * 65536)) ]
  done
  # A direct read fails whole where the damage is first in a piece that the kernel cut; a small
  # one always ends there.
  run ! dd if=mnt/p1 iflag=direct,skip_bytes of=got bs=1M skip=$((2 * 65536))
  [ "$(stat -c %s got)" -eq 0 ] || [ "$(stat -c %s got)" -eq $((4 * 65536)) ]
  run ! dd if=mnt/p1 iflag=direct of=got bs=64k
  [ "$(stat -c %s got)" -eq $((6 * 65536)) ]
  [ "$(stat -c %s mnt/disk)" -eq "$(stat -c %s "$DISK")" ]
  cmp -i $((23 * 65536)) mnt/disk "$DISK"
  [ "$(ranges mnt/info.json)" = "$((22 * 65536)) 65536" ]
  [ "$(jq -r '.damage["reads-as"]' mnt/info.json)" = eio ]
  "$IMGMOUNT" --unmount mnt
}

@test "damage: FUSE, zeros: told once, in the log and in info.json" {
  need_fuse
  qemu-img convert -f raw -O qcow2 "$DISK" bad.qcow2
  poke bad.qcow2 "$(l2_entry bad.qcow2 $((20 * 65536)))" '\x80\x00\x00\x00\x00\x00\x02\x00'
  poke bad.qcow2 "$(l2_entry bad.qcow2 $((30 * 65536)))" '\x80\x00\x00\x00\x00\x00\x02\x00'
  expect "$DISK" $((20 * 65536)) 65536 $((30 * 65536)) 65536
  "$IMGMOUNT" -o ro,damage=zero --log log bad.qcow2 mnt
  [ "$(ranges mnt/info.json)" = '' ]
  dd if=mnt/p1 bs=4096 skip=$((4 * 16 + 3)) count=1 of=got status=none
  [ "$(ranges mnt/info.json)" = "$((20 * 65536)) 65536" ]
  cmp mnt/disk expected
  dd if=mnt/disk bs=1M iflag=direct of=got status=none
  cmp got expected
  cmp mnt/p1 <(tail -c +$((1048576 + 1)) expected | head -c 4M)
  printf '%d 65536\n' $((20 * 65536)) $((30 * 65536)) | diff - <(ranges mnt/info.json)
  [ "$(wc -l <log)" -eq 2 ]
  grep -q "bad.qcow2: damaged: 65536 bytes at disk offset $((20 * 65536)) read as zeros: table entry at 0x" log
  # It is data.
  /usr/bin/python3 -c 'import os; f = os.open("mnt/disk", os.O_RDONLY)
assert os.lseek(f, 20 * 65536, os.SEEK_DATA) == 20 * 65536'
  "$IMGMOUNT" --unmount mnt
}

@test "damage: NBD: zeros that are data, or an error; partitions too" {
  qemu-img convert -f raw -O qcow2 "$DISK" bad.qcow2
  poke bad.qcow2 "$(l2_entry bad.qcow2 $((20 * 65536)))" '\x80\x00\x00\x00\x00\x00\x02\x00'
  expect "$DISK" $((20 * 65536)) 65536
  serve bad.qcow2 --damage=zero 2>/dev/null
  nbdcopy "$(uri)" got
  cmp got expected
  nbdcopy "nbd+unix:///p1?socket=$PWD/s" got
  cmp got <(tail -c +$((1048576 + 1)) expected | head -c 4M)
  [ "$(nbdinfo --map --totals "$(uri)" | awk '{ print $1, $NF }')" = "6291456 data" ]
  stop_serving
  serve bad.qcow2 2>/dev/null
  [ "$(nbdinfo --map --totals "$(uri)" | awk '{ print $1, $NF }')" = "6291456 data" ]
  /usr/bin/python3 - "$(uri)" "$DISK" <<'END'
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
disk = open(sys.argv[2], "rb").read()
bad = 20 * 65536
for at, n in ((0, bad), (bad + 65536, len(disk) - bad - 65536)):
    assert h.pread(n, at) == disk[at:at + n]
for at, n in ((bad, 512), (bad - 1, 2), (0, len(disk)), (bad + 65535, 1)):
    try:
        h.pread(n, at)
    except nbd.Error as error:
        assert error.errno == "EIO", error
    else:
        sys.exit("%d bytes at %d were read" % (n, at))

# In chunks: all that lies before the damage, then where it is.
got, errors = bytearray(), []
def chunk(data, offset, status, error):
    if status == nbd.READ_ERROR:
        errors.append(offset)
    else:
        assert offset == 4096 + len(got) and not errors
        got.extend(data)
try:
    h.pread_structured(bad + 65536, 4096, chunk)
except nbd.Error as error:
    assert error.errno == "EIO", error
assert errors == [bad], errors
assert got == disk[4096:bad]
END
  stop_serving
}

@test "damage: zeros that were made up are never written" {
  qemu-img convert -f raw -O qcow2 "$DISK" parent.qcow2
  poke parent.qcow2 "$(l2_entry parent.qcow2 $((20 * 65536)))" '\x80\x00\x00\x00\x00\x00\x02\x00'
  "$IMGMOUNT" --nbd -t --fork --pid-file pid -k "$PWD/s" --overlay over.qcow2 --damage=zero parent.qcow2 2>/dev/null
  /usr/bin/python3 - "$(uri)" <<'END'
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
bad = 20 * 65536
assert h.pread(65536, bad) == bytes(65536)
for at, n in ((bad + 4096, 4096), (bad - 4096, 8192), (bad, 65536 - 512)):
    try:
        h.pwrite(b"x" * n, at)
    except nbd.Error as error:
        assert error.errno == "EIO", error
    else:
        sys.exit("%d bytes were written at %d" % (n, at))
assert h.pread(65536, bad) == bytes(65536)
h.pwrite(b"y" * 4096, bad + 65536)
h.pwrite(b"z" * 65536, bad)
assert h.pread(65536, bad) == b"z" * 65536
h.flush()
END
  stop_serving
  qemu-img check -q over.qcow2
  expect "$DISK"
  head -c 65536 /dev/zero | tr '\0' z | dd of=expected bs=64k seek=20 conv=notrunc status=none
  head -c 4096 /dev/zero | tr '\0' y | dd of=expected bs=64k seek=21 conv=notrunc status=none
  qemu-img convert -O raw over.qcow2 got
  cmp got expected
}

@test "damage: bad sectors of a raw disk are zeros, sector by sector past the page cache" {
  cp "$DISK" bad.raw
  printf 'bad %d 512\nbad %d 1024\n' $((2048 * 512)) 3000000 >rules
  expect "$DISK" $((2048 * 512)) 512 $((5859 * 512)) 1536
  on_broken_disk bad.raw "$IMGMOUNT" --extract disk --damage=zero -O out bad.raw 2>said
  cmp out expected
  printf '%d %d\n' $((2048 * 512)) 512 $((5859 * 512)) 1536 | diff - <(ranges out.json)
  grep -q 'read as zeros: cannot read at offset 1048576: Input/output error' said
  run ! on_broken_disk bad.raw "$IMGMOUNT" --extract disk -O out2 bad.raw
  [[ $output == *"damaged at disk offset 1048576: cannot read at offset 1048576: Input/output error" ]]
  on_broken_disk bad.raw "$IMGMOUNT" --nbd -r -t --fork --pid-file pid -k "$PWD/s" --cache=none --damage=zero bad.raw \
    2>/dev/null || skip "no direct I/O here"
  nbdcopy "$(uri)" got
  stop_serving
  # The file system may have larger sectors.
  cmp got expected || cmp <(head -c 1048576 got) <(head -c 1048576 expected)
}

@test "damage: a bad sector below the tables costs what its entries stand for" {
  qemu-img convert -f raw -O qcow2 -o cluster_size=4k "$DISK" bad.qcow2
  local entry
  entry=$(l2_entry bad.qcow2 $((1024 * 4096)))
  printf 'bad %d 1\n' "$entry" >rules
  # The sector has 64 entries, of 4 KiB each.
  expect "$DISK" $((1024 * 4096)) $((64 * 4096))
  on_broken_disk bad.qcow2 "$IMGMOUNT" --extract disk --damage=zero -O out bad.qcow2 2>said
  cmp out expected
  [ "$(ranges out.json)" = "$((1024 * 4096)) $((64 * 4096))" ]
  grep -q "table entry at 0x$(printf %x "$entry"): L2 entry cannot be read" said
}

@test "damage: a damaged table is told from an empty one" {
  cp "$DISK" bad.raw
  echo 'bad 0 1' >rules
  on_broken_disk bad.raw "$IMGMOUNT" --list --damage=zero bad.raw >listed 2>said || :
  cat listed said
  grep -q 'Input/output error' listed said
}

@test "damage: the option takes eio and zero, once" {
  run ! "$IMGMOUNT" --list --damage=ignore "$DISK"
  [ "${lines[0]}" = "imgmount: --damage: 'ignore' is none of eio, zero" ]
  run ! "$IMGMOUNT" --list --damage=eio --damage=zero "$DISK"
  [[ $output == *"--damage is given more than once"* ]]
  run ! "$IMGMOUNT" -o damage=x "$DISK" mnt
  [[ $output == *"-o damage: 'x' is none of eio, zero"* ]]
}
