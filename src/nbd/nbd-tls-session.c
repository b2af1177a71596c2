/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encrypting and decrypting what one connection carries. */
#include "nbd/nbd-tls-session.h"
#include "base/error.h"
#include "base/log.h"
#include "nbd/nbd-tls-private.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

/* The most that one record carries, and what encryption adds to it at most. */
#define RECORD_MAX      16384u
#define RECORD_OVERHEAD 1024u

/* What is received and sent with one call.  A part of what goes out is kept for what
 * GnuTLS has to say itself; a client that makes it say more, and takes nothing, is cut
 * off. */
#define IN_SIZE      (64u << 10)
#define OUT_SIZE     (8u * (RECORD_MAX + RECORD_OVERHEAD) + OUT_RESERVED)
#define OUT_RESERVED (16u << 10)

/* Warnings that the other side may send: they cost it nothing and bring us nowhere. */
#define WARNINGS_MAX 16

struct ImNbdTlsSession {
  const ImNbdTls *tls;
  int fd;
  char *hostname;
  pthread_mutex_t lock; /* all below */
  gnutls_session_t session;
  bool shaken;       /* the handshake is over */
  const char *alert; /* the other side's last word, or NULL */
  unsigned warnings;
  size_t owed;
  size_t in_start, in_end;
  size_t out_start, out_end;
  uint8_t in[IN_SIZE];
  uint8_t out[OUT_SIZE];
  uint8_t record[RECORD_MAX]; /* what several small pieces are gathered in */
};

/* GnuTLS's way to the socket, for reading. */
static ssize_t
pull (gnutls_transport_ptr_t data, void *buf, size_t size)
{
  ImNbdTlsSession *s = data;
  if (s->in_start == s->in_end) {
    ssize_t n;
    do
      n = recv (s->fd, s->in, IN_SIZE, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    s->in_start = 0;
    s->in_end = n > 0 ? (size_t)n : 0;
    if (n <= 0) {
      gnutls_transport_set_errno (s->session, n < 0 ? errno : 0);
      return n;
    }
  }
  size_t n = MIN (size, s->in_end - s->in_start);
  memcpy (buf, s->in + s->in_start, n);
  s->in_start += n;
  return (ssize_t)n;
}

/* And for writing: into memory. */
static ssize_t
push (gnutls_transport_ptr_t data, const void *buf, size_t size)
{
  ImNbdTlsSession *s = data;
  if (OUT_SIZE - s->out_end < size) {
    memmove (s->out, s->out + s->out_start, s->out_end - s->out_start);
    s->out_end -= s->out_start;
    s->out_start = 0;
  }
  if (OUT_SIZE - s->out_end < size) {
    gnutls_transport_set_errno (s->session, EPIPE);
    return -1;
  }
  memcpy (s->out + s->out_end, buf, size);
  s->out_end += size;
  return (ssize_t)size;
}

/* Sends what is in out.  False: it did not all go, and errno tells why. */
static bool
flush_locked (ImNbdTlsSession *s)
{
  while (s->out_start < s->out_end) {
    ssize_t n = send (s->fd, s->out + s->out_start, s->out_end - s->out_start,
                      MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0)
      s->out_start += (size_t)n;
    else if (errno != EINTR)
      return false;
  }
  s->out_start = s->out_end = 0;
  return true;
}

static int
set_credentials (ImNbdTlsSession *s)
{
  const ImNbdTls *tls = s->tls;
  if (tls->certificates)
    return gnutls_credentials_set (s->session, GNUTLS_CRD_CERTIFICATE, tls->certificates);
  return gnutls_credentials_set (s->session, GNUTLS_CRD_PSK,
                                 tls->client ? (void *)tls->psk_client
                                             : (void *)tls->psk_server);
}

ImNbdTlsSession *
im_nbd_tls_session_new (const ImNbdTls *tls, int fd, const char *hostname, GError **error)
{
  ImNbdTlsSession *s = g_new0 (ImNbdTlsSession, 1);
  s->tls = tls;
  s->fd = fd;
  s->hostname = g_strdup (hostname);
  pthread_mutex_init (&s->lock, NULL);
  int failure = gnutls_init (
      &s->session, GNUTLS_NONBLOCK | (tls->client ? GNUTLS_CLIENT : GNUTLS_SERVER));
  if (failure >= 0)
    failure = gnutls_priority_set (s->session, tls->priority);
  if (failure >= 0)
    failure = set_credentials (s);
  if (failure < 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT, "TLS: %s", gnutls_strerror (failure));
    im_nbd_tls_session_free (s);
    return NULL;
  }
  if (tls->certificates && !tls->client)
    gnutls_certificate_server_set_request (
        s->session, tls->verify_peer ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
  gnutls_session_set_ptr (s->session, (void *)tls);
  gnutls_transport_set_ptr (s->session, s);
  gnutls_transport_set_pull_function (s->session, pull);
  gnutls_transport_set_push_function (s->session, push);
  return s;
}

void
im_nbd_tls_session_free (ImNbdTlsSession *s)
{
  if (!s)
    return;
  if (s->session)
    gnutls_deinit (s->session);
  pthread_mutex_destroy (&s->lock);
  g_free (s->hostname);
  /* It held what was to be kept from others. */
  explicit_bzero (s->record, sizeof s->record);
  g_free (s);
}

/* True where GnuTLS is to be called again at once after RESULT: nothing is amiss, and
 * poll would not tell of what it has not looked at. */
static bool
goes_on (ImNbdTlsSession *s, ssize_t result)
{
  if (result == GNUTLS_E_FATAL_ALERT_RECEIVED)
    s->alert = gnutls_alert_get_name (gnutls_alert_get (s->session));
  if (result == GNUTLS_E_WARNING_ALERT_RECEIVED)
    return s->warnings++ < WARNINGS_MAX;
  return result == GNUTLS_E_INTERRUPTED ||
         (result == GNUTLS_E_AGAIN && s->in_start < s->in_end);
}

/* The alert for a certificate of that STATUS. */
static gnutls_alert_description_t
alert_for (unsigned status)
{
  if (status & GNUTLS_CERT_REVOKED)
    return GNUTLS_A_CERTIFICATE_REVOKED;
  if (status & GNUTLS_CERT_EXPIRED)
    return GNUTLS_A_CERTIFICATE_EXPIRED;
  if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
    return GNUTLS_A_UNKNOWN_CA;
  return GNUTLS_A_BAD_CERTIFICATE;
}

/* The name in the other side's certificate; caller frees.  NULL: it has none. */
static char *
peer_name (ImNbdTlsSession *s)
{
  unsigned n;
  const gnutls_datum_t *chain = gnutls_certificate_get_peers (s->session, &n);
  gnutls_x509_crt_t certificate;
  gnutls_datum_t name = {0};
  if (!chain || n == 0 || gnutls_x509_crt_init (&certificate) < 0)
    return NULL;
  if (gnutls_x509_crt_import (certificate, &chain[0], GNUTLS_X509_FMT_DER) >= 0)
    gnutls_x509_crt_get_dn2 (certificate, &name);
  gnutls_x509_crt_deinit (certificate);
  char *copy = name.data ? g_strndup ((const char *)name.data, name.size) : NULL;
  gnutls_free (name.data);
  return copy;
}

static bool
refuse_peer (ImNbdTlsSession *s, gnutls_alert_description_t alert, GError **error,
             const char *name, const char *reason)
{
  g_autofree char *text = g_strchomp (g_strdup (reason));
  gnutls_alert_send (s->session, GNUTLS_AL_FATAL, alert);
  flush_locked (s);
  g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND, "TLS: %s: %s",
               name ? name : "a peer without a name", text);
  return false;
}

