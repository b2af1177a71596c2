#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Every system call on an image, by strace: nothing is written unasked, nothing at all with
# -r, and in a writable image nothing but by the file leaf.

bats_require_minimum_version 1.5.0

load fault-helpers

setup_file() {
  command -v strace >/dev/null || skip "strace is not installed"
  strace -qq -o /dev/null true || skip "strace cannot trace here"
}

make_images() {
  make_image packed.qcow2
  qemu-img create -q -f qcow2 -F qcow2 -b packed.qcow2 over.qcow2 16M
  qemu-io -c 'write -P 1 1M 1M' over.qcow2 >/dev/null
  head -c 4M /dev/urandom >disk.raw
  printf '2048,4096\n' | sfdisk -q disk.raw
  for image in packed.qcow2 over.qcow2 disk.raw; do touch -d '2001-02-03' "$image"; done
}

# UNDER: with each call that has to do with IMAGE in the file trace.  -D: strace is not the
# parent.
trace() { # IMAGE [-D]
  rm -f trace
  UNDER=(strace ${2:-} -f -q -o trace -P "$PWD/$1" -P "$PWD/packed.qcow2"
    env "ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0")
}

# Ends the traced server; strace, which runs beside it, writes its last line.
stop_traced() {
  local server=$SERVER round
  UNDER=()
  stop
  for ((round = 0; round < 500; round++)); do
    ! grep -qE "^$server +\+\+\+ exited" trace || return 0
    sleep 0.02
  done
  return 1
}

# What a read-only server must refuse, tried all the same.
try_to_write() {
  if [[ $WHERE == */s ]]; then
    /usr/bin/python3 - "$WHERE" <<'PYTHON'
import nbd, sys
h = nbd.NBD()
h.set_strict_mode(0)
h.connect_unix(sys.argv[1])
for change in (lambda: h.pwrite(b'x' * 65536, 0), lambda: h.zero(65536, 0), lambda: h.trim(65536, 0)):
    try:
        change()
        sys.exit('it worked')
    except nbd.Error:
        pass
h.flush()
PYTHON
  else
    run dd if=/dev/zero of=mnt/disk count=1 conv=notrunc
    [ "$status" -eq 1 ]
  fi
}

# The calls of the trace that are other than looking and locking; OPENED: how it may be
# opened.  The image has been opened at all.
others() { # OPENED
  sed -E 's/^[0-9]+ +//; /^\+\+\+ /d; /^--- /d; s/^<\.\.\. ([a-z0-9_]+) resumed.*/\1(/' trace >calls
  grep -qE "^open(at)?\(.*($1)" calls
  grep -vE "^open(at)?\([^)]*($1)" calls |
    grep -vE '^(pread64|preadv2?|read|lseek|[a-z0-9]*stat[a-z0-9]*|access|faccessat2?|readlink(at)?|fadvise64|close|sendfile|open_tree)\(' |
    grep -vE '^open(at)?\($|^mount\(|^fcntl\([0-9]+, F_(OFD_[SG]ETLK|GETFL|SETFL)' || :
}

expect_untouched() { # OPENED
  local calls
  calls=$(others "$1")
  [[ -z $calls ]] || { echo "$calls"; return 1; }
}

# Reads all of what `start` handed out.
read_all() {
  if [[ $WHERE == */s ]]; then
    nbdcopy "nbd+unix:///?socket=$WHERE" null:
  else
    find mnt -type f -exec cat {} + >/dev/null
  fi
}

@test "untouched: listing and describing look, and no more" {
  command -v sfdisk >/dev/null || skip "sfdisk is not installed"
  make_images
  md5sum packed.qcow2 over.qcow2 disk.raw >sum
  for image in over.qcow2 disk.raw; do
    trace "$image"
    for what in --info --list; do
      "${UNDER[@]}" "$IMGMOUNT" "$what" "$PWD/$image" >/dev/null || :
      expect_untouched O_RDONLY
    done
  done
  md5sum -c --quiet sum
  [ "$(stat -c %Y over.qcow2 packed.qcow2 disk.raw | sort -u)" = "$(date -d 2001-02-03 +%s)" ]
}

@test "untouched: -r: all is read, through NBD and FUSE, and not one call writes" {
  command -v sfdisk >/dev/null || skip "sfdisk is not installed"
  make_images
  md5sum packed.qcow2 over.qcow2 disk.raw >sum
  for how in nbd fuse; do
    [[ $how == nbd ]] || has_fuse || continue
    for image in over.qcow2 disk.raw; do
      trace "$image" -D
      start "$how" "$PWD/$image" -r --discard=unmap --detect-zeroes=unmap
      read_all
      try_to_write
      stop_traced
      expect_untouched O_RDONLY
    done
  done
  md5sum -c --quiet sum
  [ "$(stat -c %Y over.qcow2 packed.qcow2 disk.raw | sort -u)" = "$(date -d 2001-02-03 +%s)" ]
}

@test "untouched: a writable image is not written before a client writes" {
  command -v sfdisk >/dev/null || skip "sfdisk is not installed"
  make_images
  md5sum packed.qcow2 over.qcow2 disk.raw >sum
  for how in nbd fuse; do
    [[ $how == nbd ]] || has_fuse || continue
    for image in over.qcow2 disk.raw; do
      trace "$image" -D
      start "$how" "$PWD/$image"
      read_all
      stop_traced
      # A flush of what nobody wrote is a flush.
      others 'O_RDONLY|O_RDWR' | grep -vE '^fdatasync\(' >written || :
      run cat written
      [ -z "$output" ]
    done
  done
  md5sum -c --quiet sum
}

@test "untouched: what strace sees in a written image is what the file leaf says it did" {
  local tests=${IMGMOUNT%/src/cli/imgmount}/tests/unit/formats
  [[ -x $tests/test-formats-qcow2-crash ]] || skip "the unit tests were not built"
  for of in qcow2-crash:/formats/qcow2/crash/any-moment/4 raw-crash:/formats/raw/crash/writeback; do
    ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 IMGMOUNT_TEST_RECORD=$PWD/record \
      strace -f -qq -y -o trace -e trace=%file,%desc "$tests/test-formats-${of%:*}" -p "${of#*:}" >/dev/null
    /usr/bin/python3 "$BATS_TEST_DIRNAME/same-record.py" record trace
  done
}
