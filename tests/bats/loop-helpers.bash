# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Files mounted as file systems.

# Mounts FILE by a loop device that mount(8) makes.  Whoever looks for a free device at the
# same moment, another test for one, holds it for an instant: so EBUSY is tried again.
mount_loop() { # FILE FOLDER [OPTION,...]
  local try said
  for ((try = 0; try < 100; try++)); do
    said=$(mount -o "loop${3:+,$3}" "$1" "$2" 2>&1) && return 0
    [[ $said == *busy* ]] || break
    sleep 0.05
  done
  printf '%s\n' "$said" >&2
  return 1
}
