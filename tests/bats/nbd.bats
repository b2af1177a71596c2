#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# The NBD server as clients of others see it: libnbd's tools, QEMU's, and rubbish.

bats_require_minimum_version 1.5.0

load socket-helpers

# One disk for all tests: a GPT, two partitions, data and holes, an odd size; and the same
# as qcow2, plain and compressed.
setup_file() {
  cd "$BATS_FILE_TMPDIR"
  truncate -s $((48 * 1024 * 1024 + 512)) disk.raw
  if command -v sfdisk >/dev/null; then
    printf 'label: gpt\nstart=2048,size=32768,name=first\nstart=40960,size=20480\n' |
      sfdisk -q disk.raw
  fi
  head -c 9000000 /dev/urandom | dd of=disk.raw bs=64k seek=20 conv=notrunc status=none
  yes 'some text that compresses well' | head -c 5000000 |
    dd of=disk.raw bs=64k seek=400 conv=notrunc status=none
  if command -v qemu-img >/dev/null; then
    qemu-img convert -f raw -O qcow2 disk.raw plain.qcow2
    qemu-img convert -c -f raw -O qcow2 disk.raw zlib.qcow2
  fi
}

setup() {
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  IMGMOUNT=$(realpath "$IMGMOUNT")
  # ThreadSanitizer cannot see into GLib's own slices.
  export G_SLICE=always-malloc
  cd "$BATS_TEST_TMPDIR"
  RAW=$BATS_FILE_TMPDIR/disk.raw
  SOCKET=$BATS_TEST_TMPDIR/s
  URI="nbd+unix:///?socket=$SOCKET"
  SERVER=
}

teardown() {
  [[ -z $SERVER ]] || kill -KILL "$SERVER" 2>/dev/null || true
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
}

# Debian's own Python, which has the module; another may come first in PATH.
python_with_nbd() {
  local python
  for python in /usr/bin/python3 python3; do
    if "$python" -c 'import nbd' 2>/dev/null; then
      PYTHON=$python
      return
    fi
  done
  skip "Python has no nbd module"
}

# Serves on $SOCKET until it is ended.  Arguments as for imgmount --nbd.
serve() {
  "$IMGMOUNT" --nbd -k "$SOCKET" "$@" >server.out 2>server.log 3>&- &
  SERVER=$!
  await_listening "$SOCKET" "$SERVER" || { cat server.log; return 1; }
}

# Asks the server to end, and checks that it did so in order.
end_server() {
  kill -TERM "$SERVER"
  await_end
}

# Waits for the server to end by itself: status 0 and no socket left.
await_end() {
  local status=0
  wait "$SERVER" || status=$?
  SERVER=
  [[ $status == 0 ]] || { cat server.log; return 1; }
  [[ ! -e $SOCKET ]]
}

@test "nbd: nbdinfo tells size, flags, contexts and block sizes" {
  need nbdinfo
  serve -r -t -e 0 -D 'a test disk' "$RAW"
  run --separate-stderr nbdinfo --json "$URI"
  [ "$status" -eq 0 ]
  local line
  for line in '"export-size": 50332160' '"description": "a test disk"' '"base:allocation"' \
    '"is_read_only": true' '"can_multi_conn": true' '"can_df": true' '"can_flush": true' \
    '"can_cache": true' '"can_zero": false' '"block_size_minimum": 1,' \
    '"block_size_preferred": 4096' '"block_size_maximum": 33554432' '"structured": true'; do
    grep -qF -- "$line" <<<"$output" || { echo "lacks $line in $output"; return 1; }
  done
  end_server
}

@test "nbd: partitions are exports of their own, with descriptions" {
  need nbdinfo sfdisk nbdcopy
  serve -r -t -x whole "$RAW"
  run --separate-stderr nbdinfo --list --json "$URI"
  [ "$status" -eq 0 ]
  grep -qF '"export-name": "whole"' <<<"$output"
  grep -qF '"export-name": "p1"' <<<"$output"
  grep -qF '"export-name": "p2"' <<<"$output"
  nbdcopy "nbd+unix:///p1?socket=$SOCKET" p1
  cmp p1 <(dd if="$RAW" bs=1M skip=1 count=16 status=none)
  nbdcopy "nbd+unix:///p2?socket=$SOCKET" p2
  cmp p2 <(dd if="$RAW" bs=1M skip=20 count=10 status=none)
  run ! nbdinfo --size "nbd+unix:///p3?socket=$SOCKET"
  run ! nbdinfo --size "$URI"
  end_server
}

