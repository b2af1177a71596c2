#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# What imgmount --nbd -L says of servers: ours, others', and hostile ones.

bats_require_minimum_version 1.5.0
load nbd-helpers

setup() {
  nbd_setup
  truncate -s 1M disk.img
}

teardown() {
  nbd_teardown
}

# Both lists of what listens on $SOCKET, in `ours` and `theirs`.
list_both() {
  "$IMGMOUNT" --nbd -L -k "$SOCKET" >ours
  qemu-nbd -L -k "$SOCKET" >theirs
  # A line that only newer ones have.
  grep -q transaction theirs || sed -i '/^  transaction size: /d' ours
  diff theirs ours
}

@test "list: our own server, as qemu-nbd -L has it" {
  need qemu-nbd sfdisk
  truncate -s 8M disk.img
  printf 'label: gpt\nsize=2048,name="a name"\nsize=4096\n' | sfdisk -q disk.img
  start_server "$IMGMOUNT" --nbd -t -e 3 -x 'the disk' -D 'of a test' -k "$SOCKET" disk.img
  list_both
  grep -qx "exports available: 3" ours
  grep -qx " export: 'the disk'" ours
  grep -qx " export: 'p2'" ours
  grep -qx "   base:allocation" ours
  "$IMGMOUNT" --nbd --list -k "$SOCKET" >long
  "$IMGMOUNT" --list --nbd -k "$SOCKET" | diff long -
  end_server
}

@test "list: a server of QEMU's" {
  need qemu-nbd
  start_server qemu-nbd -r -t -A -D 'a text' -f raw -k "$SOCKET" disk.img
  list_both
  grep -qx '  size:  1048576' ours
  grep -qx '   qemu:allocation-depth' ours
  end_server
}

@test "list: nbdkit, by new and old protocol" {
  need qemu-nbd nbdkit
  local way
  for way in -n -o; do
    start_server nbdkit -f $way -U "$SOCKET" null 1M
    list_both
    grep -qx '  size:  1048576' ours
    end_server
  done
}

@test "list: over TCP, by number and by name" {
  need nbdkit
  local port
  for ((port = 20000 + RANDOM % 20000; ; port++)); do
    nbdkit -f -i localhost -p "$port" null 3M 2>server.log 3>&- &
    SERVER=$!
    sleep 0.5
    ! kill -0 "$SERVER" 2>/dev/null || break
  done
  "$IMGMOUNT" --nbd -L -p "$port" | grep -qx '  size:  3145728'
  "$IMGMOUNT" --nbd -L -b localhost -p "$port" | grep -qx '  size:  3145728'
  end_server
}

@test "list: who cannot be reached is one line and status 1" {
  run --separate-stderr "$IMGMOUNT" --nbd -L -k "$PWD/absent"
  [ "$status" -eq 1 ]
  [ -z "$output" ]
  [ "$stderr" = "imgmount: cannot connect to $PWD/absent: No such file or directory" ]
  run --separate-stderr "$IMGMOUNT" --nbd -L -b 127.0.0.1 -p 1
  [ "$status" -eq 1 ]
  [ "$stderr" = "imgmount: cannot connect to 127.0.0.1 port 1: Connection refused" ]
}

@test "list: what has no meaning with it is refused" {
  local option
  for option in -xname -Dtext -o1 -fraw -l1 -n --aio=threads --discard=on --fork '-c auto' -d; do
    # shellcheck disable=SC2086 # -c has a value
    run --separate-stderr "$IMGMOUNT" --nbd -L $option -k "$SOCKET"
    [ "$status" -eq 1 ]
    [[ ${stderr_lines[0]} == *" has no meaning with "* || ${stderr_lines[0]} == *exclude* ]]
  done
  run --separate-stderr "$IMGMOUNT" --nbd -L disk.img
  [ "$status" -eq 1 ]
  [ "${stderr_lines[0]}" = "imgmount: -L takes no IMAGE, and 'disk.img' is one" ]
}

