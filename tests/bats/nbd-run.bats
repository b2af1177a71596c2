#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# What the NBD server lives with: a command, a parent, sockets that were there before it.

bats_require_minimum_version 1.5.0
load nbd-helpers

setup() {
  nbd_setup
  truncate -s 3M disk.img
  export TMPDIR=$BATS_TEST_TMPDIR/tmp
  mkdir "$TMPDIR"
}

teardown() {
  nbd_teardown
}

# Whether process PID ends within some seconds.
ends() { # PID
  local i
  for ((i = 0; i < 500; i++)); do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.02
  done
  return 1
}

@test "run: the command finds the server, and its status is ours" {
  need nbdinfo
  run --separate-stderr "$IMGMOUNT" --nbd -r --run 'nbdinfo --size "$uri"; echo "$unixsocket"; exit 7' disk.img
  [ "$status" -eq 7 ]
  [ "${lines[0]}" = 3145728 ]
  [ -n "${lines[1]}" ]
  [ ! -e "${lines[1]}" ]
  [ -z "$(ls "$TMPDIR")" ]
  run "$IMGMOUNT" --nbd -r --run 'kill -KILL $$' disk.img
  [ "$status" -eq 137 ]
  run -127 "$IMGMOUNT" --nbd -r --run 'absent-command' disk.img
  [ -z "$(ls "$TMPDIR")" ]
}

@test "run: export names and socket paths are escaped in the URI" {
  need nbdinfo qemu-img
  local socket="$PWD/a b&c?d"
  run --separate-stderr "$IMGMOUNT" --nbd -r -x 'my disk/é' -k "$socket" \
    --run 'nbdinfo --size "$uri"; echo "$exportname"; echo "$unixsocket"' disk.img
  [ "$status" -eq 0 ]
  [ "${lines[0]}" = 3145728 ]
  [ "${lines[1]}" = 'my disk/é' ]
  [ "${lines[2]}" = "$socket" ]
  [ ! -e "$socket" ]
  run --separate-stderr "$IMGMOUNT" --nbd -r -x plain --run 'qemu-img info "$nbd"' disk.img
  [ "$status" -eq 0 ]
  [[ $output == *'3 MiB'* ]]
}

