#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Image locks, both ways: QEMU's programs hold an image and imgmount wants it, and the other
# way round; parents and overlays too.

bats_require_minimum_version 1.5.0

setup() {
  IMGMOUNT=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  local tool
  for tool in qemu-img qemu-io qemu-nbd qemu-storage-daemon; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
  cd "$BATS_TEST_TMPDIR"
  mkdir mnt
  HOLDER=
  qemu-img create -q -f raw a.raw 1M
  qemu-img create -q -f qcow2 a.qcow2 1M
  qemu-img create -q -f qcow2 -b a.raw -F raw child.qcow2
}

teardown() {
  [ -z "$HOLDER" ] || kill -9 "$HOLDER" 2>/dev/null || :
  [ ! -s pid ] || kill -9 "$(cat pid)" 2>/dev/null || :
  umount -l "$BATS_TEST_TMPDIR/mnt" 2>/dev/null || :
}

locked() { grep -q ":$(stat -c %i "$1") " /proc/locks; }

# Waits until CONDITION..., which shall come true soon.
await() {
  local i
  for ((i = 0; i < 500; i++)); do
    ! "$@" || return 0
    sleep 0.02
  done
  echo "never: $*"
  return 1
}

# A program of QEMU opens IMAGE and keeps it until release.
hold() { # PROGRAM write|read IMAGE
  local format=${3##*.} access=()
  rm -f q opened
  : >opened
  case $1-$2 in
    qemu-io-read | qemu-nbd-read) access=(-r) ;;
  esac
  case $1 in
    qemu-io)
      # Its input stays open for as long as the test runs.
      [ -p input ] || { mkfifo input; exec 9<>input; }
      qemu-io "${access[@]}" -f "$format" "$3" <input >opened 2>&1 3>&- 9>&- &
      echo 'read 0 512' >&9
      ;;
    qemu-nbd) qemu-nbd "${access[@]}" -t -k "$PWD/q" -f "$format" "$3" 3>&- & ;;
    qemu-storage-daemon)
      local read_only=$([[ $2 == read ]] && echo on || echo off)
      local writable=$([[ $2 == read ]] && echo off || echo on)
      qemu-storage-daemon \
        --blockdev "driver=file,node-name=f,filename=$3,read-only=$read_only" \
        --blockdev "driver=$format,node-name=d,file=f,read-only=$read_only" \
        --nbd-server addr.type=unix,addr.path="$PWD/q" \
        --export type=nbd,id=e,node-name=d,name=d,writable=$writable 3>&- &
      ;;
  esac
  HOLDER=$!
  await opened || return 1
  ! gone && locked "$3"
}

# The holder has the image, or has given up.
opened() { grep -q 'read 512/512' opened || [ -S q ] || gone; }

release() {
  kill "$HOLDER"
  await gone
  HOLDER=
}

gone() { ! kill -0 "$HOLDER" 2>/dev/null; }

# Opens IMAGE as OPTION... say, both through NBD and as a mount where there is FUSE, and lets
# it go again.  `said` has the messages.
try() { # IMAGE [OPTION...]
  local image=$1 status=0
  shift
  : >said
  if "$IMGMOUNT" --nbd --fork -t --pid-file "$PWD/try" -k "$PWD/t" "$@" "$image" 2>>said 3>&-; then
    kill "$(cat try)"
    await free try
  else
    status=1
  fi
  [ "$EUID" -eq 0 ] && [ -c /dev/fuse ] || return "$status"
  if "$IMGMOUNT" "$@" "$image" mnt 2>>said 3>&-; then
    "$IMGMOUNT" --unmount mnt
    [ "$status" -eq 0 ] || { echo "the mount was allowed"; return 2; }
  else
    [ "$status" -eq 1 ] || { echo "the mount was refused"; return 2; }
  fi
  return "$status"
}

free() { [ ! -e "$1" ]; }

allowed() {
  try "$@" || { echo "refused: $*"; cat said; return 1; }
}

refused() {
  local status=0
  try "$@" || status=$?
  [ "$status" -eq 1 ] || { echo "allowed: $*"; return 1; }
  # One line each, about the lock, with the image's name in front.
  run ! grep -v "^imgmount: $1: .*is in use: another process " said
}

PROGRAMS='qemu-io qemu-nbd qemu-storage-daemon'

@test "lock: what QEMU writes is refused in every mode but -U, and -U writes nothing" {
  for program in $PROGRAMS; do
    for image in a.raw a.qcow2; do
      hold "$program" write "$image"
      refused "$image"
      refused "$image" -r
      refused "$image" -s
      refused "$image" --overlay o.qcow2
      [ ! -e o.qcow2 ]
      allowed "$image" -r -U
      allowed "$image" -U
      grep -q "$image: exported read-only: -U" said
      allowed "$image" -U -s
      release
    done
  done
}

@test "lock: what QEMU reads may be read, and written to an overlay" {
  for program in $PROGRAMS; do
    for image in a.raw a.qcow2; do
      hold "$program" read "$image"
      # qemu-io shares a raw image with writers.
      [[ $program-$image == qemu-io-a.raw ]] || refused "$image"
      allowed "$image" -r
      allowed "$image" -s
      allowed "$image" --overlay o.qcow2
      rm o.qcow2
      allowed "$image" -U
      release
    done
  done
}

