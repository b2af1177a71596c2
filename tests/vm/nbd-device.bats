#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# imgmount --nbd -c and -d against the kernel's NBD client.  One guest does it all
# (nbd-device.sh), by netlink and by ioctl; the tests look at what it printed and at the
# images that it wrote.

bats_require_minimum_version 1.5.0

make_images() {
  mkdir images
  mke2fs -q -t ext4 part.ext4 8M
  truncate -s 24M gpt.raw images/mbr.raw
  sfdisk -q gpt.raw <<<$'label: gpt\nstart=2048 size=16384\nstart=20480 size=8192'
  sfdisk -q images/mbr.raw <<<$'label: dos\nstart=2048 size=16384\nstart=20480 size=8192'
  dd if=part.ext4 of=gpt.raw bs=1M seek=1 conv=notrunc status=none
  qemu-img convert -O qcow2 gpt.raw images/gpt.qcow2
  truncate -s 3145828 images/odd.raw
  truncate -s 1000 images/tiny.raw
  truncate -s 8M images/blank.raw
  qemu-img create -q -f qcow2 images/blank.qcow2 8M
  head -c 8M /dev/urandom >images/pattern
  mke2fs -q -t ext4 -d images disk.ext4 128M
}

setup_file() {
  cd "$BATS_FILE_TMPDIR"
  imgmount=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  make_images
  "$BATS_TEST_DIRNAME/run" --cpus 2 --timeout 900 --disk disk.ext4 --module ext4 \
    --module dm_mod --program "$imgmount" --program nbdinfo --program dmsetup "$BATS_TEST_DIRNAME/nbd-device.sh" >listing
  [[ $(tail -n 1 listing) == '=== end' ]] || { cat listing >&2; return 1; }
}

setup() {
  cd "$BATS_FILE_TMPDIR"
}

# What the guest said in section NAME.
said() {
  sed -n "/^=== $1\$/,/^=== /p" listing | grep -v '^=== ' || true
}

# The section is exactly what stands on standard input.
expect() {
  diff - <(said "$1")
}

# The same for both ways.
expect_both() {
  local text
  text=$(cat)
  diff - <(said "$1-netlink") <<<"$text"
  diff - <(said "$1-ioctl") <<<"$text"
}

# A section without complaints: what is left behind would be printed.
silent_both() {
  grep -q "^=== $1-netlink\$" listing
  grep -q "^=== $1-ioctl\$" listing
  [ -z "$(said "$1-netlink")" ]
  [ -z "$(said "$1-ioctl")" ]
}

# Takes FILE out of the guest's disk.
take_out() {
  debugfs -R "dump /$1 $1" disk.ext4 2>/dev/null
}

@test "nbd device: without the module there is one sentence and a hint" {
  expect missing-module <<'END'
imgmount: /dev/nbd0: the kernel's NBD client is not there: the module nbd is not loaded
imgmount: hint: modprobe nbd
status 1
imgmount: the kernel's NBD client is not there: the module nbd is not loaded
imgmount: hint: modprobe nbd
status 1
imgmount: /dev/nbd0: the kernel's NBD client is not there: the module nbd is not loaded
imgmount: hint: modprobe nbd
status 1
END
}

@test "nbd device: what is no NBD device is refused" {
  expect wrong-device <<'END'
imgmount: /dev/vda: is no NBD device
status 1
imgmount: /mnt/raw: No such file or directory
status 1
imgmount: /dev/absent: No such file or directory
status 1
imgmount: /dev/nbd9: no such device
status 1
imgmount: /dev/nbd9: cannot open: No such file or directory
status 1
END
}

@test "nbd device: with max_part=0 this kernel shows partitions when told, and they go again" {
  expect max-part <<'END'
/dev/nbd0
status 0
/dev/nbd0 49152
/dev/nbd0p1 16384
/dev/nbd0p2 8192
/dev/nbd0 disconnected
status 0
/dev/nbd0 0
END
}

@test "nbd device: a GPT's partitions are there when it returns" {
  expect attach-netlink <<'END'
/dev/nbd1
status 0
/dev/nbd1 49152
/dev/nbd1p1 16384
/dev/nbd1p2 8192
read-only 0
connections 2
locked 1
END
  expect attach-ioctl < <(said attach-netlink | sed 's/connections 2/connections 1/')
}