@test "run: the command has the signals of any other" {
  run "$IMGMOUNT" --nbd -r --run 'grep -E "^Sig(Blk|Ign):" /proc/self/status' disk.img
  [ "$status" -eq 0 ]
  # The shell that runs these tests may ignore some of its own.
  local sig
  for sig in "${lines[@]}"; do
    [ $((0x${sig##*$'\t'} & (1 << 12 | 1 << 14))) -eq 0 ]
  done
}

@test "run: SIGTERM to the server ends the command" {
  "$IMGMOUNT" --nbd -r --run 'echo $$ >pid; exec sleep 100' disk.img 3>&- &
  SERVER=$!
  while [[ ! -s pid ]]; do sleep 0.02; done
  local status=0
  kill -TERM "$SERVER"
  wait "$SERVER" || status=$?
  SERVER=
  [ "$status" -eq 143 ]
  run ! kill -0 "$(<pid)"
  [ -z "$(ls "$TMPDIR")" ]
}

@test "run: what the command writes is in the image when it has ended" {
  need qemu-io
  run "$IMGMOUNT" --nbd -f raw --run 'qemu-io -f raw -c "write -P 65 1M 4k" "$nbd"' disk.img
  [ "$status" -eq 0 ]
  [ "$(dd if=disk.img bs=4k skip=256 count=1 status=none | tr -d A | wc -c)" -eq 0 ]
}

@test "run: what contradicts it is refused" {
  local option
  for option in '-p 10810' '-b ::1' '-c auto' --fork; do
    # shellcheck disable=SC2086 # some have a value
    run --separate-stderr "$IMGMOUNT" --nbd $option --run true disk.img
    [ "$status" -eq 1 ]
    [[ ${stderr_lines[0]} == *"exclude each other" ]]
  done
}

@test "parent: --exit-with-parent ends the server with it" {
  bash -c '"$1" --nbd -r -t --exit-with-parent -k "$2" disk.img & echo $! >pid; sleep 100' \
    bash "$IMGMOUNT" "$SOCKET" 3>&- &
  local parent=$!
  await_listening "$SOCKET" "$parent"
  kill -KILL "$parent"
  ends "$(<pid)"
  [ ! -e "$SOCKET" ]
}

# Runs imgmount ARG... with a listening unix socket at $SOCKET as descriptor 3.
activated() { # ARG...
  python3 - "$SOCKET" "$IMGMOUNT" "$@" <<'END'
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.dup2(listener.fileno(), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="x")
os.execv(sys.argv[2], sys.argv[2:])
END
}

@test "activation: the server takes the sockets that it finds" {
  need python3 nbdinfo
  activated --nbd -r disk.img 2>server.log &
  SERVER=$!
  await_listening "$SOCKET" "$SERVER"
  [ "$(nbdinfo --size "$URI")" = 3145728 ]
  wait "$SERVER"
  SERVER=
  # The socket is the service manager's.
  [ -S "$SOCKET" ]
  [ ! -s server.log ]
}

@test "activation: with --fork too" {
  need python3 nbdinfo
  activated --nbd -r --fork --pid-file "$PWD/pid" disk.img
  SERVER=$(<pid)
  [ "$(nbdinfo --size "$URI")" = 3145728 ]
  ends "$SERVER"
  SERVER=
}

@test "activation: where to listen is not to be said twice" {
  need python3
  local option
  for option in -p10809 -k/x '-b ::1' '-c auto' '--run true' -L; do
    rm -f "$SOCKET"
    # shellcheck disable=SC2086 # some have a value
    run activated --nbd $option disk.img
    [ "$status" -eq 1 ]
    [[ $output == *"with socket activation"* || $output == *"-L takes no IMAGE"* ]]
  done
  LISTEN_PID=1 LISTEN_FDS=1 run "$IMGMOUNT" --nbd -r --run 'echo ${LISTEN_FDS-}' disk.img
  [ "$status" -eq 0 ]
}

@test "activation: what is no listening socket is refused" {
  run bash -c 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" --nbd -r disk.img 3</dev/null' "$IMGMOUNT"
  [ "$status" -eq 1 ]
  [[ $output == *"descriptor 3 is no socket that listens" ]]
}

@test "trace: says what does it here, and goes on" {
  run "$IMGMOUNT" --nbd -r -T 'nbd_*' --run true disk.img
  [ "$status" -eq 0 ]
  [[ $output == *"--trace: there are no trace points here; --verbose says more"* ]]
}

@test "selinux: a label needs a unix socket and SELinux" {
  run --separate-stderr "$IMGMOUNT" --nbd --selinux-label a:b:c:d disk.img
  [ "$status" -eq 1 ]
  [ "${stderr_lines[0]}" = "imgmount: --selinux-label has no meaning without --socket or --run" ]
  [ ! -e /sys/fs/selinux/enforce ] || skip "the label might even be right"
  run "$IMGMOUNT" --nbd -r -k "$SOCKET" --selinux-label a:b:c:d disk.img
  [ "$status" -eq 1 ]
  [[ $output == *"--selinux-label"* ]]
}

@test "pid file: it is its server's alone, whatever link leads there" {
  local first
  mkdir real
  ln -s real/pid link
  "$IMGMOUNT" --nbd --fork -t -r --pid-file "$PWD/link" -k "$SOCKET" disk.img 3>&-
  first=$(cat real/pid)
  SERVER=$first
  run -1 "$IMGMOUNT" --nbd --fork -t -r --pid-file real/pid -k "$PWD/other" disk.img 3>&-
  [ "$output" = "imgmount: --pid-file: $PWD/real/pid: another server that runs has it" ]
  [ "$(cat real/pid)" = "$first" ]
  [ ! -e other ]
  kill "$first"
  ends "$first"
  [ ! -e real/pid ]
  # One that was left behind is taken over; one that was replaced stays.
  echo 1 >real/pid
  "$IMGMOUNT" --nbd --fork -t -r --pid-file "$PWD/link" -k "$SOCKET" disk.img 3>&-
  SERVER=$(cat real/pid)
  rm real/pid
  echo mine >real/pid
  kill "$SERVER"
  ends "$SERVER"
  [ "$(cat real/pid)" = mine ]
  SERVER=
  run -1 "$IMGMOUNT" --nbd --fork -t -r --pid-file real/pid -k "$SOCKET" disk.img 3>&-
  [ "$output" = "imgmount: --pid-file: $PWD/real/pid: is there already, and is no pid file" ]
  before=$(sha256sum <disk.img)
  run -1 "$IMGMOUNT" --nbd --fork -t -r --pid-file disk.img -k "$SOCKET" disk.img 3>&-
  [ "$before" = "$(sha256sum <disk.img)" ]
}
