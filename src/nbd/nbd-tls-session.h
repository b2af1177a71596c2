/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One encrypted connection.  GnuTLS reads from one buffer and writes into another, and
 * sees the socket as one that never says half: what does not fit waits in ours.
 *
 *   send ──► records ──► out ──► socket        owed: bytes that are encrypted in out, and
 *   receive ◄── records ◄── in ◄── socket            not yet said to have been sent
 *
 * The receiver may make GnuTLS send (alerts, new keys), and the sender sees its state, so
 * both hold the session's lock for one record, or one send, at a time: never while they
 * wait. */
#pragma once

#include "nbd/nbd-tls.h"
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef struct ImNbdTlsSession ImNbdTlsSession;

/* On the connected socket FD; both are borrowed.  HOSTNAME: a client's, that the server's
 * certificate has to be for; or NULL. */
ImNbdTlsSession *im_nbd_tls_session_new (const ImNbdTls *tls, int fd,
                                         const char *hostname, GError **error);
void im_nbd_tls_session_free (ImNbdTlsSession *session);

/* Goes on with the handshake, as far as it goes without waiting.  *ret_events is what
 * poll is to wait for before it is called again, 0 at the end: the other side is one
 * that is let in.  Nothing else is to be called before that. */
bool im_nbd_tls_session_shake_hands (ImNbdTlsSession *session, short *ret_events,
                                     GError **error);

/* The name of the alert with which the other side ended it, static text; NULL: none. */
const char *im_nbd_tls_session_alert (ImNbdTlsSession *session);

/* Both as in nbd-stream.h; neither blocks. */
ssize_t im_nbd_tls_session_receive (ImNbdTlsSession *session, void *buf, size_t length);
ssize_t im_nbd_tls_session_send (ImNbdTlsSession *session, const struct iovec *iov,
                                 size_t n);

/* Tells the other side that this was all, if it can be told at once. */
void im_nbd_tls_session_finish (ImNbdTlsSession *session);
