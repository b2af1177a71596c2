#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Partition tables as the Linux kernel sees them, against what imgmount lists.

bats_require_minimum_version 1.5.0

# An empty image NAME, 64 MiB.
blank() {
  truncate -s "${2:-64M}" "$1.img"
}

# Puts the bytes (printf's escapes) at OFFSET of an image.
poke() {
  printf "$3" | dd of="$1.img" bs=1 seek="$2" conv=notrunc status=none
}

dos() {
  blank "$1"
  sfdisk -q "$1.img" <<<"$2"
}

# A table made by fdisk on sectors of SIZE bytes; parts of one MiB, two MiB, …
with_sectors() {
  blank "$1"
  fdisk -b "$2" -w always "$1.img" <<<"$3" >/dev/null
}

make_mbr() {
  dos mbr-primaries $'label: dos\n1: start=2048 size=4096 type=83\n2: start=8192 size=100 type=c
4: start=10001 size=777 type=82 bootable'
  dos mbr-order $'label: dos\n1: start=20000 size=50\n2: start=10000 size=50\n3: start=2048 size=9'
  dos mbr-past-end $'label: dos\n1: start=2048 size=4096\n2: start=65536 size=65536'
  truncate -s 48M mbr-past-end.img
  dos mbr-beyond $'label: dos\n1: start=2048 size=4096\n2: start=65536 size=1024
3: start=8192 size=2048'
  truncate -s 16M mbr-beyond.img
  printf 'label: dos\n1: start=2048 size=100000 type=%s\n' 5 >mbr-logicals.txt
  printf '2: start=110000 size=64\n' >>mbr-logicals.txt
  for i in {5..16}; do printf '%s: size=%s\n' "$i" $((i * 64)); done >>mbr-logicals.txt
  dos mbr-logicals "$(cat mbr-logicals.txt)"
  make_empty_link
  make_nested
}

# Sector of the boot record that describes logical partition N of IMAGE.
record_of() {
  sfdisk -d "$1.img" | sed -n "s/^[^ ]*img$2 : start= *\([0-9]*\).*/\1/p" |
    awk '{ print $1 - 2048 }'
}

# Partition 7 is taken out of its link, which stays: those behind it move up by one.
make_empty_link() {
  cp mbr-logicals.img mbr-empty-link.img
  poke mbr-empty-link $(($(record_of mbr-logicals 7) * 512 + 446)) \
    '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
}

# The container and each link of a type of their own.
make_nested() {
  cp mbr-logicals.img mbr-extended-0f.img
  poke mbr-extended-0f 450 '\x0f'
  cp mbr-logicals.img mbr-extended-85.img
  poke mbr-extended-85 450 '\x85'
  poke mbr-extended-85 $((2048 * 512 + 466)) '\x0f'
  poke mbr-extended-85 $(($(record_of mbr-logicals 6) * 512 + 466)) '\x85'
  blank mbr-parted
  parted -s mbr-parted.img mklabel msdos mkpart primary 1MiB 5MiB \
    mkpart extended 8MiB 60MiB mkpart logical 10MiB 20MiB mkpart logical 30MiB 40MiB
}

make_gpt() {
  blank gpt-slots
  sgdisk -n 1:2048:+1M -n 5:8192:+2M -c 5:five -n 128:40000:+3M gpt-slots.img >/dev/null
  blank gpt-hybrid
  sgdisk -n 1:2048:+1M -n 2:8192:+2M -n 3:20000:+4M gpt-hybrid.img >/dev/null
  sgdisk -h 1:3 gpt-hybrid.img >/dev/null
  blank gpt-parted
  parted -s gpt-parted.img mklabel gpt mkpart a 1MiB 3MiB mkpart b 3MiB 7MiB \
    mkpart c 20MiB 40MiB rm 2
  blank gpt-entries
  sgdisk -S 256 -n 200:4096:+1M -n 3:8192:+2M gpt-entries.img >/dev/null
  cp gpt-slots.img gpt-backup-only.img
  dd if=/dev/zero of=gpt-backup-only.img bs=512 seek=1 count=33 conv=notrunc status=none
  # A GPT whose protective MBR gave way to a table of another program.
  cp gpt-slots.img gpt-stale.img
  dos stale $'label: dos\n1: start=2048 size=4096'
  dd if=stale.img of=gpt-stale.img bs=512 count=1 conv=notrunc status=none
  rm stale.img
}

