#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Wrong options and requests, one by one: each has its error, and the connection goes on.

bats_require_minimum_version 1.5.0
load nbd-helpers

setup() {
  nbd_setup
  need python3
  truncate -s 8G disk.raw
  head -c 1M /dev/urandom | dd of=disk.raw conv=notrunc status=none
}

teardown() {
  nbd_teardown
}

wrong() { # WHAT OPTION...
  local what=$1
  shift
  start_server "$IMGMOUNT" --nbd -t -e 0 -f raw -k "$SOCKET" "$@" disk.raw
  timeout 200 python3 "$BATS_TEST_DIRNAME/nbd-wrong.py" "$SOCKET" "$what"
  end_server
}

@test "nbd-wrong: options" {
  wrong options
}

@test "nbd-wrong: requests to a disk that can be written, in all three modes" {
  wrong writable --discard unmap
}

@test "nbd-wrong: requests to one that can only be read, which stays as it is" {
  local before
  before=$(head -c 2M disk.raw | sha256sum)
  wrong read-only -r
  [ "$(head -c 2M disk.raw | sha256sum)" = "$before" ]
}
