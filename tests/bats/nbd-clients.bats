#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# Clients in numbers, clients that vanish, and clients that were written elsewhere.
# IMGMOUNT_TEST_CLIENTS=N makes N times as many, IMGMOUNT_TEST_SECONDS=N mixes them for N seconds.

bats_require_minimum_version 1.5.0

load socket-helpers

setup() {
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  IMGMOUNT=$(realpath "$IMGMOUNT")
  export G_SLICE=always-malloc
  cd "$BATS_TEST_TMPDIR" || return
  SOCKET=$PWD/s
  truncate -s 64M disk.raw
  head -c 20M /dev/urandom | dd of=disk.raw conv=notrunc status=none
  many=${IMGMOUNT_TEST_CLIENTS:-1}
  seconds=${IMGMOUNT_TEST_SECONDS:-60}
  SERVER=
  MORE=
}

teardown() {
  [[ -z $SERVER ]] || kill -KILL "$SERVER" 2>/dev/null || true
  [[ -z $MORE ]] || kill "$MORE" 2>/dev/null || true
  ! mountpoint -q "$PWD/mnt" || umount -l "$PWD/mnt"
}

# Serves until it is ended.  Arguments as for imgmount --nbd.
serve() {
  "$IMGMOUNT" --nbd -t -e 0 -k "$SOCKET" "$@" 2>server.log 3>&- &
  SERVER=$!
  await_listening "$SOCKET" "$SERVER" || { cat server.log; return 1; }
}

end_server() {
  kill "$SERVER"
  wait "$SERVER"
  SERVER=
}

is_sanitized() {
  grep -qE '__(asan|tsan)_init' "$IMGMOUNT"
}

clients() {
  timeout $((280 * many + seconds)) python3 "$BATS_TEST_DIRNAME/nbd-clients.py" "$1" "$SOCKET" "$SERVER" "$2"
}

@test "nbd-clients: ten thousand come and go, and nothing of them is left" {
  local cycles=10000
  ! is_sanitized || cycles=2000
  serve -f raw disk.raw
  clients cycles $((cycles * many))
  end_server
}

@test "nbd-clients: a session cut off in any place hurts nobody" {
  serve -f raw disk.raw
  clients cuts $((150 * many))
  end_server
}

@test "nbd-clients: rubbish in every state of the handshake hurts nobody" {
  serve -f raw disk.raw
  clients states $((210 * many))
  end_server
}

@test "nbd-clients: a flood of silent ones is bounded, and passes" {
  serve -f raw --handshake-limit 2 disk.raw
  clients flood $((300 * many))
  end_server
}

@test "nbd-clients: those who receive nothing cost a bounded memory, and keep none out" {
  serve -f raw disk.raw
  clients deaf 12
  end_server
}

@test "nbd-clients: long payloads that do not come to their end cost what they say, and keep none out" {
  serve -f raw disk.raw
  clients greedy 8
  end_server
}

@test "nbd-clients: where memory is short new clients wait for better times, and the others go on" {
  # Sanitizers set terabytes aside.
  ! is_sanitized || skip "no limit of memory with a sanitizer"
  ulimit -S -d 400000
  serve -f raw disk.raw
  clients starve 16
  end_server
}

@test "nbd-clients: TLS that is begun and not brought to its end hurts nobody" {
  "$IMGMOUNT" --version | grep -qF 'gnutls yes' || skip "this build has no TLS"
  echo 'one:00112233445566778899aabbccddeeff' >keys.psk
  serve -f raw --tls-psk keys.psk disk.raw
  clients tls $((300 * many))
  end_server
  serve -f raw disk.raw # and one without it
  clients tls $((100 * many))
  end_server
}

@test "nbd-clients: all kinds at once, for a while: nothing grows" {
  serve -f raw disk.raw
  clients mix "$seconds"
  end_server
}

@test "nbd-clients: nbdfuse, nbd-client and fio's engine" {
  for tool in nbdfuse nbd-client fio; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
  serve -f raw -x some disk.raw
  run nbd-client -l -unix "$SOCKET"
  [[ $output == *some* ]]
  fio --name=v --ioengine=nbd --uri="nbd+unix:///some?socket=$SOCKET" --rw=randwrite --bs=4k-128k \
    --size=16M --iodepth=8 --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal >/dev/null
  [[ $(id -u) == 0 && -c /dev/fuse ]] || skip "nbdfuse: mounting needs root"
  mkdir mnt
  nbdfuse -r mnt "nbd+unix:///some?socket=$SOCKET" 3>&- &
  MORE=$!
  for ((i = 0; i < 200; i++)); do
    [[ ! -e mnt/nbd ]] || break
    sleep 0.05
  done
  cmp mnt/nbd disk.raw
  fusermount3 -u mnt
  MORE=
  end_server
}

@test "nbd-clients: wireshark finds no malformed packet in a rich session" {
  for tool in tshark tcpdump nbdcopy nbdinfo; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
  [[ $(id -u) == 0 ]] || skip "capturing needs root"
  unshare -n true 2>/dev/null || skip "no network namespaces"
  cat >session <<'SESSION'
set -e
ip link set lo up
"$IMGMOUNT" --nbd -t -e 0 -b 127.0.0.1 -p 10809 -f raw disk.raw 3>&- & server=$!
tcpdump -q -i lo -s 0 -U -w capture.pcap tcp port 10809 2>tcpdump.log 3>&- & dump=$!
trap 'kill $server $dump 2>/dev/null || true' EXIT
for i in $(seq 200); do ! nbdinfo --size nbd://127.0.0.1 >/dev/null 2>&1 || break; sleep 0.05; done
for i in $(seq 200); do ! grep -q listening tcpdump.log || break; sleep 0.05; done
nbdinfo --list nbd://127.0.0.1 >/dev/null
nbdinfo --map nbd://127.0.0.1 >/dev/null
qemu-io -f raw -c 'read 0 1M' -c 'write -P 3 4k 100k' -c 'write -z 1M 64k' -c 'discard 2M 64k' -c flush nbd://127.0.0.1 >/dev/null
qemu-io -f raw -c 'read 63M 512' -c 'write -f 0 4k' nbd://127.0.0.1 >/dev/null
sleep 1
SESSION
  IMGMOUNT=$IMGMOUNT unshare -n bash session
  tshark -r capture.pcap --enable-heuristic nbd_tcp -Y nbd -T fields -e frame.number >packets 2>/dev/null
  [ "$(wc -l <packets)" -gt 3 ] # it knows simple requests and replies
  tshark -r capture.pcap --enable-heuristic nbd_tcp -Y '_ws.malformed' >malformed 2>/dev/null
  [ ! -s malformed ] || { head malformed; false; }
}