make_sectors() {
  with_sectors mbr-4096 4096 $'o\nn\np\n1\n256\n+1M\nn\ne\n2\n2048\n+20M\nn\nl\n\n+2M\nn\nl\n\n+3M\nw'
  with_sectors gpt-4096 4096 $'g\nn\n1\n256\n+1M\nn\n3\n2048\n+2M\nw'
  with_sectors gpt-2048 2048 $'g\nn\n2\n512\n+1M\nn\n4\n4096\n+2M\nw'
}

make_without() {
  blank none-zeros
  blank none-fat
  mkfs.fat none-fat.img >/dev/null
  blank none-ext4
  mke2fs -q -t ext4 none-ext4.img
  dos none-protective $'label: dos\n1: start=1 size=131071 type=ee'
}

# A disklabel in slice 1 (2048, 40960 sectors) and one logical partition: slots a and b
# of it have types; c is the slice, and d the disk.
bsd_in() {
  dos "$1" $'label: dos\n1: start=2048 size=40960 type='"$2"$'
2: start=45056 size=40000 type=5\n5: start=47104 size=5000 type=83'
  printf 'b\ny\nn\na\n\n+4M\nn\nb\n\n+6M\nw\nr\nw\n' | fdisk "$1.img" >/dev/null
  poke "$1" $((2049 * 512 + 160)) '\x07'
  poke "$1" $((2049 * 512 + 176)) '\x01'
}

make_others() {
  blank sun-sfdisk
  sfdisk -q sun-sfdisk.img <<<$'label: sun\n1: start=0,size=32130,type=83\n4: start=32130,size=48195'
  blank sun-parted
  parted -s sun-parted.img mklabel sun mkpart ext2 1MiB 20MiB mkpart ext2 20MiB 30MiB
  blank sgi-sfdisk
  sfdisk -q sgi-sfdisk.img <<<$'label: sgi\n1: start=16065,size=32130,type=83\n3: start=48195,size=9000'
  blank sgi-parted
  parted -s sgi-parted.img mklabel dvh mkpart primary ext2 5MiB 20MiB mkpart primary ext2 20MiB 50MiB
  blank mac-parted
  parted -s mac-parted.img mklabel mac mkpart one ext2 1MiB 20MiB mkpart two hfs 30MiB 40MiB
  blank atari-parted
  parted -s atari-parted.img mklabel atari mkpart primary 1MiB 10MiB mkpart extended 10MiB 60MiB \
    mkpart logical 11MiB 20MiB mkpart logical 30MiB 40MiB
  bsd_in bsd-freebsd a5
  bsd_in bsd-openbsd a6
  # Counted from the slice: all slots 2048 less, and c begins at 0.
  cp bsd-freebsd.img bsd-relative.img
  poke bsd-relative $((2049 * 512 + 152)) '\x00\x00\x00\x00'
  poke bsd-relative $((2049 * 512 + 168)) '\x01\x30\x00\x00'
  poke bsd-relative $((2049 * 512 + 184)) '\x00\x00\x00\x00'
}

# Sector size that an image is made for.
sector_of() {
  case $1 in
    *-4096) echo 4096 ;;
    *-2048) echo 2048 ;;
    *) echo 512 ;;
  esac
}

