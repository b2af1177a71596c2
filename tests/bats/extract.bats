#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# --extract and --gaps: what is copied out, its digests, and what is refused.

bats_require_minimum_version 1.5.0

load fuse-helpers

setup_file() {
  export DISK="$BATS_FILE_TMPDIR/disk.img"
  truncate -s 64M "$DISK"
  printf 'label: dos\nstart=2048,size=40000,type=83\nstart=45056,size=20000,type=5\nstart=47104,size=8000,type=83\nstart=60000,size=5000,type=7\n' |
    sfdisk -q "$DISK"
  head -c 10000000 /dev/urandom | dd of="$DISK" bs=512 seek=2048 conv=notrunc status=none
  head -c 4000000 /dev/urandom | dd of="$DISK" bs=512 seek=47104 conv=notrunc status=none
  truncate -s +100 "$DISK"
  qemu-img convert -f raw -O qcow2 -c "$DISK" "$BATS_FILE_TMPDIR/disk.qcow2"
}

setup() {
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  IMGMOUNT=$(realpath "$IMGMOUNT")
  cd "$BATS_TEST_TMPDIR"
  LOOPS=()
}

teardown() {
  ! mountpoint -q mnt 2>/dev/null || umount -l mnt
  ((${#LOOPS[@]} == 0)) || loop_down
}

# part START SECTORS: those of the disk.
part() {
  dd if="$DISK" bs=512 skip="$1" count="$2" status=none
}

@test "extract: each partition equals dd, sparse, with digests that sha256sum takes" {
  for n in 1:2048:40000 5:47104:8000 6:60000:5000; do
    IFS=: read -r p start size <<<"$n"
    "$IMGMOUNT" --extract "p$p" -O "p$p.dd" "$DISK" >sums
    cmp "p$p.dd" <(part "$start" "$size")
    grep '^SHA256 ' sums | sha256sum --check --status
    grep '^SHA1 ' sums | sha1sum --check --status
    grep '^MD5 ' sums | md5sum --check --status
  done
  (($(stat -c %b p1.dd) * 512 < 12000000))
}

@test "extract: the disk of a compressed image, sparse" {
  "$IMGMOUNT" --extract disk -O out.dd "$BATS_FILE_TMPDIR/disk.qcow2" >sums
  cmp -n "$(stat -c %s "$DISK")" out.dd "$DISK"
  (($(stat -c %b out.dd) * 512 < 20000000))
  [ "$(awk '/^SHA256/ { print $NF }' sums)" = "$(sha256sum <out.dd | cut -d ' ' -f 1)" ]
}

@test "extract: FILE.json says where from, what, and the digests" {
  "$IMGMOUNT" --extract p5 -O p5.dd "$DISK"
  [ "$(jq -r .extracted p5.dd.json)" = p5 ]
  [ "$(jq -r .file p5.dd.json)" = "$PWD/p5.dd" ]
  [ "$(jq -r .path p5.dd.json)" = "$DISK" ]
  [ "$(jq .offset p5.dd.json)" = $((47104 * 512)) ]
  [ "$(jq .bytes p5.dd.json)" = $((8000 * 512)) ]
  [ "$(jq -r .digests.sha256 p5.dd.json)" = "$(sha256sum <p5.dd | cut -d ' ' -f 1)" ]
  [ "$(jq -r .digests.md5 p5.dd.json)" = "$(md5sum <p5.dd | cut -d ' ' -f 1)" ]
  jq -e '.ended >= .begun and (.ended | test("Z$"))' p5.dd.json
}

@test "extract: standard output, the digests apart" {
  "$IMGMOUNT" --extract p1 -O - --digest sha256 "$DISK" 2>sums | cmp - <(part 2048 40000)
  [ "$(cat sums)" = "SHA256 (-) = $(part 2048 40000 | sha256sum | cut -d ' ' -f 1)" ]
  [ "$("$IMGMOUNT" --extract p1 -O - --digest none "$DISK" 2>&1 >/dev/null)" = '' ]
}

@test "extract: what is there is refused, replaced with --force, and never half" {
  echo precious >out.dd
  run ! "$IMGMOUNT" --extract p1 -O out.dd "$DISK"
  [[ $output == *"out.dd: is there already"* ]]
  [ "$(cat out.dd)" = precious ]
  run ! "$IMGMOUNT" --extract p9 --force -O out.dd "$DISK"
  [[ $output == *"no 'p9' (there are: disk, p1, p5, p6, gaps/0-2048, "* ]]
  [ "$(cat out.dd)" = precious ]
  "$IMGMOUNT" --extract p1 --force -O out.dd "$DISK"
  cmp out.dd <(part 2048 40000)
  rm out.dd
  run ! "$IMGMOUNT" --extract p1 -O out.dd "$DISK"
  [[ $output == *"out.dd.json: is there already"* ]]
  [ ! -e out.dd ]
}

@test "extract: what is being read is never written over, by whatever name" {
  cp "$DISK" image
  qemu-img create -q -f qcow2 -b image -F raw top.qcow2
  qemu-img create -q -f qcow2 -o data_file=data.img outside.qcow2 1M
  ln -s image link
  ln image image.json
  before=$(cat image data.img top.qcow2 outside.qcow2 | sha256sum)
  local line
  while read -r line; do
    eval "set -- $line"
    run -1 "$IMGMOUNT" --extract "$1" --force -O "$2" "$3"
    [ "$output" = "imgmount: $3: $4" ] || { echo "$output"; return 1; }
  done <<'END'
p1 image image 'image: is the image itself'
p1 link image 'link: is the image itself'
p1 image top.qcow2 'image: is a parent of the image'
p1 image image 'image: is the image itself'
disk data.img outside.qcow2 'data.img: is a data file of the image'
disk outside.qcow2 outside.qcow2 'outside.qcow2: is the image itself'
END
  rm image.json
  mv image image.json
  run -1 "$IMGMOUNT" --extract p1 --force -O image image.json
  [[ $output == *"image.json: is the image itself" ]]
  mv image.json image
  run -1 bash -c '"$1" --extract p1 -O - image >>image' bash "$IMGMOUNT"
  [[ $output == *"standard output: is the image itself" ]]
  if [[ $(id -u) == 0 ]]; then
    loop_up "$PWD/image"
    for pair in "$LOOP $LOOP" "$LOOP image" "image $LOOP"; do
      # shellcheck disable=SC2086 # two words
      set -- $pair
      run -1 "$IMGMOUNT" --extract p1 --force -O "$1" "$2"
      [[ $output == *": is the image itself" ]]
    done
    loop_down
  fi
  [ "$before" = "$(cat image data.img top.qcow2 outside.qcow2 | sha256sum)" ]
}

@test "extract: a device without room for all is left as it is" {
  [[ $(id -u) == 0 ]] || skip "loop devices need root"
  head -c 32M /dev/urandom >small
  before=$(sha256sum <small)
  loop_up "$PWD/small"
  run -1 "$IMGMOUNT" --extract disk --force -O "$LOOP" "$DISK"
  [[ $output == *"$LOOP: has 33554432 bytes, too few for 67108964" ]]
  [ "$before" = "$(sha256sum <small)" ]
  "$IMGMOUNT" --extract p1 --force -O "$LOOP" "$DISK"
  loop_down
  cmp <(head -c $((40000 * 512)) small) <(part 2048 40000)
}

@test "extract: what is replaced keeps its mode, and long names are no obstacle" {
  local name
  name=$(printf 'n%.0s' {1..250})
  touch "$name"
  chmod 0640 "$name"
  "$IMGMOUNT" --extract p1 --force -O "$name" "$DISK"
  [ "$(stat -c %a "$name")" = 640 ]
  cmp "$name" <(part 2048 40000)
}

@test "extract: the sums of files with odd names are checked as well" {
  local name
  for name in $'two\nlines' 'back\\slash' $'return\r'; do
    "$IMGMOUNT" --extract p1 -O "$name" --digest sha256 "$DISK" >sums
    sha256sum --check --strict sums
  done
}

@test "extract: a stream without a reader, or with one that sleeps, is waited for, and that can be ended" {
  local target end
  mkfifo absent asleep
  exec 8<>asleep
  for target in absent asleep -; do
    if [[ $target == - ]]; then
      "$IMGMOUNT" --extract disk -O - "$DISK" 2>err >&8 3>&- &
    else
      "$IMGMOUNT" --extract disk -O $target "$DISK" 2>err 3>&- 8>&- &
    fi
    pid=$!
    sleep 0.5
    kill -0 "$pid"
    kill -INT "$pid"
    timeout 20 tail -s 0.02 --pid="$pid" -f /dev/null
    end=0
    wait "$pid" || end=$?
    [ "$end" -eq 1 ]
    grep -q ': interrupted$' err
  done
  exec 8<&-
  (sleep 0.3; exec cat absent >copy) 3>&- &
  "$IMGMOUNT" --extract disk -O absent --digest none "$DISK"
  wait $!
  cmp copy "$DISK"
}

@test "extract: a disk that fills up is an error, and nothing is left" {
  [[ $(id -u) == 0 ]] || skip "mounting needs root"
  mkdir mnt
  mount -t tmpfs -o size=2M tmpfs mnt
  run ! "$IMGMOUNT" --extract p1 -O mnt/out.dd "$DISK"
  [[ $output == *"mnt/out.dd: No space left on device"* ]]
  [ "$(ls mnt)" = '' ]
  run ! "$IMGMOUNT" --extract p1 -O /dev/full "$DISK"
}

@test "extract: damage is an error that says where" {
  cp "$BATS_FILE_TMPDIR/disk.qcow2" bad.qcow2
  l1=$(od -An -j 40 -N 8 -t u8 --endian=big bad.qcow2 | tr -d ' ')
  l2=$(od -An -j "$l1" -N 8 -t u8 --endian=big bad.qcow2 | tr -d ' ')
  l2=$((l2 & 0xffffffffffff))
  printf '\x80\x00\x00\x00\x00\x00\x02\x00' | dd of=bad.qcow2 bs=1 seek=$((l2 + 20 * 8)) conv=notrunc status=none
  run ! "$IMGMOUNT" --extract disk -O out.dd bad.qcow2
  [ "${#lines[@]}" -eq 1 ]
  [ ! -e out.dd ]
  [ "$(ls)" = bad.qcow2 ]
}

@test "extract: interrupted, nothing is left" {
  truncate -s 1T big.img
  "$IMGMOUNT" --extract disk -O out.dd big.img 2>err &
  pid=$!
  sleep 1
  kill -TERM "$pid"
  if wait "$pid"; then false; fi
  grep -q interrupted err
  [ ! -e out.dd ]
}

@test "gaps: with the partitions they are the whole disk, once" {
  [[ $(id -u) == 0 ]] || skip "mounting needs root"
  mkdir mnt
  "$IMGMOUNT" -r --gaps "$DISK" mnt
  python3 - mnt "$DISK" <<'PY'
import os, sys
mnt, disk = sys.argv[1:]
parts = []
for name in os.listdir(mnt + "/gaps"):
    first, sectors = map(int, name.split("-"))
    path = f"{mnt}/gaps/{name}"
    size = os.path.getsize(path)
    assert (size + 511) // 512 == sectors, name
    parts.append((first * 512, path))
for n, first in ((1, 2048), (5, 47104), (6, 60000)):
    parts.append((first * 512, f"{mnt}/p{n}"))
with open(disk, "rb") as f:
    whole = f.read()
at = 0
for offset, path in sorted(parts):
    assert offset == at, path
    with open(path, "rb") as f:
        data = f.read()
    assert whole[at : at + len(data)] == data, path
    at += len(data)
assert at == len(whole)
PY
  "$IMGMOUNT" --unmount mnt
  "$IMGMOUNT" --extract gaps/0-2048 -O gap "$DISK"
  cmp gap <(part 0 2048)
}

@test "extract: options that contradict each other are refused" {
  run ! "$IMGMOUNT" --extract p1 "$DISK"
  [[ $output == *"needs --output"* ]]
  run ! "$IMGMOUNT" --list -O x "$DISK"
  run ! "$IMGMOUNT" --extract p1 -O x --digest md4 "$DISK"
  [[ $output == *"'md4' is none of"* ]]
  run ! "$IMGMOUNT" --extract p1 -O x --digest '' "$DISK"
  [[ $output == *"'' is none of"* ]]
}
