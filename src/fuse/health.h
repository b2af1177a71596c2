/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether a mount is served, and by whom.  The process is asked for first
 * (base/beacon.h), and only where none answers the mount itself is touched, in a child
 * that nobody has to wait for: a server that hangs keeps whoever touches its mount, kill
 * -9 or not. */
#pragma once

#include "base/mount-table.h"
#include "base/served.h"

/* About ENTRY of TABLE, a mount of ours.  *RET_PID is 0 where the process is not known.
 * To be called from a process without other threads. */
ImServedState im_fuse_health (GPtrArray *table, const ImMountEntry *entry,
                              pid_t *ret_pid);
