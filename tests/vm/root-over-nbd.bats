#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# A virtual machine whose root disk is served by imgmount --nbd.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR"
  mkdir -p tree/{bin,sbin,usr/bin,usr/sbin,dev,proc,sys,run,etc,data}
  cp "$(command -v busybox)" tree/bin/busybox
  seq 200000 >tree/data/numbers
  (cd tree && sha256sum data/numbers >etc/sums)
  mke2fs -q -t ext4 -d tree root.ext4 48M
  truncate -s 64M disk.raw
  sfdisk -q disk.raw <<<'start=2048 size=98304'
  dd if=root.ext4 of=disk.raw bs=1M seek=1 conv=notrunc status=none
  qemu-img convert -O qcow2 -c disk.raw packed.qcow2
  qemu-img convert -O qcow2 disk.raw plain.qcow2
}

setup() {
  cd "$BATS_FILE_TMPDIR"
  imgmount=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  [ -x "$imgmount" ] || skip "no imgmount at $imgmount"
  server=
}

teardown() {
  [ -z "$server" ] || kill "$server"
}

# Serves IMAGE with OPTIONs on the socket "nbd".
serve() {
  rm -f server.pid
  # fd 3 is bats' own; a daemon that kept it would keep bats waiting.
  "$imgmount" --nbd --fork --pid-file "$PWD/server.pid" -t -k "$PWD/nbd" "$@" 3>&-
  server=$(cat server.pid)
}

# The server leaves by SIGTERM, and has then written everything.
end_server() {
  kill "$server"
  for _ in {1..100}; do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  ! kill -0 "$server" 2>/dev/null
  server=
}

guest() {
  "$BATS_TEST_DIRNAME/run" --disk "nbd:unix:$PWD/nbd$1" --root /dev/vda1 -
}

@test "boots from a compressed qcow2, read-only below the guest's own overlay" {
  local before
  before=$(sha256sum packed.qcow2)
  serve -r packed.qcow2
  run -0 guest ,snapshot <<'GUEST'
set -e
sha256sum -c /etc/sums
echo "booted from $(awk '$2 == "/" { print $1 }' /proc/mounts)"
echo more >/data/more
sync
GUEST
  [[ $output == *"data/numbers: OK"* ]]
  [[ $output == *"booted from /dev/vda1"* ]]
  [ "$(sha256sum packed.qcow2)" = "$before" ]
}

# Boots from IMAGE of FORMAT, writable, and finds in the file what the guest wrote.
boots_and_keeps() {
  local image=$1 format=$2
  serve -f "$format" "$image" 2>messages
  ! grep 'this version does not write' messages || skip "$format is not written yet"
  run -0 guest '' <<'GUEST'
set -e
mkdir /data/new
seq 50000 >/data/new/file
sync
mount -o remount,ro /
GUEST
  end_server
  [ "$format" = raw ] || qemu-img check -q "$image"
  qemu-img convert -f "$format" -O raw "$image" after.raw
  dd if=after.raw of=after.ext4 bs=1M skip=1 count=48 status=none
  e2fsck -fn after.ext4
  cmp <(debugfs -R 'cat /data/new/file' after.ext4 2>/dev/null) <(seq 50000)
}

@test "boots from a raw disk and keeps what the guest writes" {
  boots_and_keeps disk.raw raw
}

@test "boots from a plain qcow2 and keeps what the guest writes" {
  boots_and_keeps plain.qcow2 qcow2
}

@test "a served partition is the root disk itself" {
  serve -r -P 1 packed.qcow2
  run -0 "$BATS_TEST_DIRNAME/run" --disk "nbd:unix:$PWD/nbd,snapshot" --root /dev/vda - \
    <<<'sha256sum -c /etc/sums'
  [[ $output == *"data/numbers: OK"* ]]
}
