#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Servers that are killed in the middle of work: nothing is corrupt, and what was flushed is
# there.  IMGMOUNT_TEST_CRASHES=N kills N times as often.

bats_require_minimum_version 1.5.0

load fault-helpers

# Kills the server of IMAGE at random moments, ROUNDS times.
kill_often() { # HOW IMAGE ROUNDS
  local round worker
  [[ -e $2 ]] || make_image "$2"
  for ((round = 0; round < $3 * ${IMGMOUNT_TEST_CRASHES:-1}; round++)); do
    rm -f state.ready
    start "$1" "$2" --discard=unmap
    client write "$WHERE" state 60 --seed $((RANDOM + 1)) &
    worker=$!
    until [[ -e state.ready ]]; do kill -0 "$worker"; sleep 0.01; done
    sleep "0.$((RANDOM % 8))$((RANDOM % 10))"
    kill -KILL "$SERVER"
    wait "$SERVER" || :
    SERVER=
    wait "$worker"
    [[ $1 == nbd ]] || umount -l mnt
    sound "$2" || { echo "$1 $2, round $round"; return 1; }
  done
}

@test "crash: a killed NBD server leaves sound images with all that was flushed" {
  kill_often nbd plain.qcow2 4
  kill_often nbd child.qcow2 3
  kill_often nbd packed.qcow2 3
  kill_often nbd large.qcow2 2
  kill_often nbd disk.raw 2
}

@test "crash: subclusters, a data file, and counts that come late" {
  kill_often nbd sub.qcow2 3
  kill_often nbd outside.qcow2 2
  kill_often nbd lazy.qcow2 3
}

@test "crash: so does a killed FUSE server" {
  has_fuse || skip "needs root and FUSE"
  kill_often fuse plain.qcow2 3
  kill_often fuse child.qcow2 2
  kill_often fuse packed.qcow2 3
  kill_often fuse disk.raw 2
}

@test "crash: a snapshot and a parent are as they were" {
  make_image packed.qcow2
  qemu-img convert -l before -O raw packed.qcow2 want.raw
  kill_often nbd packed.qcow2 2
  make_image child.qcow2
  md5sum parent.raw >sum
  kill_often nbd child.qcow2 2
  md5sum -c --quiet sum
  qemu-img convert -l before -O raw packed.qcow2 got.raw
  cmp want.raw got.raw
}
