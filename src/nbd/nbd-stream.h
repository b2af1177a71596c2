/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One client's byte stream.  Everything that reads or writes a connection goes through
 * here, so that an encrypted one differs in this file alone. */
#pragma once

#include "nbd/nbd-tls-session.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef struct {
  int fd;              /* owned */
  bool can_send_files; /* im_nbd_stream_send_file is worth calling */
  atomic_bool cut;
  ImNbdTlsSession *tls; /* NULL: what is sent is sent as it is */
} ImNbdStream;

/* Takes over the connected socket FD. */
void im_nbd_stream_init (ImNbdStream *stream, int fd);
void im_nbd_stream_close (ImNbdStream *stream);

/* Encrypts from the next byte on, which has to be done before any work is under way; both
 * arguments are borrowed.  Then the handshake, which is the caller's to repeat: both as
 * in nbd-tls-session.h. */
bool im_nbd_stream_start_tls (ImNbdStream *stream, const ImNbdTls *tls,
                              const char *hostname, GError **error);
bool im_nbd_stream_shake_hands (ImNbdStream *stream, short *ret_events, GError **error);

/* Something has come that was not received yet; before TLS. */
bool im_nbd_stream_has_input (const ImNbdStream *stream);

/* Why the other side ended an encrypted stream, or NULL: it did not say. */
const char *im_nbd_stream_alert (const ImNbdStream *stream);

/* Each returns the number of bytes moved, or -1 and errno; EAGAIN where it would block.
 * The receiver is one thread, the senders take turns; one of each may be at work. */

/* 0 is the end.  WAIT: may block until there is something; EAGAIN may come all the same.
 * Only after EAGAIN does poll tell when there is more. */
ssize_t im_nbd_stream_receive (ImNbdStream *stream, void *buf, size_t length, bool wait);

/* MORE: the next send follows at once.  After EAGAIN the next send is to begin with the
 * same bytes. */
ssize_t im_nbd_stream_send (ImNbdStream *stream, struct iovec *iov, size_t n, bool more);

/* Sends from the file FILE_FD at AT, which should be in the page cache; the process must
 * ignore SIGPIPE.  0: the file ends there.  An errno other than EAGAIN, EPIPE and
 * ECONNRESET is the file's. */
ssize_t im_nbd_stream_send_file (ImNbdStream *stream, int file_fd, uint64_t at,
                                 size_t length);

/* Tells the client that nothing follows.  For the last sender. */
void im_nbd_stream_finish (ImNbdStream *stream);

/* Ends receiving: a blocked im_nbd_stream_receive returns.  Any thread. */
void im_nbd_stream_stop_receiving (ImNbdStream *stream);

/* Cuts the connection: everything fails from now on.  Any thread. */
void im_nbd_stream_cut (ImNbdStream *stream);

/* True once it was cut: nobody will see an answer.  Any thread. */
bool im_nbd_stream_is_cut (const ImNbdStream *stream);
