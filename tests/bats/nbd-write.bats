#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Writing through the NBD server, by others' clients, held against the image itself.

bats_require_minimum_version 1.5.0

load loop-helpers
load socket-helpers

setup() {
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  cd "$BATS_TEST_TMPDIR"
  URI="nbd+unix:///?socket=$PWD/s"
  SERVER=
}

teardown() {
  if [ -n "$SERVER" ]; then
    kill "$SERVER" 2>/dev/null || true
    wait "$SERVER" 2>/dev/null || true
  fi
  if mountpoint -q "$BATS_TEST_TMPDIR/small"; then umount "$BATS_TEST_TMPDIR/small"; fi
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
}

# Serves with the given arguments on the socket s, for any number of clients.
serve() {
  "$IMGMOUNT" --nbd -k "$PWD/s" -t -e 0 "$@" 2>said 3>&- &
  SERVER=$!
  await_listening "$PWD/s" "$SERVER" || { cat said; return 1; }
}

# Ends the server, which must leave with STATUS.
stop() { # STATUS
  local status=0
  kill "$SERVER"
  wait "$SERVER" || status=$?
  SERVER=
  [ "$status" -eq "$1" ]
}

random() { # FILE BYTES
  head -c "$2" /dev/urandom >"$1"
}

# Runs the script on standard input with libnbd's module.
client() {
  /usr/bin/python3 -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
  /usr/bin/python3 - "$URI" "$@"
}

@test "nbd-write: what is written is in the image, and nothing else is changed" {
  need qemu-io
  random disk.img 8M
  cp disk.img expected
  serve -f raw disk.img
  qemu-io -f raw -c 'write -P 1 0 64k' -c 'write -P 2 -f 1M 4k' -c 'write -P 3 2000001 99999' \
    -c 'write -z 3M 1M' -c 'write -zu 5M 64k' -c 'flush' "$URI" >log
  stop 0
  python3 - <<'PYTHON'
with open('expected', 'r+b') as f:
    for byte, at, length in (1, 0, 65536), (2, 1 << 20, 4096), (3, 2000001, 99999), \
            (0, 3 << 20, 1 << 20), (0, 5 << 20, 65536):
        f.seek(at)
        f.write(bytes([byte]) * length)
PYTHON
  cmp disk.img expected
}

@test "nbd-write: nbdcopy, both ways, over several connections" {
  need nbdcopy
  random from.img 30000000
  truncate -s 30000000 disk.img
  serve -f raw disk.img
  nbdcopy --connections=4 --flush from.img "$URI"
  nbdcopy --connections=4 "$URI" back.img
  stop 0
  cmp from.img disk.img
  cmp from.img back.img
}

@test "nbd-write: a writable export says what it takes, a read-only one that it is" {
  need nbdinfo
  truncate -s 1M disk.img
  serve -f raw disk.img
  for what in flush fua trim zero fast-zero multi-conn; do nbdinfo --can "$what" "$URI"; done
  run nbdinfo --is read-only "$URI"
  [ "$status" -eq 2 ]
  stop 0
  serve -r -f raw disk.img
  nbdinfo --is read-only "$URI"
  for what in trim zero fast-zero; do
    run nbdinfo --can "$what" "$URI"
    [ "$status" -eq 2 ]
  done
}

@test "nbd-write: one client alone is not offered several connections" {
  need nbdinfo
  truncate -s 1M disk.img
  serve -e 1 -f raw disk.img
  run nbdinfo --can multi-conn "$URI"
  [ "$status" -eq 2 ]
}

@test "nbd-write: -r refuses, and leaves the image alone" {
  random disk.img 1M
  cp disk.img before
  serve -r -f raw disk.img
  client <<'PYTHON'
import errno, nbd, sys
h = nbd.NBD()
h.set_strict_mode(0)
h.connect_uri(sys.argv[1])
for change in (lambda: h.pwrite(b'x' * 100000, 0), lambda: h.zero(512, 0), lambda: h.trim(512, 0)):
    try:
        change()
        sys.exit('it worked')
    except nbd.Error as e:
        assert e.errnum == errno.EPERM, e
h.flush()
assert len(h.pread(512, 0)) == 512
PYTHON
  stop 0
  cmp disk.img before
}

