/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS in a build without GnuTLS: whoever asks for it is refused, so nobody comes as far
 * as a session. */
#include "base/error.h"
#include "nbd/nbd-tls-session.h"
#include <errno.h>

static void
set_unsupported (GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "TLS: this build lacks it (it was made without GnuTLS)");
}

ImNbdTls *
im_nbd_tls_new (const ImNbdTlsOptions *options, GError **error)
{
  set_unsupported (error);
  return NULL;
}

void
im_nbd_tls_free (ImNbdTls *tls)
{
}

void
im_nbd_tls_set_authz (ImNbdTls *tls, ImNbdAuthz *authz)
{
  im_nbd_authz_free (authz);
}

ImNbdTlsSession *
im_nbd_tls_session_new (const ImNbdTls *tls, int fd, const char *hostname, GError **error)
{
  set_unsupported (error);
  return NULL;
}

void
im_nbd_tls_session_free (ImNbdTlsSession *session)
{
}

bool
im_nbd_tls_session_shake_hands (ImNbdTlsSession *session, short *ret_events,
                                GError **error)
{
  set_unsupported (error);
  return false;
}

const char *
im_nbd_tls_session_alert (ImNbdTlsSession *session)
{
  return NULL;
}

ssize_t
im_nbd_tls_session_receive (ImNbdTlsSession *session, void *buf, size_t length)
{
  errno = EOPNOTSUPP;
  return -1;
}

ssize_t
im_nbd_tls_session_send (ImNbdTlsSession *session, const struct iovec *iov, size_t n)
{
  errno = EOPNOTSUPP;
  return -1;
}

void
im_nbd_tls_session_finish (ImNbdTlsSession *session)
{
}
