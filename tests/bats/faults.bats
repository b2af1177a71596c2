#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Disks that fill up, fail, do things by halves and take their time: the client is told, the
# image stays sound, and later requests work.

bats_require_minimum_version 1.5.0

load fault-helpers
load loop-helpers

# Starts with a disk that keeps to the rules in the file of that name; none yet.
start_on_broken_disk() { # HOW IMAGE [OPTION...]
  local library=${IMGMOUNT%/src/cli/imgmount}/tests/preload/fault.so
  [[ -e $library ]] || skip "tests/preload/fault.so was not built"
  : >rules
  rm -f hit
  # A library of ours comes before that of a sanitizer, which else takes offence.
  UNDER=(env "LD_PRELOAD=$library" "FAULT_FILE=$2" FAULT_RULES=rules FAULT_LOG=hit
    "ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0")
  start "$@"
  UNDER=()
}

# ERRORs, if any, reach the client of IMAGE while the RULES hold, and none does afterwards.
survives() { # HOW IMAGE ERROR RULES...
  local how=$1 image=$2 error=$3
  shift 3
  [[ -e $image ]] || make_image "$image"
  start_on_broken_disk "$how" "$PWD/$image" --discard=unmap
  printf '%s\n' "$@" >rules
  client write "$WHERE" state 1 --seed 1 ${error:+--errors "$error"} >counts
  cat counts
  [[ -z $error || $(cat counts) != *" 0 errors" ]]
  [[ -s hit ]]
  : >rules
  client write "$WHERE" state 0.5 --seed 2
  stop
  spotless "$image"
}

@test "faults: EIO reaches the client, and the image works on" {
  survives nbd plain.qcow2 EIO 'write 20 EIO' 'zero 5 EIO' 'size 3 EIO' 'read 20 EIO'
  survives nbd packed.qcow2 EIO 'write 10 EIO' 'zero 5 EIO' 'size 3 EIO'
  survives nbd disk.raw EIO 'write 20 EIO' 'zero 5 EIO' 'read 20 EIO'
}

@test "faults: with subclusters, a data file, and counts that come late" {
  survives nbd sub.qcow2 EIO 'write 10 EIO' 'zero 5 EIO' 'size 3 EIO'
  survives nbd outside.qcow2 EIO 'write 5 EIO' 'size 2 EIO'
  survives nbd lazy.qcow2 ENOSPC 'write 15 ENOSPC' 'size 2 ENOSPC'
}

@test "faults: the same through FUSE" {
  has_fuse || skip "needs root and FUSE"
  survives fuse plain.qcow2 EIO 'write 20 EIO' 'zero 5 EIO' 'size 3 EIO' 'read 20 EIO'
  survives fuse child.qcow2 EIO 'write 10 EIO' 'zero 5 EIO' 'size 3 EIO'
  survives fuse disk.raw EIO 'write 20 EIO' 'zero 5 EIO' 'read 20 EIO'
}

@test "faults: a quota that is used up is EDQUOT, or what NBD has for it" {
  survives nbd plain.qcow2 ENOSPC 'write 15 EDQUOT' 'size 2 EDQUOT'
  ! has_fuse || survives fuse plain.qcow2 EDQUOT 'write 15 EDQUOT' 'size 2 EDQUOT'
}

@test "faults: calls that do a part of their work are gone on with, and nobody notices" {
  survives nbd plain.qcow2 '' 'write 2 short' 'read 2 short'
  survives nbd packed.qcow2 '' 'write 2 short' 'read 2 short'
  survives nbd disk.raw '' 'write 2 short' 'read 2 short'
  ! has_fuse || survives fuse child.qcow2 '' 'write 2 short' 'read 2 short'
}

@test "faults: calls that do a part and then fail, and slow ones, amid all the others" {
  survives nbd plain.qcow2 EIO,ENOSPC 'write 3 short' 'write 11 EIO' 'read 3 short' 'read 50 EIO' \
    'write 20 delay' 'sync 3 delay' 'zero 7 ENOSPC' 'size 3 ENOSPC'
  survives nbd packed.qcow2 EIO,ENOSPC 'write 3 short' 'write 11 ENOSPC' 'read 3 short' \
    'write 20 delay' 'sync 3 delay' 'zero 7 EIO' 'size 3 ENOSPC'
}

@test "faults: where the file system has no room to note a hole, zeros are written" {
  survives nbd disk.raw '' 'zero 2 ENOSPC'
  survives nbd outside.qcow2 '' 'zero 2 EDQUOT'
}

# After a failed fdatasync the kernel may have dropped what it could not write.
forgets_nothing() { # HOW IMAGE
  local status=0 worker
  make_image "$2"
  start_on_broken_disk "$1" "$PWD/$2" --discard=unmap
  rm -f state.ready
  client write "$WHERE" state 2 --seed 1 --errors EIO >counts &
  worker=$!
  until [[ -e state.ready ]]; do kill -0 "$worker"; sleep 0.01; done
  sleep 0.5
  echo 'sync 1 EIO' >rules
  wait "$worker"
  : >rules
  cat counts
  [[ $(cat counts) != *" 0 errors" ]]
  # A working disk comes too late.
  run client flush "$WHERE"
  [ "$status" -eq 1 ]
  [[ $output == *EIO* || $output == *"Input/output error"* ]]
  status=0
  stop || status=$?
  [ "$status" -eq 1 ]
  sound "$2"
  # Opened anew, it is written again.
  start "$1" "$2"
  client write "$WHERE" state 0.5 --seed 2
  stop
  sound "$2"
}

