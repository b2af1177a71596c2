# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Servers that are ready when they listen on a unix socket.

# Whether somebody listens at PATH: the file alone is there a moment earlier.
is_listening() { # PATH
  awk -v path="$1" '$4 == "00010000" && substr ($0, length ($0) - length (path)) == " " path { found = 1 }
    END { exit !found }' /proc/net/unix
}

# Waits until somebody listens at PATH, while process PID lives.
await_listening() { # PATH PID
  local i
  for ((i = 0; i < 1000; i++)); do
    ! is_listening "$1" || return 0
    kill -0 "$2" || return 1
    sleep 0.02
  done
  return 1
}
