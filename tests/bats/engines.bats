#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Cache modes and I/O engines: what each promises, seen from outside: by what the system
# calls are, by what is in the page cache, and by every byte.

bats_require_minimum_version 1.5.0

load socket-helpers

setup() {
  IMGMOUNT=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  cd "$BATS_TEST_TMPDIR"
  URI="nbd+unix:///?socket=$PWD/s"
  SERVER=
  LOOP=
}

teardown() {
  [ ! -s pid ] || kill "$(cat pid)" 2>/dev/null || true # of a traced one
  [ -z "$SERVER" ] || kill "$SERVER" 2>/dev/null || true
  [ -z "$SERVER" ] || wait "$SERVER" 2>/dev/null || true
  if mountpoint -q mnt; then umount -l mnt; fi
  if mountpoint -q fs; then umount -l fs; fi
  [ -z "$LOOP" ] || losetup -d "$LOOP"
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
}

need_root() {
  [ "$(id -u)" -eq 0 ] || skip "needs root"
}

# Sets COMBINATIONS to the modes by the engines that this build has, as options.
list_combinations() {
  local mode aio
  COMBINATIONS=()
  for aio in threads io_uring native; do
    case $aio in
      io_uring) "$IMGMOUNT" --version | grep -q 'io_uring yes' || continue ;;
      native) "$IMGMOUNT" --version | grep -q 'libaio yes' || continue ;;
    esac
    for mode in writeback writethrough none directsync unsafe; do
      [[ $aio != native || $mode == none || $mode == directsync ]] || continue
      COMBINATIONS+=("--cache=$mode --aio=$aio")
    done
  done
}

# Serves with the given command before it on the socket s, for any number of clients.
serve() { # OPTION...
  rm -f s
  "${WRAP[@]}" "$IMGMOUNT" --nbd -k "$PWD/s" -t -e 0 "$@" 2>said 3>&- &
  SERVER=$!
  await_listening "$PWD/s" "$SERVER" || { cat said; return 1; }
}

stop() {
  if [[ ${WRAP[0]:-} == strace ]]; then
    kill "$(cat pid)" # strace ends with it
  else
    kill "$SERVER"
  fi
  wait "$SERVER"
  SERVER=
}

# Serves under strace, which writes what the image's files see to LOG.
serve_traced() { # OPTION...
  # The search for leaks cannot work in a traced process.
  export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
  WRAP=(strace -f -y -qq -o log -e "trace=openat,pread64,preadv,preadv2,pwrite64,pwritev,pwritev2,fdatasync,sync_file_range,io_submit,io_uring_enter")
  serve --pid-file pid "$@"
}

# 1 where a line of LOG is like that, else 0.
logged() { # PATTERN
  if grep -qE "$1" log; then echo 1; else echo 0; fi
}

differ() { # SEED OPERATIONS
  /usr/bin/python3 -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
  /usr/bin/python3 "$BATS_TEST_DIRNAME/differ.py" "$PWD/s" reference "$1" "$2"
}

@test "engines: every mode by every engine: raw, of a size that no block divides" {
  list_combinations
  local options seed=0
  for options in "${COMBINATIONS[@]}"; do
    head -c 3000333 /dev/urandom >disk.img
    # shellcheck disable=SC2086 # several words
    serve $options --discard=unmap -f raw disk.img
    differ $((seed++)) 150 || { echo "$options"; return 1; }
    stop
    cmp disk.img reference || { echo "$options"; return 1; }
  done
}

@test "engines: every mode by every engine: qcow2 over a parent" {
  need qemu-img
  list_combinations
  local options seed=100
  head -c 2500077 /dev/urandom >base.img
  for options in "${COMBINATIONS[@]}"; do
    rm -f disk.qcow2
    qemu-img create -q -f qcow2 -o cluster_size=$((512 << seed % 5)) -b base.img -F raw disk.qcow2
    # shellcheck disable=SC2086 # several words
    serve $options --discard=unmap -f qcow2 disk.qcow2
    differ $((seed++)) 150 || { echo "$options"; return 1; }
    stop
    qemu-img check -q disk.qcow2 || { echo "$options"; return 1; }
    qemu-img convert -O raw disk.qcow2 found
    cmp found reference || { echo "$options"; return 1; }
  done
}