/* *ret_status: what speaks against the other side's certificate.  A server has to be the
 * one that was asked for, and a server by its certificate's own words. */
static int
verify (ImNbdTlsSession *s, unsigned *ret_status)
{
  gnutls_typed_vdata_st wanted[] = {
      {GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)GNUTLS_KP_TLS_WWW_SERVER, 0},
      {GNUTLS_DT_DNS_HOSTNAME, (unsigned char *)s->hostname, 0},
  };
  return gnutls_certificate_verify_peers (
      s->session, wanted, s->tls->client ? 1 + (s->hostname != NULL) : 0, ret_status);
}

/* What STATUS, which is not 0, means; caller frees. */
static char *
describe (const ImNbdTlsSession *s, unsigned status)
{
  if (!(status & ~(unsigned)(GNUTLS_CERT_INVALID | GNUTLS_CERT_UNEXPECTED_OWNER)) &&
      s->hostname)
    return g_strdup_printf ("its certificate is not for '%s'", s->hostname);
  gnutls_datum_t text = {0};
  gnutls_certificate_verification_status_print (status, GNUTLS_CRT_X509, &text, 0);
  char *copy =
      g_strdup (text.data ? (char *)text.data : "its certificate is not trusted");
  gnutls_free (text.data);
  return copy;
}

static bool
check_authz (ImNbdTlsSession *s, const char *name, GError **error)
{
  g_autoptr (GError) failure = NULL;
  if (name && im_nbd_authz_allows (s->tls->authz, name, &failure))
    return true;
  if (failure)
    im_log_warning ("--tls-authz lets nobody in: %s", failure->message);
  return refuse_peer (s, GNUTLS_A_ACCESS_DENIED, error, name, "--tls-authz denies it");
}

/* Whether the other side is one that is let in. */
static bool
check_peer (ImNbdTlsSession *s, GError **error)
{
  unsigned status = 0;
  if (!s->tls->verify_peer)
    return true;
  g_autofree char *name = peer_name (s);
  int failure = verify (s, &status);
  if (failure < 0)
    return refuse_peer (s, GNUTLS_A_BAD_CERTIFICATE, error, name,
                        gnutls_strerror (failure));
  if (status != 0) {
    g_autofree char *text = describe (s, status);
    return refuse_peer (s, alert_for (status), error, name, text);
  }
  return !s->tls->authz || check_authz (s, name, error);
}

