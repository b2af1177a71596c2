#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Partition tables by the dozen, whole and damaged: who else lists them as we do, and
# whether the files of a mount divide the disk.

bats_require_minimum_version 1.5.0

# Who agrees: s sfdisk, b libblkid, m the Sleuth Kit; and why the others do not.
witnesses() {
  cat <<'END'
gpt-whole sbm
gpt-primary-header-crc sbm
gpt-primary-entries-crc sb        # m does not look at this checksum
gpt-backup-header-crc sbm
gpt-backup-entries-crc sbm
gpt-all-crcs m                    # s and b give up; what can be read is read
gpt-primary-gone sb               # m takes the protective MBR
gpt-primary-header-gone sb        # likewise
gpt-backup-gone sbm
gpt-both-gone s                   # the protective entry has no file; b lists none
gpt-mbr-gone m                    # s and b want a protective MBR; an intact primary will do
gpt-overlapping sbm
gpt-past-the-end s                # clipped and flagged; b leaves these out, m does not clip
gpt-backwards s                   # b and m have a length below zero
gpt-huge-numbers                  # beyond what JSON's integers have here
gpt-130-slots sbm
gpt-entries-of-256-bytes sm       # b, as the kernel, takes 128 alone
gpt-entries-of-4096-bytes s       # likewise; m misses some
gpt-4-slots sbm
gpt-names bm                      # s makes three characters of half a surrogate pair
gpt-size-of-entries-0 sb          # by the backup; m takes the protective MBR
gpt-size-of-entries-100 sb        # likewise
gpt-array-past-the-end sb         # by the backup; m takes the ranges of neither
gpt-too-many-entries sb           # by the backup
gpt-header-of-4-gib sbm
gpt-grown-disk sbm
gpt-cut-disk m                    # s and b give up
gpt-partial-sector sbm
mbr-primaries sbm
mbr-empty sbm
mbr-overlapping sbm
mbr-past-the-end sb               # m lists one that has no sector here
mbr-huge-numbers sb               # m gives up
mbr-from-sector-0 sbm
mbr-logicals sbm
mbr-forty-logicals sbm
mbr-ebr-loop bm                   # s goes round
mbr-ebr-to-itself bm              # likewise
mbr-ebr-outside sbm
mbr-ebr-past-the-end sbm
mbr-ebr-without-signature bm      # s refuses the table
mbr-logical-outside sbm
mbr-logical-overlapping sbm
mbr-logical-huge sbm
mbr-container-past-the-end sb     # m gives up
mbr-two-containers bm             # s follows one chain
random-0 sbm
random-1 sbm
random-2 sbm
random-3 sb
random-4 sbm
random-5 sbm
random-6 sm                       # b leaves out an empty entry
random-7 sbm
END
}

setup() {
  load partition-helpers
  need sfdisk python3
  export IMGMOUNT
  cd "$BATS_TEST_TMPDIR"
}

teardown() {
  mountpoint -q "$BATS_TEST_TMPDIR/mnt" && "$IMGMOUNT" --unmount "$BATS_TEST_TMPDIR/mnt"
  return 0
}

@test "tables: dozens of them, whole and damaged, are listed as others do" {
  need mmls partx
  "$BATS_TEST_DIRNAME/make-tables.py" .
  witnesses >list
  "$BATS_TEST_DIRNAME/same-tables.py" list
}

# Mounts IMAGE, and checks the files against the bytes of RAW.
check_tree() { # IMAGE [RAW]
  mkdir -p mnt
  "$IMGMOUNT" --list --json "$1" >listing
  "$IMGMOUNT" -r --gaps "$1" mnt
  "$BATS_TEST_DIRNAME/check-tree.py" "${2:-$1}" listing mnt || {
    "$IMGMOUNT" --list "$1"
    return 1
  }
  "$IMGMOUNT" --unmount mnt
}

# Every sector of IMAGE that is zeros gets its number, so that none can be taken for another.
number_sectors() { # IMAGE
  python3 - "$1" <<'END'
import sys
with open(sys.argv[1], "r+b") as f:
    data = bytearray(f.read())
    for at in range(0, len(data), 512):
        if not any(data[at : at + 512]):
            data[at : at + 512] = b"%511d\n" % at
    f.seek(0)
    f.write(data)
END
}

# As libblkid lists it, which leaves out Sun's slot for the whole disk, and Atari's containers.
same_as_blkid() { # IMAGE
  diff <(blkid_entries "$1") <(table '"\n".join("%d %d %d" % (e["number"], e["start"], e["size"])
    for e in t["partitions"] if t["label"] != "sun" or e["type-name"] != "Whole disk"
    if t["label"] != "atari" or not e["container"])' "$1")
}

@test "tables: of every scheme, pN and gaps have each byte of the disk once" {
  [ -c /dev/fuse ] || skip "no /dev/fuse"
  need parted fdisk
  "$BATS_TEST_DIRNAME/make-tables.py" .
  truncate -s 8M apple.img atari.img
  parted -s apple.img mklabel mac mkpart one ext2 1MiB 3MiB mkpart two hfs 5MiB 6MiB
  parted -s atari.img mklabel atari mkpart primary 1MiB 2MiB mkpart extended 2MiB 7MiB \
    mkpart logical 3MiB 4MiB mkpart logical 5MiB 6MiB
  # Sun's third slot is the whole disk, and so is SGI's eleventh.
  make_table sun.img 40M <<<$'label: sun\n1: start=0,size=32130,type=83\n3: start=0,size=80325,type=5\n4: start=32130,size=16065'
  truncate -s 40M sgi.img
  parted -s sgi.img mklabel dvh mkpart primary ext2 5MiB 10MiB mkpart primary ext2 20MiB 30MiB
  make_table bsd.img 8M <<<$'label: dos\n1: start=2048 size=6144 type=a5\n2: start=9216 size=4096 type=5\n5: start=11264 size=1000 type=83'
  printf 'b\ny\nn\na\n\n+1M\nn\nb\n\n+1M\nw\nr\nw\n' | fdisk bsd.img >/dev/null
  poke bsd.img $((2049 * 512 + 160)) 07
  poke bsd.img $((2049 * 512 + 176)) 01
  # An Atari container and the first one in it have one number; -P means what has a file.
  "$IMGMOUNT" --extract disk -P 2 --digest none -O - atari.img | cmp - <(tail -c +$((3 * 1048576 + 1)) atari.img | head -c 1048576)
  local image
  for image in apple atari sun sgi bsd; do
    same_as_blkid $image.img
    number_sectors $image.img
  done
  for image in apple atari sun sgi bsd gpt-whole gpt-overlapping gpt-past-the-end \
    gpt-huge-numbers gpt-cut-disk gpt-partial-sector gpt-both-gone mbr-logical-outside \
    mbr-overlapping mbr-huge-numbers mbr-two-containers mbr-from-sector-0; do
    check_tree $image.img
  done
}