@test "engines: every mode by every engine: compressed and scattered clusters" {
  need qemu-img qemu-io
  list_combinations
  head -c 1500000 /dev/urandom | base64 >plain
  truncate -s 4M plain
  qemu-img convert -c -O qcow2 plain disk.qcow2
  for at in 3000 900000 65536 1200001 400000; do # written in an order of its own
    qemu-io -c "write -P 7 $at 30000" disk.qcow2 >log
  done
  qemu-img convert -O raw disk.qcow2 expected
  for options in "${COMBINATIONS[@]}"; do
    # shellcheck disable=SC2086 # several words
    serve -r $options disk.qcow2
    qemu-img convert -f raw -O raw "$URI" found
    stop
    cmp found expected || { echo "$options"; return 1; }
  done
}

@test "engines: O_DIRECT and O_DSYNC are there where they were asked for" {
  need strace qemu-img
  strace -qq -o /dev/null true || skip "strace cannot trace here"
  local mode direct dsync
  head -c 1M /dev/urandom >base.img
  while read -r mode direct dsync; do
    rm -f disk.qcow2
    qemu-img create -q -f qcow2 -b base.img -F raw disk.qcow2
    serve_traced --cache="$mode" disk.qcow2
    stop
    # The one of them all that is written to; a second descriptor is for the end alone.
    grep -E 'openat\(.*/?disk\.qcow2.*O_RDWR' log | head -n 1 >opened
    [ -s opened ]
    [ "$(grep -c O_DIRECT opened)" = "$direct" ]
    [ "$(grep -cE 'O_DSYNC|O_SYNC' opened)" = "$dsync" ]
    grep -E 'openat\(.*/base\.img' log >opened
    [ "$(grep -c O_DIRECT opened)" = "$direct" ]
    run ! grep -qE 'O_RDWR|O_WRONLY' opened
  done <<<'writeback 0 0
writethrough 0 1
none 1 0
directsync 1 1
unsafe 0 0'
}

@test "engines: -n is none, and read-only images are read with O_DIRECT by one descriptor" {
  need strace
  strace -qq -o /dev/null true || skip "strace cannot trace here"
  head -c 100001 /dev/urandom >disk.img
  serve_traced -n -r -f raw disk.img
  differ 1 0
  stop
  cmp disk.img reference
  [ "$(grep -cE 'openat\(.*disk\.img' log)" = 1 ]
  grep -qE 'openat\(.*disk\.img.*O_RDONLY.*O_DIRECT' log
  run ! grep -E 'pwrite|fdatasync' log
}

@test "engines: new clusters filled as a whole are written out early, and only those" {
  need strace qemu-img qemu-io
  strace -qq -o /dev/null true || skip "strace cannot trace here"
  local mode early
  while read -r mode early; do
    rm -f disk.qcow2
    qemu-img create -q -f qcow2 -o cluster_size=2M disk.qcow2 64M
    serve_traced --cache="$mode" disk.qcow2
    for at in $(seq 0 2 30); do # a little of each cluster
      echo "write ${at}M 4k"
    done | qemu-io -t writeback -f raw "$URI" >written
    [ "$(logged sync_file_range)" = 0 ] || { echo "$mode: in part"; return 1; }
    qemu-io -t writeback -f raw -c 'write 32M 32M' "$URI" >written
    stop
    [ "$(logged sync_file_range)" -ge "$early" ] || { echo "$mode: as a whole"; return 1; }
    [ "$early" -gt 0 ] || run ! grep sync_file_range log
  done <<<'writeback 1
writethrough 0
none 0
unsafe 0'
}

