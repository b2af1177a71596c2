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
 * How the kernel is told is libfuse.h's: versions of libfuse differ. */
#pragma once

#include "export/export.h"
#include "fuse/libfuse.h"

typedef struct ImFusePassthrough ImFusePassthrough;

/* NULL where it cannot be: SET is writable, its disk is not a whole regular file that is
 * read through the page cache, or we are not allowed to.  Only --verbose hears of it. */
ImFusePassthrough *im_fuse_passthrough_new (const ImExportSet *set);
void im_fuse_passthrough_free (ImFusePassthrough *passthrough);

/* Within INIT; and what is received and sent until that has been answered.  PASSTHROUGH
 * may be NULL. */
void im_fuse_passthrough_init (ImFusePassthrough *passthrough,
                               struct fuse_conn_info *conn);
void im_fuse_passthrough_see (ImFusePassthrough *passthrough, const void *request,
                              size_t length);
void im_fuse_passthrough_amend (ImFusePassthrough *passthrough, const struct iovec *iov,
                                int n);
/* Once INIT has been answered, before any other thread serves. */
void im_fuse_passthrough_start (ImFusePassthrough *passthrough);

/* Answers REQ, an open of BLOCK's node: the kernel reads it from now on, and remembers
 * HANDLE.  DIRECT: the open is O_DIRECT, and each read comes to us: the kernel itself
 * would go past the image's pages to the device, however hot they are.  False: the open
 * is ours to answer.  PASSTHROUGH may be NULL.  Any thread. */
bool im_fuse_passthrough_reply_open (ImFusePassthrough *passthrough, fuse_req_t req,
                                     struct fuse_session *session, const ImBlock *block,
                                     uint64_t handle, bool direct);
