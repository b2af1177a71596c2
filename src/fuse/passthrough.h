/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernel passthrough: the kernel reads a disk that is one whole file from that file, and
 * the server is not asked.  Linux 6.9 and later, as root, on read-only mounts.
 *
 *     read ──► kernel's FUSE ──► page cache of the image's own file
 *
 * The reading must leave no more trace than ours does, and open no way to write: so the
 * kernel is given the file through a private mount of just this file, read-only and
 * without access times.
 *
 * libfuse got an interface to it in 3.17.  The way taken here does without, so that one
 * serves all versions: the answer to INIT is amended on its way to the kernel. */
#pragma once

#include "export/export.h"
#include <fuse_lowlevel.h>

typedef struct ImFusePassthrough ImFusePassthrough;

/* NULL where it cannot be: SET is writable, its disk is not a whole regular file that is
 * read through the page cache, or we are not allowed to.  Only --verbose hears of it. */
ImFusePassthrough *im_fuse_passthrough_new (const ImExportSet *set);
void im_fuse_passthrough_free (ImFusePassthrough *passthrough);

/* Looks at what came from the kernel, LENGTH bytes: is it an INIT that offers it? */
void im_fuse_passthrough_see (ImFusePassthrough *passthrough, const void *request,
                              size_t length);
/* Accepts the offer where IOV[0..N) is the reply to that INIT. */
void im_fuse_passthrough_amend (ImFusePassthrough *passthrough, const struct iovec *iov,
                                int n);
/* Once INIT has been answered on CONNECTION, before any other thread serves. */
void im_fuse_passthrough_start (ImFusePassthrough *passthrough, int connection);

/* What opens of BLOCK's node are answered with; 0: they are ours to serve. */
int32_t im_fuse_passthrough_id (const ImFusePassthrough *passthrough,
                                const ImBlock *block);
