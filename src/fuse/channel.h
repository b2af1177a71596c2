/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A thread's own way to the kernel: a clone of the connection's descriptor, so that its
 * requests and replies queue apart from those of other threads, and a buffer. */
#pragma once

#include "fuse/watch.h"
#include <stddef.h>
#include <sys/uio.h>

/* The greatest read and write that the kernel asks for (256 pages). */
#define IM_FUSE_MAX_READ  (1024u * 1024)
#define IM_FUSE_MAX_WRITE IM_FUSE_MAX_READ

typedef struct ImFuseChannel ImFuseChannel;

/* Opens another channel to the connection FD for one of those who share WATCH; NULL: the
 * one of FD itself. */
ImFuseChannel *im_fuse_channel_new (int fd, ImFuseWatch *watch, GError **error);
void im_fuse_channel_free (ImFuseChannel *channel);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImFuseChannel, im_fuse_channel_free)

/* What the calling thread receives from and replies to.  A request must be answered
 * through the channel that it came from. */
void im_fuse_channel_use (ImFuseChannel *channel);
ImFuseChannel *im_fuse_channel_used (void);

/* The calling thread's page-aligned buffer of IM_FUSE_MAX_READ bytes. */
void *im_fuse_channel_buffer (void);

/* One reply to, and one request from, the kernel: through the calling thread's channel.
 */
ssize_t im_fuse_channel_writev (const struct iovec *iov, int n);
ssize_t im_fuse_channel_read (void *buf, size_t length);

/* The calling thread has taken its last request. */
void im_fuse_channel_leave (void);

/* Threads without a channel of their own may call these; they mean nothing there. */

/* To be called before the calling thread waits for a disk, a decoder or a lock: requests
 * that come meanwhile are another's. */
void im_fuse_channel_will_wait (void);

/* Whether to try what needs no waiting first; and that doing so was a waste. */
bool im_fuse_channel_dares (void);
void im_fuse_channel_doubt (void);
