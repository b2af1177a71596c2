/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the process behind a mount or a device is found: it listens at an abstract unix
 * socket whose name has the number of that, which is alone in the system while it lives.
 * The kernel tells who listens, and a descriptor of that process tells when it has ended,
 * and so has closed and unlocked everything.  Nothing stays behind when a server is
 * killed, and any user may ask; in another network namespace nobody is found. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct ImBeacon ImBeacon;

/* Listens as NAME, and says TEXT, which may be NULL, to whoever asks.  NULL where that
 * cannot be, which costs no more than not being found. */
ImBeacon *im_beacon_new (const char *name, const char *text);
void im_beacon_free (ImBeacon *beacon);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImBeacon, im_beacon_free)

/* A descriptor of the process that listens as NAME, readable once it has ended; -1: there
 * is none.  One that belongs neither to root nor to OWNER is an impostor, and is not
 * believed. */
int im_beacon_find (const char *name, uid_t owner, pid_t *ret_pid);

/* The text of process PID where it is that which listens as NAME, or NULL.  A process
 * that does not answer keeps the caller waiting for a second.  Caller frees. */
char *im_beacon_ask (const char *name, pid_t pid);
