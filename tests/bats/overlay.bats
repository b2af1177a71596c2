#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Overlays: what is written with -s is gone, what is written with --overlay is in FILE, as
# QEMU reads it, and the image stays as it is.

bats_require_minimum_version 1.5.0

load forked-helpers
load loop-helpers
load socket-helpers

setup() {
  IMGMOUNT=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  DIFFER=$BATS_TEST_DIRNAME/differ.py
  local tool
  for tool in qemu-img qemu-io; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
  /usr/bin/python3 -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
  cd "$BATS_TEST_TMPDIR"
  mkdir mnt tmp small
  export TMPDIR=$PWD/tmp
}

teardown() {
  [ ! -s pid ] || kill -9 "$(cat pid)" 2>/dev/null || :
  umount -l mnt 2>/dev/null || :
  umount -l small 2>/dev/null || :
}

need_fuse() {
  [ "$EUID" -eq 0 ] && [ -c /dev/fuse ] || skip "needs root and FUSE"
}

URI() { echo "nbd+unix:///?socket=$PWD/s"; }

io() { # COMMAND...
  local arguments=() command
  for command in "$@"; do arguments+=(-c "$command"); done
  qemu-io -f raw "${arguments[@]}" "$(URI)"
}

# Python with the connection h.
nbd() { # STATEMENT...
  /usr/bin/python3 -c "
import nbd
h = nbd.NBD()
h.connect_unix('$PWD/s')
$(printf '%s\n' "$@")"
}