@test "engines: a flush is fdatasync but with unsafe, and durable writes have RWF_DSYNC" {
  need strace qemu-io
  strace -qq -o /dev/null true || skip "strace cannot trace here"
  local mode flushes always
  while read -r mode flushes always; do
    truncate -s 1M disk.img
    serve_traced --cache="$mode" -f raw disk.img
    qemu-io -t writeback -f raw -c 'write 0 64k' -c flush "$URI" >written
    [ "$(logged 'fdatasync\(.*disk.img')" = "$flushes" ] || { echo "$mode: fdatasync"; return 1; }
    [ "$(logged 'pwritev2\(.*disk.img.*RWF_DSYNC')" = "$always" ] || { echo "$mode: write"; return 1; }
    qemu-io -t writeback -f raw -c 'write -f 0 64k' "$URI" >written
    [ "$(logged 'pwritev2\(.*disk.img.*RWF_DSYNC')" = "$flushes" ] || { echo "$mode: FUA"; return 1; }
    stop
  done <<<'writeback 1 0
writethrough 1 1
none 1 0
directsync 1 1
unsafe 0 0'
}

@test "engines: each goes its own way into the kernel" {
  need strace qemu-io
  strace -qq -o /dev/null true || skip "strace cannot trace here"
  list_combinations
  local options
  for options in "${COMBINATIONS[@]}"; do
    [[ $options == --cache=none* ]] || continue
    head -c 1M /dev/urandom >disk.img
    # shellcheck disable=SC2086 # several words
    serve_traced $options -f raw disk.img
    qemu-io -f raw -c 'write -P 1 64k 64k' -c 'read -P 1 64k 64k' "$URI" >said2
    run ! grep failed said2
    stop
    case $options in
      *threads) grep -q 'pwritev2(.*disk.img' log ;;
      *io_uring)
        grep -q 'io_uring_enter' log
        run ! grep -E '(preadv|pwrite).*disk.img' log
        ;;
      *native)
        grep -q 'io_submit(.*disk.img' log
        run ! grep -E '(preadv|pwrite)[^(]*\([0-9]+<[^>]*disk.img' log
        ;;
    esac
  done
}

@test "engines: with none and directsync nothing of the image stays in the page cache" {
  need fincore qemu-img
  local mode options
  list_combinations
  head -c 4M /dev/urandom >plain
  for options in "${COMBINATIONS[@]}"; do
    [[ $options == *none* || $options == *directsync* ]] || continue
    rm -f disk.qcow2
    qemu-img convert -O qcow2 plain disk.qcow2
    dd of=disk.qcow2 oflag=nocache conv=notrunc,fdatasync count=0 status=none
    [ "$(fincore -n -b -o RES disk.qcow2 | tr -d ' ')" = 0 ] || skip "the page cache does not let go"
    # shellcheck disable=SC2086 # several words
    serve $options disk.qcow2
    differ 1 60
    [ "$(fincore -n -b -o RES disk.qcow2 | tr -d ' ')" = 0 ] || { echo "$options"; return 1; }
    stop
  done
}

@test "engines: what another program sees is what was written past the cache, at once" {
  need qemu-io
  head -c 1000001 /dev/urandom >disk.img
  cp disk.img expected
  serve --cache=none -f raw disk.img
  cat disk.img >/dev/null
  qemu-io -f raw -c 'write -P 1 100 7' -c 'write -P 2 8192 8k' -c 'write -P 3 999990 11' "$URI" >log
  python3 - <<'PYTHON'
with open('expected', 'r+b') as f:
    for byte, at, length in (1, 100, 7), (2, 8192, 8192), (3, 999990, 11):
        f.seek(at)
        f.write(bytes([byte]) * length)
PYTHON
  cmp disk.img expected
  stop
  [ "$(stat -c %s disk.img)" = 1000001 ]
}

