# SPDX-License-Identifier: GPL-2.0-or-later
# The end of a process that is nobody's child any more.

# Waits until process PID has ended, twenty seconds at most.  It may stay a zombie for as long as
# init pleases.
await_end() { # PID
  local line tasks i
  for ((i = 0; i < 1000; i++)); do
    read -r line 2>/dev/null <"/proc/$1/stat" || return 0
    tasks=("/proc/$1/task"/*)
    [[ ${line##*) } != Z* || ${#tasks[@]} -gt 1 ]] || return 0
    sleep 0.02
  done
  return 1
}