# What is said of a server that does WRONG.
hostile() { # WRONG [OPTION...]
  local wrong=$1
  shift
  rm -f "$SOCKET"
  start_server python3 "$BATS_TEST_DIRNAME/hostile-nbd-server.py" "$SOCKET" "$wrong"
  local cap=400000
  # Sanitizers set terabytes aside.
  ! grep -qE '__(asan|tsan)_init' "$IMGMOUNT" || cap=unlimited
  run --separate-stderr bash -c 'ulimit -d "$0"; exec "$@"' $cap \
    timeout 20 "$IMGMOUNT" --nbd -L "$@" -k "$SOCKET"
  kill "$SERVER" 2>/dev/null || true
  wait "$SERVER" || true
  SERVER=
}

refused() { # MESSAGE WRONG [OPTION...]
  local message=$1
  shift
  hostile "$@"
  [ "$status" -eq 1 ]
  [ -z "$output" ]
  [ "$stderr" = "imgmount: $message" ] || { echo "said: $stderr"; return 1; }
}

@test "list: hostile servers get one line, bounded memory and no more than the limit's time" {
  need python3
  refused "the server takes too long: Connection timed out" silence --handshake-limit 1
  refused "the server takes too long: Connection timed out" drip --handshake-limit 1
  refused "what answers there is no NBD server" rubbish
  refused "the server has hung up: Connection reset by peer" hang-up
  refused "the server lists more than 65536 exports" endless
  refused "the server says more than 67108864 bytes: that is no list of exports" endless-text
  refused "the server's reply to option 3 has 4294967295 bytes, more than 16384" long-reply
  refused "the server's list is malformed" long-name
  refused "the server's list is malformed" longer-name
  refused "the server's reply to option 3 is none" other-option
  refused "the server's information on an export is malformed" short-info
  refused "the server's list of contexts is malformed" short-context
  refused "the server lists more than 1024 contexts of one export" endless-contexts
  refused 'the server refuses to list with 0x80000002: not for \x1b[31myou' policy
  refused "the server wants TLS
imgmount: hint: --object tls-creds-x509,id=ID,endpoint=client,dir=DIR --tls-creds ID" tls
}

@test "list: what the server does not tell of an export is said, and is a failure" {
  need python3
  hostile unknown-info
  [ "$status" -eq 1 ]
  grep -qx '  refused: the server refuses to tell of it with 0x80000006: gone since' <<<"$output"
  hostile empty-info
  [ "$status" -eq 1 ]
  grep -qx '  refused: neither size nor flags are told' <<<"$output"
  # A server that knows no such question.
  hostile no-info
  [ "$status" -eq 0 ]
  run ! grep -q refused <<<"$output"
}

@test "list: who wants TLS is not talked out of it, and takes nothing said in the clear" {
  need python3
  "$IMGMOUNT" --version | grep -qF 'gnutls yes' || skip "this build has no TLS"
  local tls=(--object "tls-creds-psk,id=t,dir=$PWD,username=one" --tls-creds t)
  echo 'one:00112233' >keys.psk
  refused 'the server refuses TLS with 0x80000002: not for \x1b[31myou' no-tls "${tls[@]}"
  refused 'the server refuses TLS with 0x80000001' unknown-tls "${tls[@]}"
  refused "the server's reply to STARTTLS is malformed" odd-tls "${tls[@]}"
  refused "the server's reply to STARTTLS is malformed" talkative-tls "${tls[@]}"
  refused "the server's protocol is too old for TLS" bare "${tls[@]}"
  refused "the server goes on in plain text after it has agreed to TLS" injected "${tls[@]}"
  local wrong
  for wrong in plain warnings cut-tls; do
    hostile "$wrong" "${tls[@]}"
    [ "$status" -eq 1 ]
    [ -z "$output" ]
    [[ $stderr == "imgmount: TLS: "* && ${#stderr_lines[@]} == 1 ]]
  done
  refused "the server takes too long: Connection timed out" drip-tls --handshake-limit 1 "${tls[@]}"
}

@test "list: a server's names cannot draw on the terminal or forge lines" {
  need python3
  hostile names
  [ "$status" -eq 0 ]
  [ "${lines[1]}" = " export: 'a\\x1b]0;b�\\x0a export: 'c'" ]
  [ "${lines[2]}" = '  description: d\x0ae' ]
  [ "${lines[3]}" = '  size:  18446744073709551615' ]
  hostile no-info
  [ "$status" -eq 0 ]
  [ "${lines[0]}" = "exports available: 1" ]
}
