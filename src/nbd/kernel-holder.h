/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process behind a device, found by the thread that the kernel names. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* The process that THREAD belongs to, and its name, which the caller frees.  0: gone. */
pid_t im_nbd_holder_find (pid_t thread, char **ret_name);

/* True where NAME is that of a process of this program's. */
bool im_nbd_holder_is_ours (const char *name);

/* A descriptor for the process of THREAD where that is a server of this program's, or -1.
 * To be asked for while the device is attached. */
int im_nbd_holder_watch (pid_t thread, pid_t *ret_pid);

/* Waits until that process has ended, and says so where it takes long; where not
 * PATIENTLY it then waits no longer. */
void im_nbd_holder_wait (int process, pid_t pid, const char *device, bool patiently);