@test "nbd-write: wrong requests have their errors, and the connection goes on" {
  random disk.img 40M
  serve -f raw disk.img
  client <<'PYTHON'
import errno, nbd, sys
h = nbd.NBD()
h.set_strict_mode(0)
h.add_meta_context('base:allocation')
h.connect_uri(sys.argv[1])
size = h.get_size()
def fails(number, call, *args):
    try:
        call(*args)
    except nbd.Error as e:
        assert e.errnum == number, (e, args[1:])
        return
    sys.exit(f'it worked: {args[1:]}')
for at in size, size - 1, 2**63, 2**64 - 1:
    fails(errno.ENOSPC, h.pwrite, b'x' * 512, at)
    fails(errno.ENOSPC, h.zero, 512, at)
    fails(errno.EINVAL, h.trim, 512, at)
    fails(errno.EINVAL, h.pread, 512, at)
for flag in 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 6, 1 << 15:
    fails(errno.EINVAL, h.pwrite, b'y' * 100000, 0, flag)
fails(errno.EINVAL, h.trim, 512, 0, nbd.CMD_FLAG_FAST_ZERO)
fails(errno.EINVAL, h.block_status, 0xffffffff, 0, lambda *a: 0)
h.pwrite(b'ok' * (16 << 20), 12345)
assert h.pread(32 << 20, 12345) == b'ok' * (16 << 20)
PYTHON
  stop 0
}

@test "nbd-write: a client that vanishes within a payload has written nothing of it" {
  random disk.img 8M
  cp disk.img before
  serve -f raw disk.img
  for length in 4096 65536 4194304; do
    status=0
    LENGTH=$length client <<'PYTHON' || status=$?
import os, socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1].split('=')[1])
s.recv(18, socket.MSG_WAITALL)
s.sendall(struct.pack('>IQII', 3, 0x49484156454f5054, 1, 0))
s.recv(10, socket.MSG_WAITALL)
length = int(os.environ['LENGTH'])
s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 1, 1, 0, length) + b'x' * (length - 1))
os.kill(os.getpid(), 9)
PYTHON
    [ "$status" -eq 137 ]
  done
  stop 0
  cmp disk.img before
}

@test "nbd-write: random changes over three connections, against a plain file" {
  random disk.img 12000300
  cp disk.img expected
  serve -f raw --discard unmap disk.img
  client expected <<'PYTHON'
import nbd, random, sys
seed = 20
r = random.Random(seed)
f = open(sys.argv[2], 'r+b')
size = f.seek(0, 2)
clients = []
for i in range(3):
    h = nbd.NBD()
    h.connect_uri(sys.argv[1])
    clients.append(h)
def note(at, data):
    f.seek(at)
    f.write(data)
for step in range(600):
    h = r.choice(clients)
    n = r.choice([1, 512, 4096, r.randrange(1, 70000), r.randrange(1, 2 << 20)])
    at = r.randrange(0, size - n + 1)
    at -= at % r.choice([1, 4096])
    fua = r.choice([0, 0, 0, nbd.CMD_FLAG_FUA])
    kind = r.randrange(6)
    if kind < 2:
        data = r.randbytes(n)
        h.pwrite(data, at, fua)
        note(at, data)
    elif kind == 2:
        h.zero(n, at, fua | r.choice([0, nbd.CMD_FLAG_NO_HOLE]))
        note(at, bytes(n))
    elif kind == 3:
        h.trim(n, at, fua)
        note(at, h.pread(n, at))
    elif kind == 4:
        h.flush()
    else:
        f.seek(at)
        assert h.pread(n, at) == f.read(n), (seed, step)
f.close()
PYTHON
  stop 0
  cmp disk.img expected
}

@test "nbd-write: fio verifies what it wrote" {
  need fio
  fio --enghelp=nbd >/dev/null 2>&1 || skip "fio has no nbd engine"
  truncate -s 32M disk.img
  serve -f raw disk.img
  fio --name=verify --ioengine=nbd --uri="$URI" --rw=randwrite --bsrange=512-300k --bs_unaligned \
    --iodepth=16 --size=30M --verify=crc32c --verify_fatal=1 >log 2>&1 || {
    cat log
    return 1
  }
}