# base.raw of odd size and noise, and images above and beside it.
make_images() {
  head -c 3000001 /dev/urandom >base.raw
  qemu-img create -q -f qcow2 -b base.raw -F raw -o cluster_size=4k chain.qcow2 5M
  qemu-io -f qcow2 -c 'write -P 3 100k 200k' -c 'write -z 1M 1M' chain.qcow2 >/dev/null
  qemu-img snapshot -c first chain.qcow2
  qemu-io -f qcow2 -c 'write -P 4 150k 1M' chain.qcow2 >/dev/null
  yes 'something that can be compressed' | head -c 4M >plain || :
  qemu-img convert -c -O qcow2 plain packed.qcow2
  rm plain
  qemu-img convert -O qcow2 -o extended_l2=on,data_file=ext.data base.raw ext.qcow2
  md5sum base.raw ext.data ./*.qcow2 >sums
  stat -c '%n %y %z' base.raw ext.data chain.qcow2 packed.qcow2 ext.qcow2 >times
}

# Bytes and times of the images are what they were.
untouched() {
  md5sum -c --quiet sums
  stat -c '%n %y %z' base.raw ext.data chain.qcow2 packed.qcow2 ext.qcow2 | diff times -
}

differ() { # SEED
  /usr/bin/python3 "$DIFFER" "$PWD/s" reference.raw "$1" "${OPERATIONS:-300}"
}

# FILE is sound, and holds what the reference holds; QEMU sees whole sectors.
same_as_reference() { # FILE
  qemu-img check -q "$1" || { qemu-img check "$1"; return 1; }
  qemu-img convert -O raw "$1" got.raw
  truncate -s %512 reference.raw
  cmp reference.raw got.raw
}

@test "overlay: random work over raw of odd size, a chain with snapshots, and compressed clusters" {
  make_images
  local seed=1 image
  for image in base.raw chain.qcow2 packed.qcow2 ext.qcow2; do
    serve --overlay o.qcow2 "$image"
    differ $((seed++))
    stop
    same_as_reference o.qcow2
    # Continued, and with everything that makes clusters go away.
    serve --overlay o.qcow2 --discard=unmap --detect-zeroes=unmap "$image"
    differ $((seed++))
    stop
    same_as_reference o.qcow2
    untouched
    rm o.qcow2
  done
}

@test "overlay: with -s the work is seen and then gone, and leaves nothing in TMPDIR" {
  make_images
  local image
  for image in base.raw chain.qcow2 packed.qcow2 ext.qcow2; do
    serve -s "$image"
    differ 7
    [ -z "$(ls -A tmp)" ]
    ls -l "/proc/$(cat pid)/fd" | grep -q "$PWD/tmp/.*(deleted)"
    stop
    untouched
    serve -s "$image"
    nbdcopy "$(URI)" got.raw
    stop
    qemu-img convert -O raw "$image" want.raw
    truncate -s "$(stat -c %s want.raw)" got.raw
    cmp want.raw got.raw
  done
  [ -z "$(ls -A tmp)" ]
}

@test "overlay: through FUSE, every file of the mount, and --unmount keeps or forgets it" {
  need_fuse
  make_images
  truncate -s 16M disk.raw
  printf 'label: gpt\nstart=2048,size=8192\nstart=12288,size=4096\n' | sfdisk -q disk.raw
  md5sum disk.raw >sum
  cp disk.raw reference.raw
  "$IMGMOUNT" --overlay o.qcow2 disk.raw mnt
  python3 - <<'PYTHON'
import random
random.seed(5)
reference = open("reference.raw", "r+b", buffering=0)
files = [(open("mnt/" + name, "r+b", buffering=0), at, size) for name, at, size in
         [("disk", 0, 16 << 20), ("p1", 1 << 20, 4 << 20), ("p2", 6 << 20, 2 << 20)]]
for _ in range(400):
    file, start, size = random.choice(files)
    length = random.randint(1, random.choice([10, 512, 4096, 70000, 300000]))
    # Past the table, so that it stays one.
    at = random.randint(40000 if start == 0 else 0, size - length)
    data = random.randbytes(length)
    file.seek(at)
    assert file.write(data) == length
    reference.seek(start + at)
    reference.write(data)
PYTHON
  cmp mnt/disk reference.raw
  cmp mnt/p1 <(tail -c +1048577 reference.raw | head -c 4M)
  # The mount tells what it shows.
  jq -e '.format == "raw" and .chain[0].format == "qcow2" and .chain[1].format == "raw"
         and (.chain[0].path | endswith("/o.qcow2"))' mnt/info.json
  [[ $(stat -c %s mnt/disk) == 16777216 ]]
  "$IMGMOUNT" --unmount mnt
  same_as_reference o.qcow2
  md5sum -c --quiet sum
  "$IMGMOUNT" -o overlay=o.qcow2,partition=1 disk.raw mnt
  cmp mnt/disk <(tail -c +1048577 reference.raw | head -c 4M)
  "$IMGMOUNT" --unmount mnt
  "$IMGMOUNT" -o snapshot disk.raw mnt
  printf gone >mnt/p2
  [[ $(head -c 4 mnt/p2) == gone ]]
  "$IMGMOUNT" --unmount mnt
  md5sum -c --quiet sum
}

@test "overlay: the exact size is shown, and the last byte can be written" {
  make_images
  serve --overlay o.qcow2 base.raw
  [[ $(nbdinfo --size "$(URI)") == 3000001 ]]
  printf '\132' >last
  nbd 'h.pwrite(b"Z", 3000000)' 'assert h.pread(2, 2999999)[1:] == b"Z"'
  run ! nbd 'h.set_strict_mode(0)' 'h.pwrite(b"Z", 3000001)'
  stop
  [[ $(qemu-img info --output=json o.qcow2 | jq '."virtual-size"') == 3000320 ]]
  qemu-img convert -O raw o.qcow2 got.raw
  cmp -n 3000000 base.raw got.raw
  cmp -i 3000000:0 -n 1 got.raw last
  tail -c 319 got.raw | cmp - <(head -c 319 /dev/zero)
  untouched
}

@test "overlay: images that nobody may write, and those on a read-only file system" {
  need_fuse
  make_images
  chmod 0444 base.raw chain.qcow2
  for image in base.raw chain.qcow2; do
    for option in -s --overlay=o.qcow2; do
      run --separate-stderr serve "$option" "$image"
      [ -z "$stderr" ]
      io 'write -P 9 1M 100k' 'read -P 9 1M 100k'
      stop
    done
    rm o.qcow2
  done
  truncate -s 16M fs.img
  mke2fs -q -t ext4 fs.img
  mount_loop fs.img small
  cp base.raw chain.qcow2 small
  mount -o remount,ro small
  for option in -s --overlay=o.qcow2; do
    serve "$option" small/chain.qcow2
    io 'write -P 9 1M 100k' 'read -P 9 1M 100k'
    stop
  done
  [[ $(qemu-img info o.qcow2) == *"backing file: $PWD/small/chain.qcow2"* ]]
  run ! "$IMGMOUNT" --overlay small/o.qcow2 base.raw mnt
  [[ $output == "imgmount: base.raw: overlay small/o.qcow2: cannot create it: Read-only file system" ]]
}

@test "overlay: the image is opened for reading alone and never written" {
  command -v strace >/dev/null || skip "strace is not installed"
  strace -qq -o /dev/null true || skip "strace cannot trace here"
  make_images
  export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
  for option in -s --overlay=o.qcow2; do
    strace -f -qq -y -o trace "$IMGMOUNT" --nbd -k "$PWD/s" "$option" chain.qcow2 3>&- &
    await_listening "$PWD/s" $!
    io 'write -P 1 0 300k' 'write -z 1M 1M' 'discard 2M 1M' flush
    wait $!
    grep -q 'openat.*chain.qcow2.*O_RDONLY' trace
    grep -q 'openat.*base.raw.*O_RDONLY' trace
    run ! grep -E 'openat.*(chain.qcow2|base.raw).*(O_RDWR|O_WRONLY|O_TRUNC|O_CREAT)' trace
    run ! grep -E '(write|writev|pwrite64|pwritev2?|fallocate|ftruncate|fdatasync|fsync|fchmod|fchown|futimens|utimensat|unlink|rename)\([^)]*(chain.qcow2|base.raw)' trace
    # What vanishes is not worth a sync.
    [[ $option != -s ]] || run ! grep -E '(fdatasync|fsync|sync_file_range)\(' trace
  done
  untouched
}

@test "overlay: qemu-img reads, rebases, commits and compares it" {
  make_images
  serve --overlay o.qcow2 chain.qcow2
  differ 11
  stop
  qemu-img info --output=json o.qcow2 >info
  jq -e '."backing-filename" == "chain.qcow2" and ."backing-filename-format" == "qcow2"
         and ."cluster-size" == 65536 and ."format-specific".data.compat == "1.1"' info
  qemu-img compare -q -F raw o.qcow2 reference.raw
  cp o.qcow2 flat.qcow2
  qemu-img rebase -b '' flat.qcow2
  qemu-img compare -q -F raw flat.qcow2 reference.raw
  # QEMU goes on with it, and imgmount with what QEMU did.
  qemu-io -f qcow2 -c 'write -P 77 3M 64k' o.qcow2 >/dev/null
  serve --overlay o.qcow2 chain.qcow2
  io 'read -P 77 3M 64k' 'write -P 78 3M 4k' | tee out
  run ! grep -q failed out
  stop
  qemu-io -f raw -c 'write -P 77 3M 64k' -c 'write -P 78 3M 4k' reference.raw >/dev/null
  qemu-img commit -q o.qcow2
  qemu-img check -q chain.qcow2
  qemu-img compare -q -F raw chain.qcow2 reference.raw
  # Over raw, with the last partial sector.
  serve --overlay r.qcow2 base.raw
  nbd 'h.pwrite(b"the end", 2999994)'
  stop
  qemu-img commit -q r.qcow2
  [[ $(head -c 3000001 base.raw | tail -c 7) == "the end" ]]
}

@test "overlay: it names the image so that both can be found again" {
  make_images
  mkdir a b
  cp base.raw 'a/odd:name.raw'
  serve --overlay a/o.qcow2 'a/odd:name.raw'
  stop
  (cd b && "$IMGMOUNT" --nbd --fork --pid-file "$PWD/../pid" -k "$PWD/s" --overlay far.qcow2 ../a/odd:name.raw 3>&-)
  stop
  [[ $(qemu-img info --output=json a/o.qcow2 | jq -r '."backing-filename"') == ./odd:name.raw ]]
  [[ $(qemu-img info --output=json b/far.qcow2 | jq -r '."backing-filename"') == "$PWD/a/odd:name.raw" ]]
  # Moved together, the pair still is one; by links, too.
  mv a c
  ln -s c/odd:name.raw link.raw
  ln -s c/o.qcow2 link.qcow2
  qemu-img check -q c/o.qcow2
  serve --overlay c/o.qcow2 link.raw
  stop
  run ! serve --overlay b/far.qcow2 link.raw
  [[ $output == *"overlay b/far.qcow2: has the backing file $PWD/a/odd:name.raw: No such file or directory" ]]
  name=$(printf 'x%.0s' {1..250})
  deep=$PWD/$name/$name/$name/$name
  mkdir -p "$deep"
  cp base.raw "$deep"
  run ! serve --overlay long.qcow2 "$deep/base.raw"
  [[ $output == *"overlay long.qcow2: the backing file's name of "*" bytes is longer than the limit of 1023" ]]
  [ ! -e long.qcow2 ]
  serve -s "$deep/base.raw"
  stop
  # Who may not read the image may not read what was written above it.
  chmod 0600 base.raw
  (umask 022 && serve --overlay private.qcow2 base.raw)
  stop
  [[ $(stat -c %a private.qcow2) == 600 ]]
}

refuses() { # FILE MESSAGE [OPTION...]
  local file=$1 message=$2 sum
  shift 2
  sum=$(md5sum <"$file")
  run serve "$@" --overlay "$file" base.raw
  [ "$status" -eq 1 ]
  [[ $output == "imgmount: base.raw: overlay $file: $message" ]] || { echo "said: $output"; return 1; }
  [[ $(md5sum <"$file") == "$sum" ]]
}

@test "overlay: what is there and is no overlay of this image is refused, and stays" {
  make_images
  cp base.raw other.raw
  ln base.raw hardlink.raw
  : >empty
  qemu-img create -q -f qcow2 alone.qcow2 3000320
  qemu-img create -q -f qcow2 -b other.raw -F raw other.qcow2
  qemu-img create -q -f qcow2 -b base.raw -F raw larger.qcow2 8M
  qemu-img create -q -f qcow2 -u -b base.raw -F qcow2 wrong.qcow2 3000320
  qemu-img create -q -f qcow2 -b base.raw -F raw unsaid.qcow2
  # The record of the format becomes the end of the records.
  printf '\0\0\0\0' | dd of=unsaid.qcow2 bs=1 seek=112 conv=notrunc status=none
  qemu-img create -q -f qcow2 -u -b nbd://localhost/x -F raw far.qcow2 3000320
  qemu-img create -q -f qcow2 -b base.raw -F raw dirty.qcow2
  printf '\001' | dd of=dirty.qcow2 bs=1 seek=79 conv=notrunc status=none
  refuses empty 'exists, and is not a qcow2 image; it stays as it is'
  refuses other.raw 'exists, and is not a qcow2 image; it stays as it is'
  refuses base.raw 'is the image itself'
  refuses hardlink.raw 'is the image itself'
  refuses alone.qcow2 'has no backing file, so it is no overlay of this image'
  refuses other.qcow2 "has another backing file than this image: $PWD/other.raw"
  refuses larger.qcow2 'has a disk of 8388608 bytes, the image one of 3000001'
  refuses wrong.qcow2 'takes its backing file for qcow2, the image was opened as raw'
  refuses far.qcow2 'backing file "nbd://localhost/x" names the protocol "nbd": only file names are followed'
  # Whoever can write images that were not closed may well take this one.
  run serve --overlay dirty.qcow2 base.raw
  [ "$status" -eq 0 ] && stop || [[ $output == *'overlay dirty.qcow2: cannot be written: '* ]]
  run serve --overlay base.raw chain.qcow2
  [[ $output == 'imgmount: chain.qcow2: overlay base.raw: is a parent of the image' ]]
  # Without a record the probe decides, as it does in QEMU.
  serve --overlay unsaid.qcow2 base.raw
  stop
  md5sum -c --quiet sums
  mkfifo fifo
  run timeout 10 "$IMGMOUNT" --overlay fifo base.raw mnt
  [[ $output == *'overlay fifo: is a FIFO, '* ]]
}

@test "overlay: an image that -f makes raw is recorded as raw" {
  make_images
  serve -f raw --overlay o.qcow2 packed.qcow2
  nbdcopy "$(URI)" - | head -c "$(stat -c %s packed.qcow2)" | cmp - packed.qcow2
  stop
  [[ $(qemu-img info o.qcow2) == *'backing file format: raw'* ]]
  run ! serve --overlay o.qcow2 packed.qcow2
  [[ $output == *'takes its backing file for raw, the image was opened as qcow2' ]]
  # A guest may write what would be another format's signature.
  serve --overlay s.qcow2 base.raw
  nbd 'h.pwrite(b"QFI\xfb\0\0\0\3", 0)'
  stop
  serve --overlay s.qcow2 base.raw
  nbd 'assert h.pread(3, 0) == b"QFI" and h.get_size() == 3000001'
  stop
}

@test "overlay: -r and -l win, and options that contradict each other are refused" {
  make_images
  for option in '-r -s' '-r --overlay=o.qcow2' '-l first -s' '-l first --overlay=o.qcow2'; do
    # shellcheck disable=SC2086
    serve $option chain.qcow2
    nbdinfo "$(URI)" | grep -q 'is_read_only: true'
    stop
    [ ! -e o.qcow2 ]
  done
  run ! serve -s --overlay o.qcow2 base.raw
  [[ ${lines[0]} == 'imgmount: --snapshot and --overlay exclude each other' ]]
  run ! serve --overlay o.qcow2 --backing=none base.raw
  [[ ${lines[0]} == 'imgmount: --overlay and --backing=none exclude each other' ]]
  run ! "$IMGMOUNT" -o snapshot,overlay=o.qcow2 base.raw mnt
  [[ ${lines[0]} == 'imgmount: --snapshot and --overlay exclude each other' ]]
  [ ! -e o.qcow2 ]
  serve -s --backing=none chain.qcow2
  io 'write -P 5 4M 64k' 'read -P 5 4M 64k'
  stop
  untouched
}

@test "overlay: --offset, --size and --partition cut the overlaid disk" {
  make_images
  truncate -s 4M disk.raw
  printf 'label: dos\nstart=2048,size=2048\n' | sfdisk -q disk.raw
  serve --overlay o.qcow2 -P 1 disk.raw
  io 'write -P 1 0 64k'
  stop
  serve --overlay o.qcow2 --offset 3M --size 512k disk.raw
  io 'write -P 2 0 64k'
  stop
  qemu-io -f qcow2 -c 'read -P 1 1M 64k' -c 'read -P 2 3M 64k' o.qcow2 | tee out
  run ! grep -q failed out
  [[ $(qemu-img info o.qcow2) == *'(4194304 bytes)'* ]]
}

@test "overlay: killed in the middle and continued, many times, without corruption" {
  make_images
  local round
  for round in $(seq 10); do
    serve --overlay o.qcow2 --discard=unmap chain.qcow2
    /usr/bin/python3 "$DIFFER" "$PWD/s" reference.raw "$round" 100000 2>/dev/null &
    sleep "0.$((RANDOM % 5 + 1))"
    kill -9 "$(cat pid)"
    wait $! || :
    rm -f pid
    # Status 3: leaked clusters and nothing else.
    run qemu-img check o.qcow2
    [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || { echo "$output"; return 1; }
  done
  untouched
}

@test "overlay: what was flushed is there after kill -9" {
  make_images
  serve --overlay o.qcow2 base.raw
  nbd 'h.pwrite(b"kept" * 1000, 123456)' 'h.flush()' 'h.pwrite(b"?", 0)'
  kill -9 "$(cat pid)"
  rm pid
  serve --overlay o.qcow2 base.raw
  nbd 'assert h.pread(4000, 123456) == b"kept" * 1000'
  stop
}

small_disk() { # MIB
  truncate -s "$1M" fs.img
  mke2fs -q -m 0 -t ext4 -O ^has_journal fs.img
  mount_loop fs.img small
  mkdir small/tmp
}

# Fills the place of the overlay; ENOSPC comes, the server goes on, and nothing else is lost.
fill() {
  /usr/bin/python3 - "$PWD/s" <<'PYTHON'
import errno, nbd, sys
h = nbd.NBD()
h.connect_unix(sys.argv[1])
block, answered = b"\x5a" * 262144, []
for at in range(0, h.get_size(), len(block)):
    try:
        h.pwrite(block, at)
        answered.append(at)
    except nbd.Error as e:
        assert e.errno == "ENOSPC", e
        break
else:
    sys.exit("it was never full")
assert len(answered) > 8
for at in answered:
    assert h.pread(len(block), at) == block, at
# What is there already can still be overwritten, and what is beneath be read.
h.pwrite(b"again", 0)
assert h.pread(5, 0) == b"again"
assert h.pread(512, h.get_size() - 512) == bytes(512)
PYTHON
}

@test "overlay: a TMPDIR that fills up is ENOSPC to the client, and nothing worse" {
  need_fuse
  small_disk 8
  truncate -s 64M disk.raw
  TMPDIR=$PWD/small/tmp serve -s disk.raw
  fill
  # A flush of what vanishes cannot fail, nor can the end.
  nbd 'h.flush()'
  stop
  [ -z "$(ls -A small/tmp)" ]
  # All of the space is back.
  [ "$(df --output=avail -k small | tail -1)" -gt 6000 ]
}

@test "overlay: a file system that fills up under FILE is ENOSPC, and goes on once there is room" {
  need_fuse
  small_disk 8
  truncate -s 64M disk.raw
  head -c 1M /dev/zero >small/ballast
  serve --overlay small/o.qcow2 disk.raw
  fill
  rm small/ballast
  nbd 'h.flush()' 'h.pwrite(b"later", 1000)'
  stop
  qemu-img check -q small/o.qcow2
  serve --overlay small/o.qcow2 disk.raw
  nbd 'assert h.pread(5, 0) == b"again" and h.pread(5, 1000) == b"later"' \
    'assert h.pread(2097152, 5) == b"Z" * 995 + b"later" + b"Z" * 2096152'
  # Full to the end: an image that holds together all the same.
  kill -9 "$(cat pid)"
  rm -f pid small/o.qcow2
  serve --overlay small/o.qcow2 disk.raw
  fill
  stop
  run qemu-img check small/o.qcow2
  [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || { echo "$output"; return 1; }
  serve --overlay small/o.qcow2 disk.raw
  stop
  umount small
  # No room at all: nothing is left behind.
  small_disk 1
  dd if=/dev/zero of=small/full bs=4k status=none || :
  run serve --overlay small/n.qcow2 disk.raw
  [ "$status" -eq 1 ]
  [[ $output == *'overlay small/n.qcow2: '*'No space left on device' ]]
  [ ! -e small/n.qcow2 ]
  TMPDIR=$PWD/small/tmp run serve -s disk.raw
  [[ $output == *"temporary overlay in $PWD/small/tmp: "*'No space left on device' ]]
}

@test "overlay: a TMPDIR that cannot be used gets one line" {
  make_images
  TMPDIR=$PWD/nowhere run ! serve -s base.raw
  [[ $output == "imgmount: base.raw: temporary overlay in $PWD/nowhere: cannot create it: No such file or directory" ]]
  TMPDIR=$PWD/base.raw run ! serve -s base.raw
  [[ $output == "imgmount: base.raw: temporary overlay in $PWD/base.raw: cannot create it: Not a directory" ]]
  # Where it says nothing, /var/tmp.
  TMPDIR='' serve -s base.raw
  ls -l "/proc/$(cat pid)/fd" | grep -q ' /var/tmp/.*(deleted)'
  stop
}

@test "overlay: on a file system without nameless files it has a name for a moment" {
  command -v strace >/dev/null || skip "strace is not installed"
  strace -qq -o /dev/null true || skip "strace cannot trace here"
  make_images
  export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
  strace -f -qq -o trace -P "$PWD/tmp" -e trace=openat -e inject=openat:error=EOPNOTSUPP \
    "$IMGMOUNT" --nbd -t -e 0 --pid-file "$PWD/pid" -k "$PWD/s" -s chain.qcow2 3>&- &
  await_listening "$PWD/s" $!
  differ 21
  [ -z "$(ls -A tmp)" ]
  ls -l "/proc/$(cat pid)/fd" | grep -q "$PWD/tmp/imgmount-.*(deleted)"
  stop
  wait $!
  grep -q 'O_TMPFILE.*INJECTED' trace
  untouched
}

@test "overlay: what it takes to begin hangs on the image's size by very little" {
  truncate -s 1M little.raw
  truncate -s 15T large.raw 2>/dev/null || skip "no files of 15 TiB here"
  local memory=()
  for image in little.raw large.raw; do
    serve --overlay "$image.qcow2" "$image"
    memory+=("$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$(cat pid)/status")")
    stop
  done
  [ $((memory[1] - memory[0])) -lt 4096 ]
  [ "$(du -k large.raw.qcow2 | cut -f 1)" -lt 64 ]
  serve --overlay large.raw.qcow2 large.raw
  io 'write -P 1 14T 64k' 'read -P 1 14T 64k' 'read -P 0 13T 64k' | tee out
  run ! grep -q failed out
  stop
  qemu-img check -q large.raw.qcow2
}