@test "lock: a parent that somebody writes is refused by its name" {
  for program in $PROGRAMS; do
    hold "$program" write a.raw
    for option in -v -r -s --overlay=o.qcow2; do
      refused child.qcow2 "$option"
      grep -q 'backing file .*/a.raw: is in use' said
    done
    [ ! -e o.qcow2 ]
    allowed child.qcow2 -r -U
    release
    hold "$program" read a.raw
    allowed child.qcow2
    release
  done
}

@test "lock: an overlay that somebody has open is refused" {
  "$IMGMOUNT" --nbd --fork --pid-file "$PWD/pid" -k "$PWD/s" --overlay o.qcow2 a.raw 3>&-
  kill "$(cat pid)"
  await free pid
  for program in $PROGRAMS; do
    for access in read write; do
      hold "$program" $access o.qcow2
      refused a.raw --overlay o.qcow2
      grep -q 'a.raw: overlay o.qcow2: is in use' said
      # Not even -U writes it.
      refused a.raw --overlay o.qcow2 -U
      release
    done
  done
}

# imgmount opens IMAGE and keeps it until let_go.
keep() { # IMAGE [OPTION...]
  local image=$1
  shift
  "$IMGMOUNT" --nbd --fork -t -e 0 --pid-file "$PWD/pid" -k "$PWD/s" "$@" "$image" 3>&-
}

let_go() {
  kill "$(cat pid)"
  await free pid
}

# Each of QEMU's programs may do it, or none: open IMAGE for write or read.
qemu_may() { # write|read IMAGE
  local program
  for program in $PROGRAMS; do
    hold "$program" "$1" "$2" || { echo "$program may not $1 $2"; cat opened; return 1; }
    release
  done
}

qemu_may_not() { # write|read IMAGE
  local access=() format=${2##*.} read_only=off writable=on
  [[ $1 == write ]] || access=(-r) read_only=on writable=off
  run qemu-io "${access[@]}" -f "$format" -c 'read 0 512' "$2"
  [[ $output == *'Failed to get'*lock* ]] || { echo "qemu-io may $1 $2: $output"; return 1; }
  run timeout 10 qemu-nbd "${access[@]}" -k "$PWD/q" -f "$format" "$2"
  [[ $output == *'Failed to get'*lock* ]] || { echo "qemu-nbd may $1 $2: $output"; return 1; }
  run timeout 10 qemu-storage-daemon \
    --blockdev "driver=file,node-name=f,filename=$2,read-only=$read_only" \
    --blockdev "driver=$format,node-name=d,file=f,read-only=$read_only" \
    --nbd-server addr.type=unix,addr.path="$PWD/q" \
    --export "type=nbd,id=e,node-name=d,name=d,writable=$writable"
  [[ $output == *'Failed to get'*lock* ]] || { echo "qemu-storage-daemon may $1 $2: $output"; return 1; }
}

@test "lock: what imgmount writes, QEMU neither writes nor reads" {
  for image in a.raw a.qcow2; do
    keep "$image"
    qemu_may_not write "$image"
    # A reader of a raw image that shares it with writers is no harm.
    [[ $image == a.raw ]] || qemu_may_not read "$image"
    refused "$image" -r
    refused "$image"
    let_go
  done
}

@test "lock: what imgmount reads, QEMU may read and not write; with -U it may do both" {
  for image in a.raw a.qcow2; do
    for option in -r -s --overlay=o.qcow2; do
      keep "$image" "$option"
      qemu_may_not write "$image"
      qemu_may read "$image"
      refused "$image"
      allowed "$image" -r
      let_go
      rm -f o.qcow2
    done
    keep "$image" -U
    qemu_may write "$image"
    let_go
  done
}

@test "lock: parents are held against writers, and overlays against everybody" {
  for option in -v -r -s --overlay=o.qcow2; do
    keep child.qcow2 "$option"
    qemu_may_not write a.raw
    qemu_may read a.raw
    refused a.raw
    if [[ $option == --overlay* ]]; then
      qemu_may_not write o.qcow2
      qemu_may_not read o.qcow2
      run ! qemu-img info o.qcow2
      refused child.qcow2 --overlay o.qcow2
      refused o.qcow2 -r
    fi
    let_go
  done
}

@test "lock: gone after unmounting, after the end, after kill -9, and after a failure" {
  keep a.qcow2
  let_go
  run ! locked a.qcow2
  qemu_may write a.qcow2
  keep a.qcow2 --overlay o.qcow2
  kill -9 "$(cat pid)"
  await unlocked a.qcow2
  qemu_may write a.qcow2
  qemu_may write o.qcow2
  run ! "$IMGMOUNT" -P 7 a.qcow2 mnt
  run ! locked a.qcow2
  [ "$EUID" -eq 0 ] && [ -c /dev/fuse ] || skip "no FUSE for the rest"
  "$IMGMOUNT" a.qcow2 mnt 3>&-
  locked a.qcow2
  "$IMGMOUNT" --unmount mnt
  run ! locked a.qcow2
  "$IMGMOUNT" a.qcow2 mnt 3>&-
  umount mnt
  await unlocked a.qcow2
}

unlocked() { ! locked "$1"; }

@test "lock: --list and --info look at what is locked, and say so" {
  for program in $PROGRAMS; do
    hold "$program" write a.qcow2
    for form in --list --info; do
      run --separate-stderr "$IMGMOUNT" $form a.qcow2
      [ "$status" -eq 0 ]
      [[ $stderr == *"a.qcow2: another process writes to it"* ]]
    done
    release
  done
}