@test "nbd: -x must not be a partition's name" {
  need sfdisk
  run "$IMGMOUNT" --nbd -r -k "$SOCKET" -x p2 "$RAW"
  [ "$status" -eq 1 ]
  [[ $output == *'"p2" is also the name of a partition'* ]]
  [ ! -e "$SOCKET" ]
}

@test "nbd: -P exports that partition and nothing else" {
  need nbdinfo nbdcopy sfdisk
  serve -r -t -P 2 "$RAW"
  [ "$(nbdinfo --list --json "$URI" | grep -c export-name)" -eq 1 ]
  nbdcopy "$URI" p2
  cmp p2 <(dd if="$RAW" bs=1M skip=20 count=10 status=none)
  end_server
}

@test "nbd: the map is qemu-nbd's" {
  need nbdinfo qemu-nbd
  serve -r -t "$RAW"
  nbdinfo --map "$URI" >ours
  end_server
  qemu-nbd -r -t -f raw -k "$PWD/q" "$RAW" 3>&- &
  SERVER=$!
  await_listening "$PWD/q" "$SERVER"
  nbdinfo --map "nbd+unix:///?socket=$PWD/q" >theirs
  kill "$SERVER"
  wait "$SERVER" || true
  diff ours theirs
  grep -q hole ours
}

@test "nbd: nbdcopy over several connections copies raw, plain and compressed qcow2" {
  need nbdcopy qemu-img
  local image
  for image in disk.raw plain.qcow2 zlib.qcow2; do
    serve -r -t -e 8 "$BATS_FILE_TMPDIR/$image"
    nbdcopy --connections=4 --requests=16 "$URI" copy
    cmp copy "$RAW"
    nbdcopy --synchronous --no-extents "$URI" copy2
    cmp copy2 "$RAW"
    end_server
    rm copy copy2
  done
}

@test "nbd: compressed clusters at any place, amid others, for clients that go away with some unread" {
  python_with_nbd
  need qemu-img
  serve -r -t -e 0 --chunk-cache=1M "$BATS_FILE_TMPDIR/zlib.qcow2"
  "$PYTHON" - "$URI" "$RAW" <<'PYTHON'
import random, sys
import nbd
chance = random.Random(1)
disk = open(sys.argv[2], "rb").read()
def connect(structured):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    h.connect_uri(sys.argv[1])
    return h
def place():
    length = chance.choice([512, 40000, 65536, 100000, 262144, 1 << 20, (1 << 20) + 77, 5000000])
    # Mostly where compressed clusters are.
    offset = chance.choice([20 << 16, 390 << 16, 400 << 16]) + chance.randrange(4 << 20)
    return length, offset & ~chance.choice([0, 65535])
clients = [connect(True), connect(False)]
for i in range(150):
    length, offset = place()
    if clients[i % 2].pread(length, offset) != disk[offset:offset + length]:
        sys.exit(f"{length} bytes at {offset} are wrong")
for i in range(10):
    h = connect(True)
    for _ in range(20):
        length, offset = place()
        h.aio_pread(nbd.Buffer(length), offset)
    del h
PYTHON
  end_server
}

@test "nbd: nbdcopy over TCP on every address of localhost" {
  need nbdcopy
  local port
  for ((port = 20000 + RANDOM % 20000; ; port++)); do
    "$IMGMOUNT" --nbd -r -t -e 0 -b localhost -p "$port" "$RAW" 2>server.log 3>&- &
    SERVER=$!
    sleep 0.3
    ! kill -0 "$SERVER" 2>/dev/null || break
    grep -q 'in use' server.log
  done
  [ ! -s server.log ]
  nbdcopy --connections=2 "nbd://localhost:$port" copy
  cmp copy "$RAW"
  nbdcopy "nbd://127.0.0.1:$port" copy
  end_server
}

@test "nbd: qemu-img and qemu-io read the same bytes" {
  need qemu-img qemu-io
  local image
  for image in disk.raw zlib.qcow2; do
    serve -r -t -e 2 "$BATS_FILE_TMPDIR/$image"
    qemu-img compare -f raw "nbd:unix:$SOCKET" -F raw "$RAW"
    qemu-io -r -f raw -c 'read 0 48M' -c 'read 1000 3' -c 'aio_read 1M 32M' -c aio_flush "nbd:unix:$SOCKET"
    end_server
  done
}