@test "engines: a file system without direct I/O is one clear sentence" {
  need_root
  mkdir fs
  mount -t ramfs ramfs fs || skip "no ramfs here"
  truncate -s 1M fs/disk.img
  local mode
  for mode in none directsync; do
    run --separate-stderr "$IMGMOUNT" --nbd -k "$PWD/s" --cache=$mode -f raw fs/disk.img
    [ "$status" -eq 1 ]
    [ "$stderr" = "imgmount: fs/disk.img: its file system has no direct I/O, which the cache modes none and directsync need" ]
  done
}

@test "engines: an engine that the kernel forbids is said at the start" {
  need strace
  strace -qq -o /dev/null true || skip "strace cannot trace here"
  export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
  truncate -s 1M disk.img
  local call error text
  while read -r call error text; do
    case $call in
      io_uring*) options=--aio=io_uring && "$IMGMOUNT" --version | grep -q 'io_uring yes' || continue ;;
      *) options='-n --aio=native' && "$IMGMOUNT" --version | grep -q 'libaio yes' || continue ;;
    esac
    # shellcheck disable=SC2086 # several words
    run --separate-stderr timeout 20 strace -f -qq -o /dev/null -e trace="$call" -e inject="$call:error=$error" \
      "$IMGMOUNT" --nbd -k "$PWD/s" $options -f raw disk.img
    [ "$status" -eq 1 ]
    [ "$stderr" = "imgmount: disk.img: the kernel gives no $text" ] || { echo "$stderr"; return 1; }
  done <<'END'
io_uring_setup EPERM io_uring: Operation not permitted
io_uring_setup ENOSYS io_uring: Function not implemented
io_uring_enter EPERM io_uring: Operation not permitted
io_setup ENOSYS asynchronous I/O: Function not implemented
END
}

@test "engines: block devices with sectors of 512 and of 4096 bytes" {
  need_root
  need losetup
  list_combinations
  local sector options seed=200
  for sector in 512 4096; do
    for options in "${COMBINATIONS[@]}"; do
      [[ $options == *none* || $options == *directsync* ]] || continue
      head -c 3M /dev/urandom >backing
      LOOP=$(losetup --show -f -b "$sector" backing) || skip "no loop devices here"
      # shellcheck disable=SC2086 # several words
      serve $options --discard=unmap -f raw "$LOOP"
      differ $((seed++)) 120 || { echo "$sector $options"; return 1; }
      stop
      losetup -d "$LOOP"
      LOOP=
      cmp backing reference || { echo "$sector $options"; return 1; }
    done
  done
}

@test "engines: every mode by every engine, mounted, from the background" {
  need_root
  [ -c /dev/fuse ] || skip "the kernel has no FUSE"
  need qemu-img
  list_combinations
  mkdir mnt
  local options
  for options in "${COMBINATIONS[@]}"; do
    qemu-img create -q -f qcow2 disk.qcow2 8000000
    truncate -s 8000000 expected
    # shellcheck disable=SC2086 # several words
    "$IMGMOUNT" $options disk.qcow2 mnt
    for i in $(seq 12); do
      head -c $((RANDOM * 7 + 1)) /dev/urandom >noise
      at=$((RANDOM * 200))
      dd if=noise of=mnt/disk bs=1M seek=$at oflag=seek_bytes conv=notrunc status=none
      dd if=noise of=expected bs=1M seek=$at oflag=seek_bytes conv=notrunc status=none
    done
    fallocate -p -o 1000001 -l 700007 mnt/disk
    fallocate -p -o 1000001 -l 700007 expected
    sync mnt/disk
    cmp mnt/disk expected || { echo "$options"; return 1; }
    "$IMGMOUNT" --unmount mnt
    qemu-img check -q disk.qcow2
    qemu-img compare -q -F raw disk.qcow2 expected || { echo "$options"; return 1; }
    rm -f disk.qcow2 expected
  done
}
