#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Callers that closed standard input, output or error: no file of ours takes their place.

bats_require_minimum_version 1.5.0

load socket-helpers

closed=('<&-' '>&-' '2>&-' '<&- >&- 2>&-')

setup() {
  IMGMOUNT=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  export G_SLICE=always-malloc
  /usr/bin/python3 -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
  cd "$BATS_TEST_TMPDIR"
  SOCKET=$PWD/s
  SERVER=
  head -c 4M /dev/urandom >disk.img
}

teardown() {
  [[ -z $SERVER ]] || kill -KILL "$SERVER" 2>/dev/null || true
  umount -l "$BATS_TEST_TMPDIR/mnt" 2>/dev/null || true
}

@test "closed streams: a server's messages are written to no image" {
  local streams
  for streams in "${closed[@]}"; do
    before=$(sha256sum <disk.img)
    eval "\"\$IMGMOUNT\" --nbd -v -f raw -k \"\$SOCKET\" disk.img $streams 3>&- &"
    SERVER=$!
    await_listening "$SOCKET" "$SERVER"
    # What is past the end is refused, which is worth a line.
    /usr/bin/python3 - "$SOCKET" <<'PY'
import nbd, sys
h = nbd.NBD()
h.connect_unix(sys.argv[1])
h.set_strict_mode(0)
try:
    h.pread(512, 1 << 30)
    sys.exit("was read")
except nbd.Error:
    pass
PY
    wait "$SERVER"
    SERVER=
    [ "$before" = "$(sha256sum <disk.img)" ] || { echo "$streams"; return 1; }
  done
}

@test "closed streams: what goes to the background keeps its image, and its lock" {
  local streams
  for streams in "${closed[@]}"; do
    eval "timeout -k 2 60 \"\$IMGMOUNT\" --nbd --fork --pid-file pid -t -f raw -k \"\$SOCKET\" disk.img $streams 3>&-"
    SERVER=$(cat pid)
    run /usr/bin/python3 - "$SOCKET" <<'PY'
import nbd, sys
h = nbd.NBD()
h.connect_unix(sys.argv[1])
h.pwrite(b"new" * 512, 4096)
h.flush()
assert open("disk.img", "rb").read()[4096:4096 + 1536] == b"new" * 512
PY
    [ "$status" -eq 0 ] || { echo "$streams: $output"; return 1; }
    if command -v qemu-io >/dev/null; then
      run ! qemu-io -f raw -c 'write 0 512' disk.img
    fi
    kill "$SERVER"
    timeout 20 tail -s 0.02 --pid="$SERVER" -f /dev/null
    SERVER=
  done
}

@test "closed streams: so does a mount" {
  [[ $(id -u) == 0 && -c /dev/fuse ]] || skip "needs root and FUSE"
  mkdir mnt
  local streams
  for streams in "${closed[@]}"; do
    eval "timeout -k 2 60 \"\$IMGMOUNT\" -f raw disk.img mnt $streams 3>&-"
    cmp mnt/disk disk.img
    dd if=/dev/urandom of=mnt/disk bs=4k seek=3 count=1 conv=notrunc status=none
    "$IMGMOUNT" --unmount mnt
  done
}

@test "closed streams: what cannot be printed is status 1" {
  local form
  for form in --help --version '-f help' '--list disk.img' '--info disk.img' '--verify disk.img' '--extract disk -O - disk.img'; do
    # shellcheck disable=SC2086 # several words
    run -1 bash -c '"$@" >&-' bash "$IMGMOUNT" $form
    # shellcheck disable=SC2086
    run -1 bash -c '"$@" >/dev/full' bash "$IMGMOUNT" $form
  done
}