@test "nbd: nothing can be written" {
  need qemu-io
  serve -r -t "$RAW"
  run qemu-io -f raw -c 'write 0 512' "nbd:unix:$SOCKET"
  [ "$status" -ne 0 ]
  end_server
}

@test "nbd: wrong requests get the protocol's errors, and the talk goes on" {
  python_with_nbd
  serve -r -t "$RAW"
  "$PYTHON" - "$URI" "$RAW" <<'PYTHON'
import errno, sys
import nbd

def fails(code, call, *args, **named):
    try:
        call(*args, **named)
    except nbd.Error as error:
        assert error.errnum == code, (call.__name__, args[1:], str(error), code)
    else:
        raise AssertionError((call.__name__, args[1:], "succeeded"))

raw = open(sys.argv[2], "rb").read()
for structured in (True, False):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    h.set_strict_mode(0)
    if structured:
        h.add_meta_context("base:allocation")
    h.connect_uri(sys.argv[1])
    size = h.get_size()
    assert size == len(raw)
    fails(errno.EINVAL, h.pread, 1, size)
    fails(errno.EINVAL, h.pread, 2, size - 1)
    fails(errno.EINVAL, h.pread, 4096, 2**64 - 1)
    fails(errno.EINVAL, h.pread, 4096, 2**63)
    fails(errno.EPERM, h.pwrite, b"x" * 1000000, 0)
    fails(errno.EPERM, h.pwrite, b"x", 2**64 - 1)
    fails(errno.EPERM, h.trim, 512, 0)
    fails(errno.EPERM, h.zero, 512, 0)
    fails(errno.EINVAL, h.zero, 512, 0, flags=nbd.CMD_FLAG_FAST_ZERO)
    fails(errno.EINVAL, h.pread, 512, 0, flags=nbd.CMD_FLAG_NO_HOLE)
    fails(errno.EINVAL, h.cache, 512, size)
    h.cache(size, 0)
    h.flush()
    fails(errno.EINVAL, h.pread, (32 << 20) + 1, 0)
    assert h.pread(32 << 20, 512) == raw[512:512 + (32 << 20)]
    if structured:
        assert h.pread(65536, 100, flags=nbd.CMD_FLAG_DF) == raw[100:65636]
        fails(errno.EINVAL, h.block_status, 512, size, lambda *args: 0)
        seen = []
        h.block_status(size, 0, lambda name, offset, entries, error: seen.extend(entries))
        assert sum(seen[0::2]) == size and len(seen) > 4, seen
        h.block_status(size, 0, lambda name, offset, entries, error: seen.append(len(entries)),
                       flags=nbd.CMD_FLAG_REQ_ONE)
        assert seen[-1] == 2
    else:
        fails(errno.EINVAL, h.pread, 512, 0, flags=nbd.CMD_FLAG_DF)
    h.shutdown()
PYTHON
  end_server
}

@test "nbd: options that are wrong leave the handshake in step" {
  python_with_nbd
  serve -r -t -e 0 "$RAW"
  "$PYTHON" - "$URI" <<'PYTHON'
import sys
import nbd
h = nbd.NBD()
h.set_opt_mode(True)
h.connect_uri(sys.argv[1])
h.set_export_name("nope")
for call in (h.opt_info, h.opt_go):
    try:
        call()
    except nbd.Error:
        pass
    else:
        raise AssertionError("an export that is not there")
names = []
h.opt_list(lambda name, description: names.append(name))
assert names[0] == "", names
h.set_export_name("")
h.add_meta_context("base:")
contexts = []
h.opt_list_meta_context(lambda name: contexts.append(name))
assert contexts == ["base:allocation"], contexts
h.opt_go()
h.pread(512, 0)
h.shutdown()
PYTHON
  end_server
}

@test "nbd: extended headers carry lengths of 64 bits" {
  python_with_nbd
  serve -r -t "$RAW"
  "$PYTHON" - "$SOCKET" "$RAW" <<'PYTHON'
import socket, struct, sys

raw = open(sys.argv[2], "rb").read()
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])

def take(n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        assert more, "hung up"
        data += more
    return data

def option(number, data=b""):
    s.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)
    while True:
        magic, which, kind, length = struct.unpack(">QIII", take(20))
        assert (magic, which) == (0x3E889045565A9, number)
        take(length)
        assert kind < 2**31, hex(kind)
        if kind == 1:
            return