@test "faults: after a failed fdatasync flushes fail until the image is opened anew" {
  forgets_nothing nbd plain.qcow2
  forgets_nothing nbd disk.raw
  ! has_fuse || forgets_nothing fuse child.qcow2
}

# A device that has room for its first MiB, in LOOP.
make_thin() {
  [[ $EUID == 0 ]] || skip "needs root"
  mkdir -p small
  mount -t tmpfs -o size=2M,huge=never thin small
  truncate -s 16M small/device
  fallocate -l 1M -n small/device
  dd if=/dev/zero of=small/filler bs=4k status=none 2>/dev/null || :
  LOOP=$(losetup -f --show small/device) || skip "no loop devices"
}

# The kernel tells a descriptor once of what it could not write out.
@test "faults: a durable write that is told of lost ones does not hide them from flushes" {
  make_thin
  start nbd "$LOOP" -f raw
  run -0 /usr/bin/python3 - "$WHERE" "$LOOP" 3>&- <<'END'
import nbd, os, sys

def fails (what):
    try:
        what ()
    except (nbd.Error, OSError) as error:
        print (error)
        return True

disk = nbd.NBD ()
disk.connect_unix (sys.argv[1])
disk.pwrite (b"A" * 65536, 8 << 20)
# Somebody else has the kernel write it out, which is told of it separately.
other = os.open (sys.argv[2], os.O_RDONLY)
assert fails (lambda: os.fdatasync (other))
fails (lambda: disk.pwrite (b"B" * 4096, 0, nbd.CMD_FLAG_FUA))
assert fails (disk.flush), "what was lost was flushed"
END
  status=0
  stop || status=$?
  [ "$status" -eq 1 ]
}

# A file system of 20 MiB that another file has filled but for 3 MiB.
make_small() {
  [[ $EUID == 0 ]] || skip "needs root"
  command -v mkfs.ext4 >/dev/null || skip "mkfs.ext4 is not installed"
  truncate -s 24M small.img
  mkfs.ext4 -q -O ^has_journal -m 0 small.img
  mkdir small
  mount_loop small.img small || skip "no loop devices"
}

# Fills it while IMAGE is written; then there is room again.
fills_up() { # HOW IMAGE
  make_image "$2"
  cp --sparse=always "$2" small/
  [[ $2 != child.qcow2 ]] || cp parent.raw small/
  fallocate -l "$(($(stat -f -c '%a * %S' small) - 3000000))" small/filler
  start "$1" "small/$2" --discard=unmap
  client write "$WHERE" state 2 --seed 1 --errors ENOSPC >counts
  cat counts
  [[ $(cat counts) != *" 0 errors" ]]
  rm small/filler
  client write "$WHERE" state 0.5 --seed 2
  stop
  spotless "small/$2"
  rm -f "small/$2" small/parent.raw
}

# What a commit writes has its space by then.
@test "faults: a disk that is full: what was answered can be flushed" {
  local image=small/over.qcow2
  make_small
  head -c 1M /dev/urandom >parent.raw
  start nbd parent.raw -f raw --overlay "$image"
  run -0 /usr/bin/python3 - "$WHERE" small/filler 3>&- <<'END'
import nbd, os, sys

disk = nbd.NBD ()
disk.connect_unix (sys.argv[1])
filler = os.open (sys.argv[2], os.O_RDWR | os.O_CREAT)
room = os.statvfs ("small")
os.posix_fallocate (filler, 0, room.f_bavail * room.f_frsize - 300_000)
written = 0
try:
    while True:
        disk.pwrite (bytes ([written + 1]) * 65536, written * 65536)
        written += 1
except nbd.Error as error:
    print (error)
try:
    while True:
        os.pwrite (filler, bytes (1024), os.fstat (filler).st_size)
except OSError as error:
    print (error)
assert written > 0
disk.flush ()
open ("written", "w").write (str (written))
END
  stop
  qemu-img convert -O raw "$image" left.raw
  run -0 /usr/bin/python3 - left.raw <<'END'
import sys

written = int (open ("written").read ())
left = open (sys.argv[1], "rb").read ()
assert left[:written * 65536] == b"".join (bytes ([i + 1]) * 65536 for i in range (written))
END
}

@test "faults: a disk that fills up: ENOSPC, and all goes on once there is room" {
  make_small
  fills_up nbd plain.qcow2
  fills_up nbd packed.qcow2
  fills_up nbd disk.raw
  has_fuse || return 0
  fills_up fuse plain.qcow2
  fills_up fuse disk.raw
}