/* As far as the socket's bytes go. */
static bool
shake_locked (ImNbdTlsSession *s, GError **error)
{
  int result;
  do
    result = gnutls_handshake (s->session);
  while (goes_on (s, result));
  if (result == GNUTLS_E_AGAIN)
    return true;
  s->shaken = result == GNUTLS_E_SUCCESS;
  if (s->shaken)
    return check_peer (s, error);
  gnutls_alert_send_appropriate (s->session, result);
  flush_locked (s);
  g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND, "TLS: %s%s",
               s->alert ? "the other side refuses: " : "",
               s->alert ? s->alert : gnutls_strerror (result));
  return false;
}

bool
im_nbd_tls_session_shake_hands (ImNbdTlsSession *s, short *ret_events, GError **error)
{
  pthread_mutex_lock (&s->lock);
  bool ok = s->shaken || shake_locked (s, error);
  *ret_events = s->shaken ? 0 : POLLIN;
  if (ok && !flush_locked (s)) {
    *ret_events = POLLOUT;
    ok = errno == EAGAIN;
    if (!ok)
      im_set_errno (error, errno, "TLS");
  }
  pthread_mutex_unlock (&s->lock);
  return ok;
}

const char *
im_nbd_tls_session_alert (ImNbdTlsSession *s)
{
  pthread_mutex_lock (&s->lock);
  const char *alert = s->alert;
  pthread_mutex_unlock (&s->lock);
  return alert;
}

/* As receive, of one record at most. */
static ssize_t
receive_record (ImNbdTlsSession *s, void *buf, size_t length)
{
  ssize_t n;
  pthread_mutex_lock (&s->lock);
  do
    n = gnutls_record_recv (s->session, buf, length);
  while (n < 0 && goes_on (s, n));
  /* What GnuTLS answered on its own; what does not go now goes with the next send. */
  if (s->out_start < s->out_end)
    flush_locked (s);
  pthread_mutex_unlock (&s->lock);
  if (n >= 0)
    return n;
  if (n == GNUTLS_E_PREMATURE_TERMINATION)
    return 0;
  errno = n == GNUTLS_E_AGAIN ? EAGAIN : ECONNRESET;
  return -1;
}

ssize_t
im_nbd_tls_session_receive (ImNbdTlsSession *s, void *buf, size_t length)
{
  size_t got = 0;
  ssize_t n;
  do {
    n = receive_record (s, (uint8_t *)buf + got, length - got);
    got += n > 0 ? (size_t)n : 0;
  } while (n > 0 && got < length);
  return got > 0 ? (ssize_t)got : n;
}

/* The pieces of IOV from AT on that one record takes: a large piece where it is, small
 * ones gathered. */
static const uint8_t *
next_record (ImNbdTlsSession *s, const struct iovec *iov, size_t n, size_t at,
             size_t *ret_length)
{
  size_t gathered = 0;
  for (size_t i = 0; i < n && gathered < RECORD_MAX; i++) {
    if (at >= iov[i].iov_len) {
      at -= iov[i].iov_len;
      continue;
    }
    const uint8_t *from = (const uint8_t *)iov[i].iov_base + at;
    size_t length = MIN (iov[i].iov_len - at, RECORD_MAX - gathered);
    at = 0;
    if (length == RECORD_MAX) {
      *ret_length = length;
      return from;
    }
    memcpy (s->record + gathered, from, length);
    gathered += length;
  }
  *ret_length = gathered;
  return s->record;
}

/* Encrypts from IOV what out has room for.  False: the session is broken; sets errno. */
static bool
encrypt_locked (ImNbdTlsSession *s, const struct iovec *iov, size_t n)
{
  while (s->out_end + RECORD_MAX + RECORD_OVERHEAD <= OUT_SIZE - OUT_RESERVED) {
    size_t length;
    const uint8_t *record = next_record (s, iov, n, s->owed, &length);
    if (length == 0)
      break;
    ssize_t sent = gnutls_record_send (s->session, record, length);
    if (sent <= 0) {
      errno = EPIPE;
      return false;
    }
    s->owed += (size_t)sent;
  }
  return true;
}

ssize_t
im_nbd_tls_session_send (ImNbdTlsSession *s, const struct iovec *iov, size_t n)
{
  ssize_t sent = -1;
  pthread_mutex_lock (&s->lock);
  /* What is owed was encrypted from these same bytes before. */
  bool flushed = flush_locked (s);
  if (flushed && s->owed == 0)
    flushed = encrypt_locked (s, iov, n) && flush_locked (s);
  int errnum = errno;
  if (flushed) {
    sent = (ssize_t)s->owed;
    s->owed = 0;
  }
  pthread_mutex_unlock (&s->lock);
  errno = errnum;
  return sent;
}

void
im_nbd_tls_session_finish (ImNbdTlsSession *s)
{
  pthread_mutex_lock (&s->lock);
  if (s->shaken && gnutls_bye (s->session, GNUTLS_SHUT_WR) >= 0)
    flush_locked (s);
  pthread_mutex_unlock (&s->lock);
}