def request(kind, flags, offset, length, payload=b""):
    s.sendall(struct.pack(">IHHQQQ", 0x21E41C71, flags, kind, 7, offset, length) + payload)
    chunks = []
    while True:
        magic, done, what, cookie, at, size = struct.unpack(">IHHQQQ", take(32))
        assert (magic, cookie, at) == (0x6E8A278C, 7, offset)
        chunks.append((what, take(size)))
        if done:
            return chunks

take(18)
s.sendall(struct.pack(">I", 3))
option(11)
context = b"base:allocation"
option(10, struct.pack(">III", 0, 1, len(context)) + context)
option(7, struct.pack(">IH", 0, 0))
(what, data), = request(7, 0, 0, len(raw))
assert what == 6
ident, count = struct.unpack(">II", data[:8])
assert len(data) == 8 + 16 * count
assert sum(struct.unpack(">%dQ" % (2 * count), data[8:])[0::2]) == len(raw)
(what, same), = request(7, 0x20, 0, 12, struct.pack(">QI", len(raw), ident))
assert same == data
for offset, length in ((0, 4096), (1 << 20, 1 << 20), (100, 3000000)):
    got = bytearray(length)
    for what, data in request(0, 0, offset, length):
        if what == 1:
            at = struct.unpack(">Q", data[:8])[0] - offset
            got[at:at + len(data) - 8] = data[8:]
        else:
            assert what in (0, 2), what
    assert got == raw[offset:offset + length]
assert request(0, 0, 0, 2**40)[-1][0] == 0x8001
assert request(5, 0, 0, 2**40)[-1][0] == 0x8001
assert request(5, 0, 0, len(raw)) == [(0, b"")]
assert request(1, 0x20, 0, 5, b"hello")[-1][0] == 0x8001
assert request(3, 0, 0, 0) == [(0, b"")]
PYTHON
  end_server
}

@test "nbd: rubbish is hung up on, and hurts nobody else" {
  need socat nbdinfo
  serve -r -t -e 2 "$RAW"
  head -c 100000 /dev/urandom | timeout 10 socat - "UNIX-CONNECT:$SOCKET" >/dev/null 2>&1 || true
  printf 'GET / HTTP/1.0\r\n\r\n' | timeout 10 socat - "UNIX-CONNECT:$SOCKET" >/dev/null 2>&1 || true
  printf '\0\0\0\3' | timeout 10 socat - "UNIX-CONNECT:$SOCKET" >/dev/null 2>&1 || true
  nbdinfo --size "$URI"
  end_server
}

@test "nbd: a client that says nothing is hung up on, and keeps no other out" {
  need socat nbdinfo
  serve -r -t -e 1 --handshake-limit 1 "$RAW"
  timeout 20 socat -u "UNIX-CONNECT:$SOCKET" - >silent 2>/dev/null 3>&- &
  local silent=$!
  while [[ ! -s silent ]]; do sleep 0.01; done
  nbdinfo --size "$URI"
  wait "$silent"
  end_server
}

@test "nbd: it ends with its last client, unless -t" {
  need nbdinfo nbdcopy
  serve -r "$RAW"
  nbdcopy "$URI" copy
  await_end
  serve -r -t "$RAW"
  nbdcopy "$URI" copy
  nbdinfo --size "$URI"
  end_server
}

@test "nbd: listing alone does not end it" {
  python_with_nbd
  serve -r "$RAW"
  "$PYTHON" - "$URI" <<'PYTHON'
import sys
import nbd
h = nbd.NBD()
h.set_opt_mode(True)
h.connect_uri(sys.argv[1])
h.opt_list(lambda name, description: 0)
h.opt_abort()
PYTHON
  sleep 0.1
  kill -0 "$SERVER"
  end_server
}

@test "nbd: with -e 1 a second client waits, and multi-conn is not offered" {
  python_with_nbd
  serve -r -t "$RAW"
  timeout 20 "$PYTHON" - "$URI" <<'PYTHON'
import sys, threading
import nbd
first = nbd.NBD()
first.connect_uri(sys.argv[1])
assert not first.can_multi_conn()
second = nbd.NBD()
thread = threading.Thread(target=second.connect_uri, args=(sys.argv[1],))
thread.start()
thread.join(0.3)
assert thread.is_alive(), "was served beside the first"
first.shutdown()
thread.join()
second.pread(512, 0)
PYTHON
  end_server
}

