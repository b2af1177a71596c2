/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How --unmount finds the process behind a mount: each server listens at an abstract unix
 * socket named by its mount's device number, which is unique in the system while the
 * mount lives.  Nothing is said over it; the kernel tells who listens, and a descriptor
 * of that process tells when it has ended, and so has closed and unlocked everything.
 * Nothing stays behind when a server is killed, and any user may ask. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct ImFuseBeacon ImFuseBeacon;

/* Listens on behalf of the mount with that device.  NULL where that cannot be, which
 * costs no more than --unmount not waiting. */
ImFuseBeacon *im_fuse_beacon_new (unsigned major, unsigned minor);
void im_fuse_beacon_free (ImFuseBeacon *beacon);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImFuseBeacon, im_fuse_beacon_free)

/* A descriptor of the process that serves that device, readable once it has ended; -1:
 * there is none.  One that belongs neither to root nor to OWNER is an impostor, and is
 * not believed. */
int im_fuse_beacon_find (unsigned major, unsigned minor, uid_t owner, pid_t *ret_pid);
