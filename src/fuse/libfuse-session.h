/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libfuse's side of a session. */
#pragma once

#include "fuse/mount.h"
#include "fuse/ops.h"

/* A session on MOUNT's descriptor, which it then owns.  SERVER is what the operations
 * see; its session, and its ring where MOUNT asks for one, with THREADS that may wait,
 * are set here. */
bool im_libfuse_session_new (ImFuseServer *server, ImFuseMount *mount, unsigned threads,
                             GError **error);
