# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What tests of crashes and of broken disks have in common: a server of either kind, a client
# that knows what must be there, and the judgement of an image.  WHERE is what the client
# writes, SERVER the process.

load socket-helpers

setup() {
  IMGMOUNT=$(realpath "${IMGMOUNT:-$BATS_TEST_DIRNAME/../../build/src/cli/imgmount}")
  CLIENT=$BATS_TEST_DIRNAME/fault-client.py
  local tool
  for tool in qemu-img qemu-io; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
  /usr/bin/python3 -c 'import nbd' 2>/dev/null || skip "python3-libnbd is not installed"
  cd "$BATS_TEST_TMPDIR"
  mkdir mnt
  SERVER=
  LOOP=
}

teardown() {
  [[ -z $SERVER ]] || kill -KILL "$SERVER" 2>/dev/null || true
  [[ -z $LOOP ]] || losetup -d "$LOOP" || true
  local place
  for place in mnt small; do
    # By force, since a server may have been killed in the middle of something.
    while umount -f -l "$BATS_TEST_TMPDIR/$place" 2>/dev/null; do :; done
  done
}

has_fuse() {
  [[ $EUID == 0 && -c /dev/fuse ]]
}

# Starts imgmount nbd|fuse on IMAGE, below COMMAND words such as env or strace if there are
# any in UNDER.
start() { # HOW IMAGE [OPTION...]
  local how=$1 image=$2 round
  shift 2
  rm -f s
  if [[ $how == nbd ]]; then
    WHERE=$PWD/s
    set -- --nbd -t -e 0 -k "$WHERE" "$@" "$image"
  else
    WHERE=$PWD/mnt/disk
    set -- --foreground "$@" "$image" "$PWD/mnt"
  fi
  ${UNDER[@]+"${UNDER[@]}"} "$IMGMOUNT" "$@" 2>said 3>&- &
  SERVER=$!
  for ((round = 0; round < 1000; round++)); do
    if [[ $how == nbd ]]; then ! is_listening "$WHERE" || return 0; else [[ ! -e $WHERE ]] || return 0; fi
    kill -0 "$SERVER" || break
    sleep 0.02
  done
  cat said
  return 1
}

# Ends the server, which takes at most twenty seconds; its status.
stop() {
  local server=$SERVER
  [[ $WHERE == */s ]] || umount mnt
  [[ $WHERE != */s ]] || kill "$server"
  timeout 20 tail -s 0.02 --pid="$server" -f /dev/null
  SERVER=
  wait "$server"
}

client() {
  /usr/bin/python3 "$CLIENT" "$@" 3>&-
}

# No corruption (leaks are allowed; and what the image says itself, if it can be mended),
# and everything flushed is there.
sound() { # IMAGE
  if [[ $1 == *.qcow2 ]]; then
    run qemu-img check "$1"
    if [[ $1 == *lazy.qcow2 && $(od -An -tu1 -j79 -N1 "$1") -eq 1 ]]; then
      qemu-img check -q -r all "$1"
      status=0
    fi
    [[ $status == 0 || $status == 3 ]] || { echo "$output"; return 1; }
    qemu-img convert -O raw "$1" left.raw
    client check left.raw state
  else
    client check "$1" state
  fi
}

# No leaks either.
spotless() { # IMAGE
  sound "$1" && { [[ $1 != *.qcow2 ]] || qemu-img check -q "$1"; }
}

# IMAGE, one of several kinds, of 16 MiB.
make_image() { # IMAGE
  case $1 in
    plain.qcow2) qemu-img create -q -f qcow2 -o cluster_size=4k "$1" 16M ;;
    lazy.qcow2) qemu-img create -q -f qcow2 -o cluster_size=4k,lazy_refcounts=on "$1" 16M ;;
    outside.qcow2) qemu-img create -q -f qcow2 -o cluster_size=4k,data_file=outside.data "$1" 16M ;;
    sub.qcow2)
      head -c 9M /dev/urandom >parent.raw
      qemu-img create -q -f qcow2 -o extended_l2=on -F raw -b parent.raw "$1" 16M
      ;;
    large.qcow2) qemu-img create -q -f qcow2 -o cluster_size=2M "$1" 16M ;;
    child.qcow2)
      head -c 9M /dev/urandom >parent.raw
      qemu-img create -q -f qcow2 -F raw -b parent.raw "$1" 16M
      ;;
    packed.qcow2)
      { yes 'something that can be compressed' || :; } | head -c 16M >plain.raw
      qemu-img convert -c -m 1 -O qcow2 -o cluster_size=16k plain.raw "$1"
      qemu-img snapshot -c before "$1"
      ;;
    *.raw) truncate -s 16M "$1" ;;
  esac
}