@test "nbd-write: a full file system is told to the client, and the server goes on" {
  need mkfs.ext4 qemu-io
  [ "$(id -u)" -eq 0 ] || skip "needs root"
  truncate -s 8M small.fs
  mkfs.ext4 -q small.fs
  mkdir small
  mount_loop small.fs small || skip "no loop devices here"
  truncate -s 32M small/disk.img
  serve -f raw small/disk.img
  run qemu-io -f raw -c 'write -P 1 0 1M' -c 'write -P 2 1M 24M' -c 'read -P 1 0 1M' "$URI"
  [[ $output == *"No space left on device"* ]]
  [[ $output != *"Pattern verification failed"* ]]
  qemu-io -f raw -c 'read -P 1 0 1M' -c 'write -P 3 0 512k' -c flush "$URI"
  grep -q 'No space left on device' said
  stop 0
}

@test "nbd-write: a last flush that fails is status 1 and a line that names the image" {
  need qemu-io strace
  truncate -s 1M disk.img
  strace -qq -o /dev/null true || skip "strace cannot trace here"
  # The search for leaks cannot work in a traced process.
  ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 strace -f -qq -o /dev/null -e trace=fdatasync -e inject=fdatasync:error=EIO \
    "$IMGMOUNT" --nbd -k "$PWD/s" -f raw disk.img 2>said 3>&- &
  SERVER=$!
  await_listening "$PWD/s" "$SERVER"
  run qemu-io -f raw -c 'write 0 4k' -c flush "$URI"
  status=0
  wait "$SERVER" || status=$?
  SERVER=
  [ "$status" -eq 1 ]
  grep -q 'flush of "": .*Input/output error' said
  grep -q '/disk.img: the last flush: .*Input/output error' said
}

@test "nbd-write: what was answered is there after the server was stopped in the middle" {
  truncate -s 64M disk.img
  serve -f raw disk.img
  client "$SERVER" <<'PYTHON'
import errno, nbd, os, signal, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
answered = []
errors = []
def completed(at):
    def call(error):
        (errors if error.value else answered).append(at)
        return 1
    return call
block = b'\x5a' * 65536
for i in range(1024):
    if i == 200:
        os.kill(int(sys.argv[2]), signal.SIGTERM)
    try:
        h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(block)), i * 65536, completed(i))
    except nbd.Error:
        break
try:
    while h.aio_in_flight() > 0:
        h.poll(-1)
except nbd.Error:
    pass
assert answered
with open('disk.img', 'rb') as f:
    for i in answered:
        f.seek(i * 65536)
        assert f.read(65536) == block, i
PYTHON
  wait "$SERVER"
  SERVER=
}

@test "nbd-write: partitions are written in their place" {
  need sfdisk qemu-io
  truncate -s 8M disk.img
  printf '2048,4096\n' | sfdisk -q disk.img
  cp disk.img expected
  serve -f raw disk.img
  qemu-io -f raw -c 'write -P 9 4096 8192' "nbd+unix:///p1?socket=$PWD/s" >log
  run qemu-io -f raw -c 'write 2M 512' "nbd+unix:///p1?socket=$PWD/s"
  [[ $output != *"wrote 512"* ]]
  stop 0
  python3 -c "
with open('expected', 'r+b') as f:
    f.seek((1 << 20) + 4096)
    f.write(bytes([9]) * 8192)"
  cmp disk.img expected
}

@test "nbd-write: qcow2 keeps what is written to preallocated zeros past the file's end" {
  need qemu-img qemu-io
  qemu-img create -q -f qcow2 cut.qcow2 1M
  qemu-io -c 'write -P 1 0 64k' -c 'write -z 0 64k' cut.qcow2 >/dev/null
  truncate -s $((0x50000)) cut.qcow2
  serve cut.qcow2
  qemu-io -f raw -c 'write -P 2 0 64k' -c 'flush' "$URI" >log
  stop 0
  qemu-img check -q cut.qcow2
  qemu-io -r -c 'read -P 2 0 64k' cut.qcow2 >log
  run ! grep failed log
}

@test "nbd-write: qcow2 keeps what is written where the file cut its last cluster short" {
  need qemu-img qemu-io
  qemu-img create -q -f qcow2 cut.qcow2 1M
  qemu-io -c 'write -P 1 0 64k' cut.qcow2 >/dev/null
  truncate -s $((0x50000 + 4096)) cut.qcow2
  serve cut.qcow2
  qemu-io -f raw -c 'write -P 2 32k 4k' -c 'flush' "$URI" >log
  stop 0
  qemu-io -r -c 'read -P 1 0 4k' -c 'read -P 2 32k 4k' cut.qcow2 >log
  run ! grep failed log
}
