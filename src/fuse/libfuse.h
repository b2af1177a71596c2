/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What differs between versions of libfuse: how capabilities are agreed on, and how the
 * kernel is given a file to read by itself (kernel passthrough).  The build takes one of
 *
 *   libfuse-3.17.c   libfuse has an interface to both
 *   libfuse-3.14.c   it has none to passthrough: the answer to INIT is amended on its way
 *                    to the kernel, the rest is said without libfuse */
#pragma once

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <sys/uio.h>

/* Within INIT: wants those CAPABILITIES (FUSE_CAP_…) that the kernel has. */
void im_libfuse_want (struct fuse_conn_info *conn, uint32_t capabilities);
/* Within INIT: does without CAPABILITIES. */
void im_libfuse_refuse (struct fuse_conn_info *conn, uint32_t capabilities);

/* Passthrough as it is agreed on in INIT. */
typedef struct {
  uint32_t stack_depth; /* file systems on one another, ours included; the caller's */
  bool offered;         /* by the kernel, in INIT */
  bool agreed;          /* INIT has been answered; the caller's */
  uint64_t init;        /* the number of the INIT that offered it */
} ImLibfusePassthrough;

/* Within INIT. */
void im_libfuse_passthrough_init (ImLibfusePassthrough *passthrough,
                                  struct fuse_conn_info *conn);
/* Come with what is received, and with what is sent: until INIT has been answered. */
void im_libfuse_passthrough_see (ImLibfusePassthrough *passthrough, const void *request,
                                 size_t length);
void im_libfuse_passthrough_amend (ImLibfusePassthrough *passthrough,
                                   const struct iovec *iov, int n);

/* Gives the kernel FD, of which it keeps its own reference until the session ends.  The
 * number it has for that, or 0 and errno. */
int32_t im_libfuse_passthrough_open (fuse_req_t req, struct fuse_session *session,
                                     int fd);
/* Answers an open: the kernel reads BACKING, and remembers HANDLE.  DIRECT: it asks us
 * for each read of this handle all the same, and only knows that the file is BACKING's.
 */
int im_libfuse_passthrough_reply (fuse_req_t req, uint64_t handle, int32_t backing,
                                  bool direct);