@test "nbd device: one in use is refused" {
  expect_both busy <<'END'
imgmount: /dev/nbd1: in use: process N (imgmount) has attached it
status 1
END
}

@test "nbd device: auto takes the next that is free, and prints it" {
  expect_both auto <<'END'
/dev/nbd0
status 0
/dev/nbd0 49152
/dev/nbd0p1 16384
/dev/nbd0p2 8192
/dev/nbd0 disconnected
status 0
/dev/nbd0 0
END
}

@test "nbd device: with all devices taken, netlink makes another" {
  expect all-busy <<'END'
imgmount: all of the kernel's devices are in use
status 1
/dev/nbd4
status 0
END
}

@test "nbd device: --status says which image a device is, also when its server was killed" {
  expect status-netlink <<'END'
where access pid image
/dev/nbd2 ro PID /mnt/mbr.raw
where access pid image
/dev/nbd1 rw PID /mnt/gpt.qcow2
"devices":[{"device":"/dev/nbd1","image":"/mnt/gpt.qcow2","read-only":false,"user":0,"pid":PID,"state":"served"}]}
where access pid image
/dev/nbd1 rw - /mnt/gpt.qcow2 [dead]
imgmount: hint: the server of /dev/nbd1 has ended: imgmount --nbd -d /dev/nbd1 clears it
END
  # There the kernel frees the device itself.
  expect status-ioctl < <(said status-netlink | sed '/state/q')
}

@test "nbd device: a mounted partition is not taken away" {
  expect_both mounted <<'END'
imgmount: /dev/nbd1: /dev/nbd1p1 is mounted on /part
imgmount: hint: --force takes it away all the same
status 1
END
}

@test "nbd device: neither is swap" {
  expect_both swap <<'END'
imgmount: /dev/nbd1: /dev/nbd1p2 is used for swap
imgmount: hint: --force takes it away all the same
status 1
END
}

@test "nbd device: neither is what another namespace has mounted" {
  expect_both claimed <<'END'
imgmount: /dev/nbd1: a program, or a mount in another namespace, has claimed it
imgmount: hint: --force takes it away all the same
status 1
END
}

@test "nbd device: neither is what the device mapper builds upon" {
  expect_both holder <<'END'
imgmount: /dev/nbd1: /dev/nbd1p2 is part of /dev/dm-0
imgmount: hint: --force takes it away all the same
status 1
END
}

@test "nbd device: detached, nothing of it is left, and doing it again is no error" {
  expect_both detach <<'END'
/dev/nbd1 disconnected
status 0
/dev/nbd1 disconnected
status 0
END
}

@test "nbd device: read-only is read-only" {
  expect_both read-only <<'END'
1
lost+found
END
}

@test "nbd device: a partition or a slice in the disk's place" {
  expect_both slices <<'END'
/dev/nbd0 8192
/dev/nbd0 47104
END
}

@test "nbd device: block sizes, and what they leave out" {
  expect_both blocks <<'END'
imgmount: warning: /dev/nbd0: the last 100 bytes of the image are not on it: they fill no block of 512
/dev/nbd0
status 0
6144
512
imgmount: warning: /dev/nbd0: the last 100 bytes of the image are not on it: they fill no block of 4096
/dev/nbd0
status 0
6144
4096
imgmount: warning: /dev/nbd0: no partitions: the table counts in sectors of 512 bytes: attach it with --block-size 512
/dev/nbd0
status 0
imgmount: /dev/nbd0: a disk of 1000 bytes cannot be attached in blocks of 4096 bytes
status 1
END
}

@test "nbd device: two whole disks with direct I/O, there and back" {
  expect_both direct <<'END'
raw same
qcow2 same
END
}

@test "nbd device: detaching writes what the page cache holds" {
  local name
  for name in netlink ioctl; do
    [ "$(said "buffered-$name" | wc -l)" -eq 2 ]
    [ "$(said "buffered-$name" | sort -u | wc -l)" -eq 1 ]
  done
}

