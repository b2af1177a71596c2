# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What tests with real mounts have in common: D is the mount point, SERVER the process of
# serve.

setup() {
  [[ $(id -u) == 0 ]] || skip "mounting needs root"
  [[ -c /dev/fuse ]] || skip "the kernel has no FUSE"
  IMGMOUNT=${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}
  IMGMOUNT=$(realpath "$IMGMOUNT")
  cd "$BATS_TEST_TMPDIR"
  D=$PWD/mnt
  mkdir "$D"
  SERVER= LOOPS=()
}

teardown() {
  local loop
  for loop in ${LOOPS[@]+"${LOOPS[@]}"}; do
    umount -l "$loop" 2>/dev/null || true
    losetup -d "$loop" 2>/dev/null || true
  done
  [[ -z $SERVER ]] || kill -KILL "$SERVER" 2>/dev/null || true
  # This waits until the image is let go of, which the next test may want to write.
  timeout 10 "$IMGMOUNT" --unmount "$D" 2>/dev/null || true
  # By force: else a killed server may never end (see "Who serves what" in ARCHITECTURE.md).
  while umount -f -l "$D" 2>/dev/null; do :; done
  [[ ! -f $PWD/file ]] || umount -f -l "$PWD/file" 2>/dev/null || true
  [[ -z $SERVER ]] || wait "$SERVER" 2>/dev/null || true
  [[ -z ${PLACE:-} ]] || rm -rf "$PLACE"
}

# Mounts and stays; SERVER is the process.  Arguments as for imgmount.
serve() {
  "$IMGMOUNT" --foreground "$@" 2>server.log 3>&- &
  SERVER=$!
  local i
  for ((i = 0; i < 500; i++)); do
    # It is asked something: unmounted before it has begun, a server says that it failed.
    ! is_mounted "${@: -1}" || { timeout 30 stat "${@: -1}" >/dev/null; return; }
    kill -0 "$SERVER" || return 1
    sleep 0.01
  done
  return 1
}

# LOOP: a device above a file, until loop_down or the end of the test.
loop_up() { # [OPTION...] FILE
  LOOP=$(losetup -f --show "$@") || skip "no loop devices"
  LOOPS+=("$LOOP")
}

# Detaches them all, which may be the mount's last users.
loop_down() {
  losetup -d "${LOOPS[@]}"
  LOOPS=()
}

# By the table: a mount whose server is stuck must not hang the test.
is_mounted() {
  findmnt --mountpoint "$1" >/dev/null
}

# Waits at most ten seconds until nothing is mounted on D.
until_unmounted() {
  local i
  for ((i = 0; i < 1000; i++)); do
    is_mounted "$D" || return 0
    sleep 0.01
  done
  return 1
}

# A disk of 64 MiB: p1 at 1 MiB, 32 MiB; p2 at 40 MiB, 1049088 bytes, full of noise.
make_partitioned() { # FILE
  truncate -s 64M "$1"
  printf 'label: gpt\nstart=2048,size=65536,name=root\nstart=81920,size=2049,name=odd\n' |
    sfdisk -q "$1"
  head -c 1049088 /dev/urandom | dd of="$1" bs=512 seek=81920 conv=notrunc status=none
}

# Waits at most thirty seconds for process $1, a child, and gives its status
ended() {
  timeout 30 tail -s 0.02 --pid="$1" -f /dev/null
  wait "$1"
}

# SERVER is told twice to stop, while p1 at 1 MiB is written to: clients get errors.
second_sigterm_ends_it() {
  local stress end=0
  python3 "$BATS_TEST_DIRNAME/fuse-stress.py" "$D" 1048576 60 >stress.log 3>&- &
  stress=$!
  sleep 1
  kill -TERM "$SERVER"
  until_unmounted
  # It has ended by itself where the clients were between two opens just then.
  kill -TERM "$SERVER" || true
  ended "$SERVER"
  SERVER=
  ended "$stress" || end=$?
  [ "$end" -eq 2 ]
  run ! grep stale stress.log
}

py() {
  python3 - "$@"
}

# Makes PLACE, a folder of an ordinary user's (one with a name: fusermount3 asks for it),
# with the program, DISK as disk.img, further files, and a mount point.
make_user_place() { # [FILE...]
  PLACE=$(mktemp -d)
  cp "$IMGMOUNT" "$PLACE/imgmount"
  cp --sparse=always "$DISK" "$PLACE/disk.img"
  (($# == 0)) || cp "$@" "$PLACE"
  mkdir "$PLACE/m"
  chmod 0755 "$PLACE" "$PLACE/imgmount"
  chown -R 65534:65534 "$PLACE"
}

# Runs a script there as that user, in a mount namespace whose /dev/fuse has that mode.
# Whatever it starts ends with it.
as_user() { # SCRIPT MODE [FILE...]
  as_user_after true "$@"
}

# The same where root has run script BEFORE.
as_user_after() { # BEFORE SCRIPT MODE [FILE...]
  local before=$1
  shift
  make_user_place "${@:3}"
  printf '%s\n' "$1" >"$PLACE/script"
  run timeout 60 unshare -m -p -f --kill-child --mount-proc --propagation slave bash -c "
    mount -t tmpfs -o mode=755 none /dev &&
    mknod -m $2 /dev/fuse c 10 229 && mknod -m 666 /dev/null c 1 3 &&
    ln -s /proc/self/fd /dev/fd && cd $PLACE && $before &&
    { setpriv --reuid=65534 --regid=65534 --clear-groups bash -eu ./script; status=\$?; }
    umount -f -l m 2>/dev/null
    exit \$status" 3>&-
  rm -r "$PLACE"
}

# The state of process $1 in one letter, nothing where it is gone.
state_of() {
  sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null
}

# Kills SERVER, and waits until that has taken effect, though a thread may be stuck.
kill_server() {
  local i
  kill -KILL "$SERVER"
  for ((i = 0; i < 1000; i++)); do
    [[ $(state_of "$SERVER") == [!Z] ]] || return 0
    sleep 0.01
  done
  return 1
}
