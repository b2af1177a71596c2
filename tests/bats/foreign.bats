#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Images whose format is known, but not read, are never taken for raw disks.

bats_require_minimum_version 1.5.0

setup() {
  IMGMOUNT=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  SAMPLES=$BATS_TEST_DIRNAME/../../../shared/samples
  cd "$BATS_TEST_TMPDIR" || return
}

put() { # FILE OFFSET BYTES
  printf %b "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# A disk of 1 MiB with BYTES at OFFSET is refused in one line that names FORMAT.
is_refused() { # FORMAT OFFSET BYTES
  truncate -s 0 disk.img
  truncate -s 1M disk.img
  put disk.img "$2" "$3"
  run -1 --separate-stderr "$IMGMOUNT" --info disk.img
  [ -z "$output" ]
  # shellcheck disable=SC2154 # bats sets it
  [ "${#stderr_lines[@]}" -eq 1 ]
  [ "$stderr" = "imgmount: disk.img: the signature of $1, a format that is not read; -f raw takes the file's own bytes for the disk" ]
  run -0 "$IMGMOUNT" --info -f raw disk.img
}

@test "foreign: each signature is named, and -f raw goes past it" {
  is_refused VMDK 0 KDMV
  is_refused VMDK 0 COWD
  is_refused VMDK 0 '# Disk DescriptorFile\nversion=1'
  is_refused VMDK 0 '\xbe\xba\xfe\xca\0\0\0\0'
  is_refused VDI 64 '\x7f\x10\xda\xbe'
  is_refused VHD 0 conectix
  is_refused VHD $((1048576 - 512)) conectix
  is_refused VHDX 0 vhdxfile
  is_refused Parallels 0 WithoutFreeSpace
  is_refused Parallels 0 WithouFreSpacExt
  is_refused DMG $((1048576 - 512)) 'koly\0\0\0\x04'
  is_refused QED 0 'QED\0'
  is_refused Bochs 0 'Bochs Virtual HD Image'
  is_refused cloop 0 '#!/bin/sh\n#V2.0 Format\nmodprobe cloop'
  is_refused 'EWF (E01)' 0 'EVF\x09\x0d\x0a\xff\0'
  is_refused 'EWF (L01)' 0 'LVF\x09\x0d\x0a\xff\0'
  is_refused 'EWF (Ex01)' 0 'EVF2\x0d\x0a\x81\0'
  is_refused 'EWF (Lx01)' 0 'LEF2\x0d\x0a\x81\0'
  is_refused AFF 0 'AFF10\x0d\x0a\0'
  is_refused 'sparse disk image' 0 sprs
}

@test "foreign: close is not the same, and a file too short has no signature" {
  truncate -s 1M disk.img
  put disk.img 1 KDMV
  put disk.img $((1048576 - 511)) koly
  run -0 "$IMGMOUNT" --info disk.img
  printf KDM >disk.img
  run -0 "$IMGMOUNT" --info disk.img
  printf conecti >disk.img
  run -0 "$IMGMOUNT" --info disk.img
}

@test "foreign: what QEMU makes of each format is recognised" {
  command -v qemu-img >/dev/null || skip "no qemu-img"
  local format
  for format in vmdk vdi vpc vhdx parallels qed; do
    qemu-img create -q -f "$format" "x.$format" 8M
    run -1 "$IMGMOUNT" --info "x.$format"
    [[ $output == *"x.$format: the signature of "* ]]
  done
  qemu-img create -q -f vpc -o subformat=fixed fixed.vhd 8M
  run -1 "$IMGMOUNT" --info fixed.vhd
  [[ $output == *"the signature of VHD,"* ]]
}

@test "foreign: so are those that other programs made" {
  [[ -d $SAMPLES ]] || skip "no samples here"
  local name
  for name in ext2.E01 ext2.split.E01 ext2.vhd ext2.vmdk hfsplus_zlib.dmg; do
    [[ -e $SAMPLES/$name ]] || continue
    run -1 "$IMGMOUNT" --info "$SAMPLES/$name"
    [[ $output == *"$name: the signature of "* ]] || { echo "$name: $output"; return 1; }
  done
}

@test "foreign: nobody can make a raw disk into one by writing to it" {
  command -v qemu-io >/dev/null || skip "no qemu-io"
  truncate -s 1M disk.img
  printf conectix >signature
  local uri="nbd+unix:///?socket=$PWD/s"
  "$IMGMOUNT" --nbd -t --fork --pid-file pid -k "$PWD/s" disk.img
  run qemu-io -f raw -c "write -s signature $((1048576 - 512)) 512" "$uri"
  [[ $output == *"Operation not permitted"* ]]
  kill "$(cat pid)"
  while [ -e pid ]; do sleep 0.02; done
  cmp disk.img <(head -c 1M /dev/zero)
}

@test "foreign: a parent of no recorded format is not taken for raw either" {
  command -v qemu-img >/dev/null || skip "no qemu-img"
  qemu-img create -q -f vmdk parent.vmdk 1M
  qemu-img create -q -f qcow2 -b parent.vmdk -F raw -u child.qcow2 1M
  # Without the record, which is an extension of the header: its type made unknown.
  /usr/bin/python3 - <<'END'
data = bytearray(open("child.qcow2", "rb").read())
at = data.index(bytes.fromhex("e2792aca"))
data[at:at + 4] = bytes.fromhex("12345678")
open("child.qcow2", "wb").write(data)
END
  run -1 "$IMGMOUNT" --info child.qcow2
  [[ $output == *"parent.vmdk: the signature of VMDK"* ]]
}
