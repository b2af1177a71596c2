/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The FUSE exporter. */
#pragma once

#include "export/export.h"

typedef struct {
  const char *mountpoint; /* absolute; a directory, or a regular file: then the disk
                           * appears in its place */
  const char *options;    /* further mount options, comma-separated, or NULL */
} ImFuseOptions;

typedef struct ImFuseSession ImFuseSession;

/* Mounts; nothing is answered yet.  SET is borrowed and outlives it.  Errors of all
 * functions here are without the mount point's path. */
ImFuseSession *im_fuse_session_new (const ImExportSet *set, const ImFuseOptions *options,
                                    GError **error);
/* Unmounts if need be. */
void im_fuse_session_free (ImFuseSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImFuseSession, im_fuse_session_free)

/* Serves until it is unmounted.  READY (data) is called once, when the kernel has been
 * answered its INIT and a first access will succeed. */
bool im_fuse_session_run (ImFuseSession *session, void (*ready) (void *data), void *data,
                          GError **error);

/* Unmounts, lazily where it is busy, so that run returns once all handles are closed.
 * Called again, or where it cannot be unmounted: run returns whatever is open.  Any
 * thread. */
void im_fuse_session_stop (ImFuseSession *session);

/* Adds the mounts of ours that the calling user made to LIST, of ImServed; all for root.
 * Whoever does not answer keeps it waiting for seconds only. */
bool im_fuse_list (GPtrArray *list, GError **error);

/* --unmount: detaches the imgmount mount at MOUNTPOINT and returns when its server has
 * ended.  One that is in use is refused, unless its server has died. */
bool im_fuse_unmount (const char *mountpoint, GError **error);
