# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Encrypted images by qemu-img.

# qemu-img create with ARGS.  It measures how fast PBKDF2 is: that may fail on a busy machine,
# and takes seconds where tests/preload was not built.
create_encrypted() { # ARG...
  local said
  local LD_PRELOAD=${IMGMOUNT%/src/cli/imgmount}/tests/preload/fast-cpu.so
  [[ ! -e $LD_PRELOAD ]] || export LD_PRELOAD
  for _ in {1..20}; do
    said=$(qemu-img create -q "$@" 2>&1) && return 0
    [[ $said == *"CPU usage"* ]] || break
  done
  printf '%s\n' "$said" >&2
  return 1
}