# Boots once with the named images as disks; NAME.kernel has lines "number start size" in
# units of 512 bytes.
ask_kernel() {
  local append=$1 disks=() name letter
  shift
  for name in "$@"; do
    disks+=(--disk "$name.img,ro,sector=$(sector_of "$name")")
  done
  "$BATS_TEST_DIRNAME/run" "${disks[@]}" --append "$append" - >listing <<'GUEST'
while read -r _ _ _ name; do
  for dir in /sys/block/*/"$name"; do
    [ ! -e "$dir/partition" ] ||
      echo "${dir#/sys/block/}" $(cat "$dir/partition" "$dir/start" "$dir/size")
  done
done </proc/partitions
GUEST
  for letter in {a..z}; do
    [ $# -gt 0 ] || break
    sed -n "s,^vd$letter/[^ ]* ,,p" listing | sort -n >"$1.kernel"
    shift
  done
  [ $# -eq 0 ]
}

setup_file() {
  cd "$BATS_FILE_TMPDIR"
  make_mbr
  make_gpt
  make_sectors
  make_others
  make_without
  # Only when told so does the kernel look for the backup, and then it asks for no
  # protective MBR either: so that image is seen by a kernel of its own.
  mv gpt-backup-only.img gpt-backup-only
  local images=(*.img)
  images=("${images[@]%.img}")
  mv gpt-backup-only gpt-backup-only.img
  ask_kernel '' "${images[@]:0:20}"
  ask_kernel '' "${images[@]:20}"
  ask_kernel gpt gpt-backup-only
}

setup() {
  cd "$BATS_FILE_TMPDIR"
  imgmount=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  [ -x "$imgmount" ] || skip "no imgmount at $imgmount"
}

# Lines as in NAME.kernel, of what imgmount hands out as pN; the table's own start and the
# byte offset must say the same.
listed() {
  local opts=()
  # Nothing in an MBR tells its sectors' size; a GPT is found.
  [[ $1 != mbr-4096 ]] || opts=(--sector-size 4096)
  "$imgmount" --list --json "${opts[@]}" "$1.img" >"$1.json"
  jq -r '.partitiontable.sectorsize as $sector
    | (.partitiontable.partitions // [])[] | select(.file)
    | if .start * $sector == .offset then . else error("start and offset differ") end
    | [(.file | ltrimstr("p")), .offset / 512, .bytes / 512] | join(" ")' "$1.json" | sort -n
}

# The kernel gives an extended partition a node of one or two sectors' size, for boot
# loaders; imgmount gives none.
without_containers() {
  awk -v most=$(($2 > 1024 ? $2 / 512 : 2)) '!($1 <= 4 && $3 <= most)' "$1"
}

compare() {
  local sector
  sector=$(sector_of "$1")
  diff -u <(without_containers "$1.kernel" "$sector") <(listed "$1")
}

# So that an empty table is no agreement.
count_is() {
  [ "$(wc -l <"$1.kernel")" -eq "$2" ]
}

@test "mbr: primaries with an empty slot" { count_is mbr-primaries 3; compare mbr-primaries; }
@test "mbr: primaries out of order" { count_is mbr-order 3; compare mbr-order; }
@test "mbr: a partition past the disk's end" { count_is mbr-past-end 2; compare mbr-past-end; }
@test "mbr: a partition wholly beyond the disk" { count_is mbr-beyond 2; compare mbr-beyond; }
@test "mbr: twelve logicals" { count_is mbr-logicals 14; compare mbr-logicals; }
@test "mbr: an empty link takes no number" { count_is mbr-empty-link 13; compare mbr-empty-link; }
@test "mbr: extended of type 0f" { count_is mbr-extended-0f 14; compare mbr-extended-0f; }
@test "mbr: extended of type 85, links of 0f and 85" { count_is mbr-extended-85 14; compare mbr-extended-85; }
@test "mbr: made by parted" { count_is mbr-parted 4; compare mbr-parted; }
@test "mbr: sectors of 4096 bytes" { count_is mbr-4096 4; compare mbr-4096; }
@test "gpt: slots 1, 5 and 128" { count_is gpt-slots 3; compare gpt-slots; }
@test "gpt: hybrid" { count_is gpt-hybrid 3; compare gpt-hybrid; }
@test "gpt: made by parted, one removed" { count_is gpt-parted 2; compare gpt-parted; }
@test "gpt: 256 entries" { count_is gpt-entries 2; compare gpt-entries; }
@test "gpt: sectors of 4096 bytes" { count_is gpt-4096 2; compare gpt-4096; }
@test "gpt: sectors of 2048 bytes" { count_is gpt-2048 2; compare gpt-2048; }
@test "gpt: primary destroyed" { count_is gpt-backup-only 3; compare gpt-backup-only; }
@test "gpt: stale, with a plain MBR" { count_is gpt-stale 1; compare gpt-stale; }
@test "sun: made by sfdisk" { count_is sun-sfdisk 2; compare sun-sfdisk; }
@test "sun: made by parted, with the whole disk" { count_is sun-parted 3; compare sun-parted; }
@test "sgi: made by sfdisk" { count_is sgi-sfdisk 2; compare sgi-sfdisk; }
@test "sgi: made by parted, with the whole disk" { count_is sgi-parted 4; compare sgi-parted; }
@test "apple: made by parted" { count_is mac-parted 6; compare mac-parted; }
@test "atari: made by parted, with a chain" { count_is atari-parted 3; compare atari-parted; }
@test "bsd: slices of FreeBSD after the logical ones" { count_is bsd-freebsd 5; compare bsd-freebsd; }
@test "bsd: slices of OpenBSD after the logical ones" { count_is bsd-openbsd 5; compare bsd-openbsd; }
@test "bsd: slots counted from the slice" { count_is bsd-relative 5; compare bsd-relative; }
@test "no table: protective MBR alone" { count_is none-protective 0; compare none-protective; }
@test "no table: zeros" { count_is none-zeros 0; compare none-zeros; }
@test "no table: FAT boot sector" { count_is none-fat 0; compare none-fat; }
@test "no table: ext4" { count_is none-ext4 0; compare none-ext4; }
