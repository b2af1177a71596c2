#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-or-later
# A long random comparison: the same changes on images of every make, through NBD and FUSE,
# and on a plain copy.  IMGMOUNT_TEST_ROUNDS=N makes N images for each exporter,
# IMGMOUNT_TEST_SEED=N begins with that one.

bats_require_minimum_version 1.5.0

load fault-helpers

one_of() {
  printf '%s' "${@:RANDOM % $# + 1:1}"
}

# MODES: the ways in which this machine can open an image, a few words each.
find_modes() {
  local mode words
  MODES=(--cache=writeback --cache=writethrough --cache=unsafe)
  truncate -s 1M probe.raw
  for mode in --cache=none --cache=directsync --aio=io_uring '--cache=none --aio=io_uring' \
    '--cache=none --aio=native'; do
    read -ra words <<<"$mode"
    if start nbd probe.raw -f raw "${words[@]}" >/dev/null; then
      stop
      MODES+=("$mode")
    fi
    SERVER=
  done
}

# a.qcow2 or a.raw, of some make: IMAGE; and ARGUMENTS to open it with.
draw_image() {
  local options size
  IMAGE=a.qcow2
  read -ra ARGUMENTS <<<"$(one_of "${MODES[@]}")"
  ARGUMENTS+=(--discard="$(one_of ignore unmap)")
  case ${ARGUMENTS[-1]} in
    *unmap) ARGUMENTS+=(--detect-zeroes="$(one_of off on unmap)") ;;
    *) ARGUMENTS+=(--detect-zeroes="$(one_of off on)") ;;
  esac
  size=$((5000000 + RANDOM * 100 / 512 * 512))
  if ((RANDOM % 8 == 0)); then
    IMAGE=a.raw ARGUMENTS+=(-f raw)
    head -c $((size + RANDOM % 512)) /dev/urandom >a.raw
    return
  fi
  options=cluster_size=$(one_of 512 4k 16k 64k 256k 2M)
  if ((RANDOM % 6 == 0)); then
    options+=,compat=0.10
  else
    options+=,refcount_bits=$(one_of 1 2 4 8 16 32 64)
    ((RANDOM % 5)) || options+=,lazy_refcounts=on
    ((RANDOM % 5)) || [[ $options == *=512,* || $options == *=4k,* ]] || options+=,extended_l2=on
    ((RANDOM % 8)) || options+=,data_file=a.data
  fi
  make_drawn "$options" "$size"
  printf '# %s %s %s\n' "$options" "$MADE" "${ARGUMENTS[*]}"
}

# By one of five ways, those that the options allow.
make_drawn() { # OPTIONS SIZE
  rm -f a.qcow2 a.data
  MADE=$(one_of empty parent grandparent filled packed preallocated)
  case $MADE in
    parent | grandparent)
      [[ $1 != *data_file* ]] || MADE=empty
      head -c $((RANDOM * 250)) /dev/urandom >parent.raw
      qemu-img create -q -f qcow2 -F raw -b parent.raw parent.qcow2 "$2"
      qemu-io -c 'write -P 3 100k 700k' -c 'write -z 600k 90k' parent.qcow2 >/dev/null
      md5sum parent.raw parent.qcow2 >sum
      ;;
    packed | filled)
      [[ $1 != *data_file* ]] || MADE=filled
      { yes "something that can be compressed $RANDOM" || :; } | head -c "$2" >plain.raw
      ;;
  esac
  case $MADE in
    empty) qemu-img create -q -f qcow2 -o "$1" a.qcow2 "$2" ;;
    preallocated) qemu-img create -q -f qcow2 -o "$1,preallocation=metadata" a.qcow2 "$2" ;;
    parent) qemu-img create -q -f qcow2 -o "$1" -F raw -b parent.raw a.qcow2 "$2" ;;
    grandparent) qemu-img create -q -f qcow2 -o "$1" -F qcow2 -b parent.qcow2 a.qcow2 "$2" ;;
    filled) qemu-img convert -O qcow2 -o "$1" plain.raw a.qcow2 ;;
    packed)
      [[ $1 == *0.10* ]] || set -- "$1,compression_type=$(one_of zlib zstd)" "$2"
      qemu-img convert -c -m 1 -O qcow2 -o "$1" plain.raw a.qcow2
      ;;
  esac
  # Narrow counts do not reach far enough for compressed clusters and a snapshot.
  [[ ! $1 =~ refcount_bits=[124](,|$) && $1 != *data_file* ]] && ((RANDOM % 3 == 0)) || return 0
  MADE+=+snapshot
  qemu-img snapshot -c before a.qcow2
  qemu-img convert -l before -O raw a.qcow2 before.raw
}

# Random work on IMAGE through HOW; then it is as the copy is, by others' reading.
work_and_compare() { # HOW SEED
  start "$1" "$IMAGE" "${ARGUMENTS[@]}"
  if grep -q 'exported read-only' said; then
    stop
    return
  fi
  /usr/bin/python3 "$BATS_TEST_DIRNAME/differ.py" "$WHERE" reference.raw "$2" 150
  stop
  if [[ $IMAGE == a.raw ]]; then
    cmp reference.raw a.raw
    return
  fi
  qemu-img check -q a.qcow2 || { qemu-img check a.qcow2; return 1; }
  qemu-img convert -O raw a.qcow2 got.raw
  cmp reference.raw got.raw
  qemu-img compare -q -F raw a.qcow2 reference.raw
  [[ $MADE != *parent ]] || md5sum -c --quiet sum
  [[ $MADE == *+snapshot ]] || return 0
  qemu-img convert -l before -O raw a.qcow2 then.raw
  cmp before.raw then.raw
}

differ() { # HOW FIRST-SEED
  local round seed
  find_modes
  for ((round = 0; round < ${IMGMOUNT_TEST_ROUNDS:-10}; round++)); do
    seed=$((${IMGMOUNT_TEST_SEED:-$2} + round))
    # Bash draws the same again from the same seed.
    RANDOM=$seed MADE=
    draw_image
    work_and_compare "$1" "$seed" || { echo "$1, seed $seed"; return 1; }
  done
}

@test "differ: random changes through NBD" {
  differ nbd 1
}

@test "differ: random changes through FUSE" {
  has_fuse || skip "needs root and FUSE"
  differ fuse 1001
}
