/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FUSE over io_uring: requests and replies in rings that the kernel shares with us, one
 * for each processor, in place of reads and writes of /dev/fuse.  libfuse has a thread
 * for each ring, which calls the operations.
 *
 *   ring's thread     request ─┬─ needs no waiting ─────────────────────► reply
 *                              └─► queue
 *   waiters                          └─► wait for disk, decoder, lock ──► reply
 *
 * Nobody can take the place of a ring's thread, so it waits for nothing: what cannot be
 * served at once is a waiter's.  What comes by /dev/fuse all the same (what was asked
 * before the rings were there, and what needs no answer) is served as ever.
 *
 * The build takes ring-3.19.c or, with an older libfuse, ring-absent.c: before 3.19
 * libfuse spoils a ring when another thread than its own replies. */
#pragma once

#include <fuse_lowlevel.h>
#include <glib.h>
#include <stdbool.h>

typedef struct ImFuseRing ImFuseRing;

/* Comes before all else: do libfuse and the kernel have it? */
bool im_fuse_ring_check (GError **error);

/* Puts itself before those of OPS that may wait, those that change something only where
 * the mount is WRITABLE.  The server of their requests has the ring.  THREADS: of
 * waiters. */
ImFuseRing *im_fuse_ring_new (struct fuse_lowlevel_ops *ops, bool writable,
                              unsigned threads);
/* After the session was stopped.  RING may be NULL. */
void im_fuse_ring_free (ImFuseRing *ring);

/* The words that fuse_session_new is told. */
char *im_fuse_ring_options (void);

/* Within INIT; RING NULL: no rings are wanted. */
void im_fuse_ring_init (ImFuseRing *ring, struct fuse_conn_info *conn);
/* Once INIT has been answered: are there rings? */
bool im_fuse_ring_is_there (const ImFuseRing *ring, GError **error);

/* The memory of IM_FUSE_MAX_READ bytes that REQ's reply is sent from without a copy; NULL
 * where it did not come by a ring. */
void *im_fuse_ring_buffer (fuse_req_t req);

/* Has a waiter call SEND, which answers REQ, with DATA.  For a thread that is about to
 * wait for the kernel to let go of a page: the kernel hands a ring's next request to
 * whoever sent that place's last answer, and if it is just this thread, which the page's
 * reader waits for, nobody ever goes on.  False: REQ did not come by a ring, or the
 * waiters have been closed, and SEND is the caller's to call. */
bool im_fuse_ring_answer (fuse_req_t req, void (*send) (void *data), void *data);

/* Returns when the waiters have answered all that they had; later requests are served by
 * the ring's thread.  RING may be NULL. */
void im_fuse_ring_close (ImFuseRing *ring);
/* Ends FUSE and its rings' threads, if any.  After close.  RING and FUSE may be NULL. */
void im_fuse_ring_stop (ImFuseRing *ring, struct fuse_session *fuse);