@test "nbd device: what is discarded becomes a hole of the image" {
  expect_both trim <<'END'
2
END
}

@test "nbd device: after kill -9 I/O ends, and the device can be freed and attached anew" {
  expect killed-netlink <<'END'
Input/output error
imgmount: warning: /dev/nbd1: flush: Input/output error
/dev/nbd1 disconnected
status 0
/dev/nbd1 49152
/dev/nbd1p1 16384
/dev/nbd1p2 8192
END
  expect killed-ioctl < <(said killed-netlink | grep -v flush)
}

@test "nbd device: SIGTERM detaches" {
  silent_both signal
}

@test "nbd device: SIGTERM while it is mounted waits for the end of that" {
  expect_both signal-mounted <<'END'
imgmount: warning: /dev/nbd1: /dev/nbd1p1 is mounted on /part; it is served until that ends, or a second signal comes
still served
END
}

@test "nbd device: a second SIGTERM does not wait" {
  expect_both signal-twice <<'END'
/dev/nbd1 disconnected
END
}

@test "nbd device: --force takes it away, and it is free once nobody uses it" {
  expect_both forced <<'END'
imgmount: warning: /dev/nbd1: detached, though /dev/nbd1p1 is mounted on /part: free once that has ended
/dev/nbd1 disconnected
status 0
the server has ended
imgmount: /dev/nbd1: in use: attached by a process that has gone, N
status 1
/dev/nbd1 disconnected
status 0
END
}

@test "nbd device: clients on a socket beside it neither need its place nor end it" {
  expect_both socket <<'END'
25165824
4194304
/dev/nbd0 49152
/dev/nbd0p1 16384
/dev/nbd0p2 8192
END
}

@test "nbd device: -v stays in the foreground" {
  local name
  for name in netlink ioctl; do
    expect "foreground-$name" <<END
/dev/nbd0
attached by $name
status 0
END
  done
}

@test "nbd device: a server that hangs gives errors after --timeout" {
  expect timeout-netlink <<'END'
Input/output error
END
}

@test "nbd device: --force takes it from a server that hangs" {
  expect hung-netlink <<'END'
imgmount: warning: /dev/nbd0: detached; process N has not ended yet
/dev/nbd0 disconnected
status 0
END
}

@test "nbd device: where netlink is not to be had, ioctl serves" {
  expect namespace <<'END'
/dev/nbd0
status 0
/dev/nbd0 49152
/dev/nbd0p1 16384
/dev/nbd0p2 8192
/dev/nbd0 disconnected
status 0
/dev/nbd0 0
END
}

@test "nbd device: attached in one way it can be detached in the other" {
  expect crossed <<'END'
/dev/nbd0 disconnected
status 0
/dev/nbd0 disconnected
status 0
END
}

@test "nbd device: a program that holds it open keeps it from being free, which is said" {
  expect held-netlink <<'END'
imgmount: /dev/nbd0: disconnected, but a program has it open after 5 seconds: Device or resource busy
status 1
/dev/nbd0 disconnected
status 0
END
}

@test "nbd device: what fails before it is ready is said by the command" {
  expect_both failures <<'END'
imgmount: absent: cannot open: No such file or directory
status 1
imgmount: mbr.raw: header: no qcow2 signature
status 1
imgmount: cannot print the device: No space left on device
status 1
END
}

@test "nbd device: what was written through it is in the image" {
  local name
  take_out gpt.qcow2
  qemu-img check -q gpt.qcow2
  qemu-img convert -f qcow2 -O raw gpt.qcow2 after.raw
  dd if=after.raw of=after.ext4 bs=1M skip=1 count=8 status=none
  e2fsck -fn after.ext4
  for name in netlink ioctl; do
    cmp <(debugfs -R "cat /$name" after.ext4 2>/dev/null) <(seq 100000)
    cmp <(debugfs -R "cat /late-$name" after.ext4 2>/dev/null) <(seq 50000)
  done
  take_out blank.qcow2
  qemu-img check -q blank.qcow2
  qemu-img compare -q -f raw -F qcow2 images/pattern blank.qcow2
}
