#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# docs/info.schema.json: what is printed of images of every kind keeps to it, and it refuses
# what does not.

bats_require_minimum_version 1.5.0

load crypt-helpers
load qcow2-helpers

setup() {
  IMGMOUNT=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  SCHEMA=$(realpath "$BATS_TEST_DIRNAME/../../docs/info.schema.json")
  VALIDATE=$BATS_TEST_DIRNAME/validate-json.py
  local tool
  for tool in qemu-img sfdisk jq; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
  /usr/bin/python3 -c 'import jsonschema' 2>/dev/null || skip "python3-jsonschema is not installed"
  cd "$BATS_TEST_TMPDIR"
  mkdir mnt
}

teardown() {
  while umount -l "$BATS_TEST_TMPDIR/mnt" 2>/dev/null; do :; done
}

validate() { # [--mutate] DEFINITION=FILE...
  local mutate=
  [[ $1 != --mutate ]] || { mutate=--mutate; shift; }
  /usr/bin/python3 "$VALIDATE" $mutate "$SCHEMA" "$@"
}

# All three documents of IMAGE.
valid() { # IMAGE [OPTION...]
  "$IMGMOUNT" --info --json "${@:2}" "$1" >info.json
  "$IMGMOUNT" --list --json "${@:2}" "$1" >list.json
  "$IMGMOUNT" --extract disk --damage=zero --force -O out "${@:2}" "$1" >/dev/null 2>said || { cat said; return 1; }
  validate info=info.json list=list.json extraction=out.json
}

make_gpt() { # FILE
  truncate -s 8M "$1"
  printf 'label: gpt\nstart=2048,size=2048,name=root\nstart=8192,size=100,attrs=RequiredPartition\nstart=9000,size=8\n' |
    sfdisk -q "$1"
}

@test "schema: raw, without a table, with an MBR and its chain, with a GPT" {
  truncate -s 100000 empty.raw
  valid empty.raw
  valid empty.raw -f raw --offset 512 --size 1024
  [ "$(jq -c .disk info.json)" = '{"offset":512,"bytes":1024}' ]
  truncate -s 8M mbr.raw
  printf 'label: dos\nstart=2048,size=2048,type=83,bootable\nstart=4096,size=12000,type=5\nstart=6144,size=100\nstart=12288,size=100\n' |
    sfdisk -q mbr.raw
  valid mbr.raw
  [ "$(jq '.partitiontable.partitions | length' list.json)" -eq 4 ]
  truncate -s 6M mbr.raw
  valid mbr.raw
  make_gpt gpt.raw
  valid gpt.raw
  validate --mutate info=info.json list=list.json extraction=out.json
}

@test "schema: a GPT that is damaged or has other slots" {
  make_gpt gpt.raw
  cp gpt.raw bad.raw
  poke bad.raw 520 '\xff'
  valid bad.raw
  [ "$(jq -r .partitiontable.source list.json)" = backup ]
  cp gpt.raw bad.raw
  poke bad.raw 1200 '\xff'
  valid bad.raw
  truncate -s 4M bad.raw
  valid bad.raw
  printf 'label: gpt\ntable-length: 256\nstart=4096,size=2048\n' | sfdisk -q gpt.raw
  valid gpt.raw
  [ "$(jq -r '.partitiontable["table-length"]' list.json)" = 256 ]
}

@test "schema: qcow2 of both versions, with subclusters, a data file, a bitmap, lazy counts" {
  make_gpt gpt.raw
  local options
  for options in compat=0.10 compat=1.1 lazy_refcounts=on extended_l2=on compression_type=zstd \
    data_file=x.data data_file=x.data,data_file_raw=on; do
    rm -f x.qcow2 x.data
    qemu-img convert -f raw -O qcow2 -o "$options" gpt.raw x.qcow2
    valid x.qcow2
    [[ $options != data_file=* ]] || [ "$(jq '.chain[0].files | length' info.json)" -eq 2 ]
  done
  validate --mutate info=info.json
  rm -f x.qcow2
  qemu-img convert -f raw -O qcow2 gpt.raw x.qcow2
  qemu-img bitmap --add x.qcow2 changes
  valid x.qcow2
  validate --mutate info=info.json
}

@test "schema: chains and snapshots" {
  make_gpt gpt.raw
  qemu-img convert -f raw -O qcow2 gpt.raw base.qcow2
  qemu-img snapshot -c before base.qcow2
  qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
  valid base.qcow2
  valid base.qcow2 -l before
  valid top.qcow2
  [ "$(jq '.chain | length' info.json)" -eq 2 ]
  validate --mutate info=info.json
  valid top.qcow2 --backing=none
}

@test "schema: encrypted images" {
  make_gpt gpt.raw
  local secret=secret,id=s,data=abc
  create_encrypted -f luks --object "$secret" -o key-secret=s,iter-time=10 x.luks 8M
  valid x.luks --object "$secret"
  create_encrypted -f qcow2 --object "$secret" -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 x.qcow2 8M
  valid x.qcow2 --object "$secret"
  [ "$(jq -r '.chain[0].facts.encryption' info.json)" = luks ]
  validate --mutate info=info.json
  rm x.qcow2
  create_encrypted -f qcow2 --object "$secret" -o encrypt.format=aes,encrypt.key-secret=s x.qcow2 8M 2>/dev/null ||
    skip "this qemu-img makes no images with the legacy AES"
  valid x.qcow2 --object "$secret"
}

@test "schema: damaged images" {
  head -c 2M /dev/urandom >noise.raw
  qemu-img convert -f raw -O qcow2 noise.raw cut.qcow2
  truncate -s 1M cut.qcow2
  valid cut.qcow2
  [ "$(jq '.damage.ranges | length' out.json)" -eq 1 ]
  validate --mutate extraction=out.json
}

@test "schema: info.json of mounts: writable, read-only, with an overlay" {
  [[ $EUID == 0 && -c /dev/fuse ]] || skip "needs root and FUSE"
  make_gpt gpt.raw
  qemu-img convert -f raw -O qcow2 gpt.raw x.qcow2
  local options because
  while read -r options because; do
    "$IMGMOUNT" $options x.qcow2 mnt
    cat mnt/info.json >info.json
    "$IMGMOUNT" --unmount mnt
    validate info=info.json
    [ "$(jq -r '.["read-only-because"]' info.json)" = "$because" ]
    [ "$(jq '.["read-only"]' info.json)" = "$([[ $because == null ]] && echo false || echo true)" ]
  done <<'END'
-v null
-s null
-r --read-only
--overlay=over.qcow2 null
END
  chmod 0444 x.qcow2
  "$IMGMOUNT" x.qcow2 mnt 2>/dev/null
  [ "$(jq -r '.["read-only-because"]' mnt/info.json)" = "nobody has write permission on it" ]
  "$IMGMOUNT" --unmount mnt
}