@test "nbd: SIGTERM ends it while clients are connected, one of them not reading" {
  python_with_nbd
  serve -r -t -e 0 "$RAW"
  "$PYTHON" - "$URI" "$SERVER" <<'PYTHON'
import os, signal, sys, time
import nbd
idle = nbd.NBD()
idle.connect_uri(sys.argv[1])
h = nbd.NBD()
h.connect_uri(sys.argv[1])
buffers = [nbd.Buffer(32 << 20) for i in range(4)]
for buffer in buffers:
    h.aio_pread(buffer, 0)
time.sleep(0.1)
os.kill(int(sys.argv[2]), signal.SIGTERM)
time.sleep(0.1)
PYTHON
  await_end
}

@test "nbd: a socket whose server is about to listen is not stale" {
  need strace nbdinfo
  strace -qq -o /dev/null true || skip "strace cannot trace here"
  # The search for leaks cannot work in a traced process.
  ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 strace -f -qq -o /dev/null \
    -e trace=listen -e inject=listen:delay_enter=20000 \
    "$IMGMOUNT" --nbd -r -k "$SOCKET" "$RAW" 2>server.log 3>&- &
  SERVER=$!
  while [[ ! -S $SOCKET ]]; do kill -0 "$SERVER"; done
  run -1 timeout 20 "$IMGMOUNT" --nbd -r -k "$SOCKET" "$RAW"
  [[ $output == *'ddress already in use'* ]]
  await_listening "$SOCKET" "$SERVER"
  nbdinfo --size "$URI"
  await_end
}

@test "nbd: a stale socket is replaced, one in use and other files are not" {
  python_with_nbd
  need nbdinfo
  "$PYTHON" -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$SOCKET"
  [ -S "$SOCKET" ]
  "$IMGMOUNT" --nbd -r -t -k "$SOCKET" "$RAW" 2>server.log 3>&- &
  SERVER=$!
  local i
  for ((i = 0; i < 100; i++)); do
    ! nbdinfo --size "$URI" 2>/dev/null || break
    sleep 0.05
  done
  run "$IMGMOUNT" --nbd -r -t -k "$SOCKET" "$RAW"
  [ "$status" -eq 1 ]
  [[ $output == *'ddress already in use'* ]]
  nbdinfo --size "$URI"
  end_server
  echo mine >"$SOCKET"
  run "$IMGMOUNT" --nbd -r -t -k "$SOCKET" "$RAW"
  [ "$status" -eq 1 ]
  [ "$(cat "$SOCKET")" = mine ]
}

@test "nbd: the socket's mode is what the umask leaves" {
  umask 077
  serve -r -t "$RAW"
  [ "$(stat -c %a "$SOCKET")" = 700 ]
  end_server
}

@test "nbd: a damaged cluster is an I/O error of its range alone" {
  python_with_nbd
  need qemu-img
  cp "$BATS_FILE_TMPDIR/plain.qcow2" bad.qcow2
  # The L2 entry of the cluster at 1 MiB and a half, made to point nowhere.
  local l1 l2
  l1=$((16#$(xxd -s 40 -l 8 -p bad.qcow2)))
  l2=$((16#$(xxd -s "$l1" -l 8 -p bad.qcow2) & 0xfffffffffffe00))
  printf '\x80\x00\x00\x00\x00\x00\x02\x00' | dd of=bad.qcow2 bs=1 seek=$((l2 + 8 * 24)) conv=notrunc status=none
  serve -r -t bad.qcow2
  "$PYTHON" - "$URI" "$RAW" <<'PYTHON'
import errno, sys
import nbd
raw = open(sys.argv[2], "rb").read()
h = nbd.NBD()
h.connect_uri(sys.argv[1])
bad = 24 * 65536
for offset, length in ((bad, 512), (0, 4 << 20)):
    try:
        h.pread(length, offset)
    except nbd.Error as error:
        assert error.errnum == errno.EIO, error
    else:
        raise AssertionError("the damage was not noticed")
assert h.pread(65536, bad - 65536) == raw[bad - 65536:bad]
assert h.pread(65536, bad + 65536) == raw[bad + 65536:bad + 131072]
h.shutdown()
PYTHON
  end_server
  grep -q 'damaged' server.log
}
