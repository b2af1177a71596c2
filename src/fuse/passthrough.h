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

/* An open of a node. */
typedef struct {
  const ImBlock *block;
  uint64_t handle; /* what the kernel is to remember, where it reads by itself */
  bool direct; /* O_DIRECT: each read comes to us.  The kernel itself would go past the
                * image's pages to the device, however hot they are. */
  bool cuts;   /* such reads are better cut by the kernel, which needs a handle that
                * is wholly ours */
} ImFusePassthroughOpen;

/* Answers REQ, if OPEN's node is the disk and the kernel is to read it; the handle is
 * then to be released with PASSED.  False: the open is ours to answer, and for the disk a
 * handle that is released without.  Kernels have a file either in their hands or in ours,
 * so whoever comes first decides for those who come while it is open.  PASSTHROUGH may be
 * NULL.  Any thread. */
bool im_fuse_passthrough_open (ImFusePassthrough *passthrough, fuse_req_t req,
                               struct fuse_session *session,
                               const ImFusePassthroughOpen *open);
void im_fuse_passthrough_release (ImFusePassthrough *passthrough, const ImBlock *block,
                                  bool passed);
