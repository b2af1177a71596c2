#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Partition tables as their usual makers write them, compared with other readers, and
# damaged one place at a time.

bats_require_minimum_version 1.5.0

setup() {
  load partition-helpers
  need sfdisk python3
  cd "$BATS_TEST_TMPDIR"
}

teardown() {
  local device
  for device in "$BATS_TEST_TMPDIR"/*.loop; do
    [ ! -e "$device" ] || losetup -d "$(<"$device")"
  done
  mountpoint -q "$BATS_TEST_TMPDIR/mnt" && "$IMGMOUNT" --unmount "$BATS_TEST_TMPDIR/mnt"
  return 0
}

# An MBR with an extended partition and twelve logical ones.
make_logicals() { # IMAGE
  {
    printf 'label: dos\nlabel-id: 0x1a2b3c4d\n'
    printf '1: start=2048, size=2048, type=83, bootable\n'
    printf '3: start=8192, size=60000, type=f\n'
    local i
    for ((i = 0; i < 12; i++)); do
      printf '%d: start=%d, size=%d, type=%s\n' $((5 + i)) $((10240 + i * 4096)) $((1000 + i)) 83
    done
  } | make_table "$1" 64M
}

make_gpt() { # IMAGE
  make_table "$1" 64M <<'END'
label: gpt
label-id: 6E1D0C1A-0000-4000-8000-00000000ABCD
1: start=2048, size=2048, type=U, name="EFI", attrs="RequiredPartition LegacyBIOSBootable GUID:63"
2: start=4096, size=4096, type=L, name="rööt/x \ €"
5: start=8192, size=1, type=L, attrs="NoBlockIOProtocol GUID:48,50"
128: start=10240, size=20480, type=S
END
}

@test "partition: an MBR by sfdisk is listed as sfdisk, libblkid and the Sleuth Kit do" {
  make_table x.img 64M <<<$'label: dos\n4: start=2048, size=2048, type=c\n2: start=8192, size=9, type=83, bootable'
  same_as_sfdisk x.img
  [ "$(our_entries x.img)" = "$(blkid_entries x.img)" ]
  need mmls
  [ "$(our_ranges x.img)" = "$(sleuthkit_ranges x.img)" ]
}

@test "partition: twelve logical partitions keep everybody's numbers" {
  make_logicals x.img
  same_as_sfdisk x.img
  [ "$(our_entries x.img)" = "$(blkid_entries x.img)" ]
  [ "$(our_entries x.img | tail -n1)" = "16 55296 1011" ]
  [ "$(table 'p[3]["container"], p[3]["file"], p[5]["source"], p[5]["level"]' x.img)" = "(True, None, 'ebr', 1)" ]
  need mmls
  [ "$(our_ranges x.img)" = "$(sleuthkit_ranges x.img)" ]
}

@test "partition: logical partitions by parted" {
  need parted
  truncate -s 64M x.img
  parted -s x.img mklabel msdos mkpart primary 1MiB 2MiB mkpart extended 2MiB 60MiB \
    mkpart logical 3MiB 4MiB mkpart logical 5MiB 9MiB mkpart logical 10MiB 11MiB rm 6 2>/dev/null
  same_as_sfdisk x.img
  [ "$(our_entries x.img)" = "$(blkid_entries x.img)" ]
}

@test "partition: a GPT with empty slots is listed as sfdisk, sgdisk, libblkid and the Sleuth Kit do" {
  make_gpt x.img
  same_as_sfdisk x.img
  [ "$(our_entries x.img)" = "$(blkid_entries x.img)" ]
  [ "$(table 't["checksums"], t["mbr"], t["warnings"]' x.img)" = \
    "({'primary': 'good', 'backup': 'good'}, 'protective', [])" ]
  need sgdisk mmls
  [ "$(our_entries x.img)" = "$(gdisk_entries x.img)" ]
  [ "$(our_ranges x.img)" = "$(sleuthkit_ranges x.img)" ]
}

@test "partition: a GPT of 128 used slots, and tables longer and shorter" {
  need sgdisk
  truncate -s 64M x.img
  local arguments=() i
  for ((i = 1; i <= 128; i++)); do arguments+=(-n "$i:$((4096 + i * 64)):+32"); done
  sgdisk -a 1 "${arguments[@]}" x.img >/dev/null
  same_as_sfdisk x.img
  [ "$(our_entries x.img | wc -l)" -eq 128 ]
  [ "$(our_entries x.img)" = "$(gdisk_entries x.img)" ]
  truncate -s 64M long.img
  sgdisk -S 256 -n 200:4096:8191 long.img >/dev/null
  same_as_sfdisk long.img
  make_table short.img 64M <<<$'label: gpt\ntable-length: 4\nsize=1M\nsize=2M'
  same_as_sfdisk short.img
}

@test "partition: disks up to 4 MiB, for which sfdisk has another grain" {
  local size label
  for size in 2M 4M 4097K; do
    for label in gpt dos; do
      make_table x.img "$size" <<<"label: $label"$'\nsize=100K'
      same_as_sfdisk x.img
    done
  done
}

@test "partition: a GPT by parted, with names" {
  need parted
  truncate -s 64M x.img
  parted -s x.img mklabel gpt mkpart first 1MiB 2MiB mkpart second ext4 3MiB 4MiB set 1 esp on
  same_as_sfdisk x.img
  [ "$(table 'p[2]["name"]' x.img)" = second ]
}

@test "partition: empty tables, and names of images that change the nodes" {
  make_table x.img 16M <<<'label: dos'
  same_as_sfdisk x.img
  make_table x9 16M <<<$'label: gpt\nsize=1M'
  same_as_sfdisk x9
  [ "$(table 'p[1]["node"]' x9)" = x9p1 ]
  mkdir "a b"
  local name
  for name in "a b/ü 7" ./x9 "$PWD/x9" "a b/disc"; do
    [ -e "$name" ] || cp x9 "$name"
    same_as_sfdisk "$name"
  done
}

@test "partition: forty random tables are what sfdisk says" {
  local seed
  for ((seed = 1; seed <= 40; seed++)); do
    python3 - "$seed" >script <<'END'
import random, sys

random.seed(int(sys.argv[1]))
gpt = random.random() < 0.5
print("label:", "gpt" if gpt else "dos")
at = 4096
used = sorted(random.sample(range(1, 60 if gpt else 4), random.randint(0, 3)))
types = ["L", "S", "U", "R"] if gpt else ["83", "82", "7", "c", "ef", "fd", "1"]
for slot in used:
    size = random.randint(1, 4000)
    line = f"{slot}: start={at}, size={size}, type={random.choice(types)}"
    if gpt and random.random() < 0.6:
        line += ', name="%s"' % "".join(random.choices("abc ü€x/'ß-", k=random.randint(1, 30)))
    names = [n for n in ("RequiredPartition", "NoBlockIOProtocol", "LegacyBIOSBootable") if random.random() < 0.3]
    bits = sorted(random.sample(range(48, 64), random.choice([0, 1, 4])))
    names += ["GUID:" + ",".join(map(str, bits))] if bits else []
    if gpt and names:
        line += ', attrs="%s"' % " ".join(names)
    if not gpt and random.random() < 0.3:
        line += ", bootable"
    print(line)
    at += size + random.choice([0, 5, 1000])
if not gpt and 4 not in used:
    print(f"4: start={at + 100}, type={random.choice(['5', 'f', '85'])}")
    at += 100
    for slot in range(5, 5 + random.randint(0, 14)):
        at += random.choice([2048, 3000])
        size = random.randint(1, 1000)
        print(f"{slot}: start={at}, size={size}, type={random.choice(types)}")
        at += size
END
    make_table x.img "$((RANDOM % 1000 + 67108864))" <script
    same_as_sfdisk x.img || {
      cat script
      return 1
    }
  done
}

@test "partition: sectors of 4096 bytes are found by themselves" {
  [ "$EUID" -eq 0 ] || skip "needs root for a loop device"
  truncate -s 64M x.img
  losetup -b 4096 -f --show x.img >x.loop || skip "no loop device with sectors of 4096 bytes"
  local device
  device=$(<x.loop)
  sfdisk --quiet --no-reread --no-tell-kernel "$device" <<<$'label: gpt\n,10M,L\n,3M,S'
  same_as_sfdisk "$device"
  local theirs
  theirs=$(sfdisk --json "$device" | python3 -c '
import json, sys
for e in json.load(sys.stdin)["partitiontable"]["partitions"]:
    print(e["node"][-1], e["start"], e["size"])')
  losetup -d "$device"
  rm x.loop
  [ "$(our_entries x.img)" = "$theirs" ]
  [ "$(table 't["sectorsize"], t["lastlba"], p[1]["offset"]' x.img)" = "(4096, 16378, 1048576)" ]
  # Without its primary header, by the backup at the end.
  wipe x.img 8 8
  [ "$(our_entries x.img)" = "$theirs" ]
  [ "$(table 't["sectorsize"], t["source"]' x.img)" = "(4096, 'backup')" ]
  # A wrong size is a wrong size.
  [ "$(table 't["label"]' --sector-size 512 x.img)" = dos ]
}

@test "partition: a primary header destroyed leaves the backup" {
  make_gpt x.img
  our_entries x.img >before
  wipe x.img 1 1
  same_as_sfdisk x.img
  our_entries x.img | diff before -
  [ "$(table 't["source"], t["checksums"], p[2]["source"]' x.img)" = \
    "('backup', {'primary': 'absent', 'backup': 'good'}, 'backup')" ]
  run -0 "$IMGMOUNT" --list x.img
  [[ $output == *"warning: GPT: no primary header at sector 1: the backup is used"* ]]
}

@test "partition: one flipped bit in header or entries is named, with both checksums" {
  make_gpt x.img
  our_entries x.img >before
  poke x.img $((512 + 56)) ff
  run -0 "$IMGMOUNT" --list x.img
  [[ $output =~ "warning: GPT: primary header's checksum is 0x"[0-9a-f]{8}", should be 0x"[0-9a-f]{8}": the backup is used" ]]
  our_entries x.img | diff before -
  make_gpt y.img
  poke y.img $((1024 + 40)) fe
  same_as_sfdisk y.img
  run -0 "$IMGMOUNT" --list y.img
  [[ $output == *"GPT: primary entries' checksum is 0x"*": the backup is used"* ]]
  our_entries y.img | diff before -
}

@test "partition: the start of a disk wiped, the backup is found; a file system there, it is not" {
  make_gpt x.img
  our_entries x.img >before
  wipe x.img 0 34
  our_entries x.img | diff before -
  need mkfs.ext4
  mkfs.ext4 -q -F x.img 40M
  run -0 "$IMGMOUNT" --list x.img
  [[ $output == *"no partition table" ]]
}

@test "partition: a hybrid MBR yields to the GPT" {
  need sgdisk
  make_gpt x.img
  our_entries x.img >before
  sgdisk -h 1:2 x.img >/dev/null
  same_as_sfdisk x.img
  our_entries x.img | diff before -
  [ "$(table 't["mbr"]' x.img)" = hybrid ]
}

@test "partition: a truncated image keeps its table, clipped and flagged" {
  make_gpt x.img
  truncate -s 10M x.img
  [ "$(table 't["label"], p[128]["flags"], p[128]["bytes"], p[2]["flags"]' x.img)" = \
    "('gpt', ['truncated'], 5242880, [])" ]
  make_logicals y.img
  truncate -s 20M y.img
  same_as_sfdisk y.img
  [ "$(table 'p[11]["flags"], p[12]["flags"], p[12]["file"]' y.img)" = \
    "([], ['past-end'], None)" ] || table 't' y.img
}

@test "partition: a chain that loops ends, and says where" {
  make_logicals x.img
  local ebr
  # The third EBR is told to go on at the first one; links count from the container.
  ebr=$("$IMGMOUNT" --list --json x.img | python3 -c '
import json, sys
p = {e["number"]: e for e in json.load(sys.stdin)["partitiontable"]["partitions"]}
print(p[7]["entry-offset"])')
  poke x.img $((ebr + 16 + 8)) 00000000
  run -0 timeout 10 "$IMGMOUNT" --list x.img
  [[ $output == *" p7 "* && $output != *" p8 "* ]]
  [[ $output == *"links to sector 8192, where the chain has been: a loop"* ]]
}

@test "partition: file systems on the whole disk are no table" {
  local maker
  for maker in "mkfs.vfat -F 16" "mkfs.vfat -F 32 -s 1" "mkfs.ext4 -q -F" "mkfs.ntfs -Q -F -q" \
    "mkfs.exfat" "mkswap -q" "mkfs.btrfs -q -f" "mkfs.xfs -q -f"; do
    command -v "${maker%% *}" >/dev/null || continue
    rm -f x.img
    truncate -s 400M x.img
    $maker x.img >/dev/null 2>&1 || continue
    run -0 "$IMGMOUNT" --list x.img
    [[ $output == *"no partition table" ]] || {
      echo "$maker: $output"
      return 1
    }
    [ "$(table 't["label"], t["partitions"]' x.img)" = "(None, [])" ]
  done
}

@test "partition: --list of the manual's example, letter by letter" {
  make_table vm.img 20G <<'END'
label: gpt
label-id: 6E1D0C1A-0000-4000-8000-00000000ABCD
start=2048, size=1048576, type=U, name="EFI"
type=L, name="root"
END
  "$IMGMOUNT" --list vm.img >listed
  diff listed - <<'END'
vm.img: 20 GiB (21474836480 bytes), 41943040 sectors of 512 bytes, GPT 6E1D0C1A-0000-4000-8000-00000000ABCD
      #     first       last    sectors      size  type              name
     p1      2048    1050623    1048576   512 MiB  EFI System        "EFI"
     p2   1050624   41940991   40890368  19.5 GiB  Linux filesystem  "root"
END
}

@test "partition: an image in another format is listed alike" {
  need qemu-img
  make_gpt x.img
  our_entries x.img >before
  qemu-img convert -f raw -O qcow2 x.img x.qcow2
  our_entries x.qcow2 | diff before -
}

@test "partition: a slice that --offset makes is looked at for a table" {
  make_gpt inner.img
  our_entries inner.img >before
  { head -c 1048576 /dev/zero && cat inner.img; } >outer.img
  our_entries --offset 1M outer.img | diff before -
}

# Each pN under FUSE is what dd cuts out of the image by the listing's numbers.
compare_files() { # IMAGE
  mkdir -p mnt
  sync "$1" # what a file occupies changes as it is written out
  "$IMGMOUNT" "$1" mnt
  cmp "$1" mnt/disk
  local file offset bytes n=0
  table '"\n".join("%s %d %d" % (e["file"], e["offset"], e["bytes"]) for e in t["partitions"] if e["file"])' \
    "$1" >files
  while read -r file offset bytes; do
    [ "$(stat -c %s "mnt/$file")" -eq "$bytes" ]
    tail -c +$((offset + 1)) "$1" | head -c "$bytes" | cmp - "mnt/$file"
    n=$((n + 1))
  done <files
  [ "$(find mnt -maxdepth 1 -name 'p*' | wc -l)" -eq "$n" ]
  "$IMGMOUNT" --info --json "$1" >info
  # Who only looks cannot write.
  diff <(grep -v '"read-only' info) <(grep -v '"read-only' mnt/info.json)
  "$IMGMOUNT" --unmount mnt
}

@test "partition: under FUSE each pN equals dd" {
  [ -c /dev/fuse ] || skip "no /dev/fuse"
  make_logicals x.img
  # Something to tell the sectors apart by.
  python3 - x.img <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    for at in range(10240 * 512, 64 << 20, 512):
        f.seek(at)
        if f.read(512) == bytes(512):
            f.seek(at)
            f.write(b"%511d\n" % at)
END
  compare_files x.img
  truncate -s 20M x.img
  compare_files x.img
  make_gpt y.img
  compare_files y.img
}

@test "partition: a first sector that cannot be read is damage, and the disk is there all the same" {
  qemu-img create -q -f qcow2 bad.qcow2 16M
  qemu-io -c 'write -P 1 0 1M' bad.qcow2 >/dev/null
  l1=$(($(od -An -j 40 -N 8 -t u8 --endian=big bad.qcow2)))
  l2=$(($(od -An -j "$l1" -N 8 -t u8 --endian=big bad.qcow2) & 0xffffffffffff))
  printf '\x80\x00\x00\x00\x00\x05\x02\x00' | dd of=bad.qcow2 bs=1 seek="$l2" conv=notrunc status=none
  run "$IMGMOUNT" --list bad.qcow2
  [ "$status" -eq 0 ]
  [[ $output == *"sector 0 cannot be read"* ]]
  "$IMGMOUNT" --extract disk --offset 64K --size 64K --digest none -O - bad.qcow2 | cmp - <(head -c 65536 /dev/zero | tr '\0' '\1')
}
