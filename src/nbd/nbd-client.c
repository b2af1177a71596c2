/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connecting, the greeting, and options with their replies, from the client's side. */
#include "nbd/nbd-client.h"
#include "base/bytes.h"
#include "base/error.h"
#include "nbd/nbd-proto.h"
#include "nbd/nbd-stream.h"
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct ImNbdClient {
  ImNbdStream stream;
  gint64 deadline; /* in monotonic microseconds; 0: none */
  size_t budget;   /* bytes that the server may still send */
  bool talking;    /* options can be sent */
  ImNbdGreeting greeting;
  uint64_t size;
  uint16_t flags;
};

static bool
set_late (GError **error)
{
  im_set_errno (error, ETIMEDOUT, "the server takes too long");
  return false;
}

/* Waits for EVENTS on FD.  False: the time is up, or nothing can be waited for. */
static bool
wait_for (int fd, short events, gint64 deadline, GError **error)
{
  struct pollfd pollfd = {.fd = fd, .events = events};
  for (;;) {
    gint64 left = deadline ? deadline - g_get_monotonic_time () : 0;
    if (deadline && left <= 0)
      return set_late (error);
    int n = poll (&pollfd, 1, deadline ? (int)MIN ((left + 999) / 1000, G_MAXINT) : -1);
    if (n > 0)
      return true;
    if (n < 0 && errno != EINTR) {
      im_set_errno (error, errno, "poll");
      return false;
    }
  }
}

/* Connects a new socket.  Returns it, or -1 and errno. */
static int
connect_to (int domain, const struct sockaddr *address, socklen_t length, gint64 deadline)
{
  int failure = 0, fd = socket (domain, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0)
    return -1;
  if (connect (fd, address, length) == 0)
    return fd;
  failure = errno;
  if (failure == EINPROGRESS) {
    socklen_t size = sizeof failure;
    if (!wait_for (fd, POLLOUT, deadline, NULL))
      failure = ETIMEDOUT;
    else if (getsockopt (fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
      failure = errno;
    else if (failure == 0)
      return fd;
  }
  close (fd);
  errno = failure;
  return -1;
}

static int
connect_unix (const char *path, gint64 deadline, GError **error)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen (path) >= sizeof address.sun_path) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "socket path is %zu bytes long; at most %zu are possible", strlen (path),
                 sizeof address.sun_path - 1);
    return -1;
  }
  memcpy (address.sun_path, path, strlen (path));
  int fd =
      connect_to (AF_UNIX, (const struct sockaddr *)&address, sizeof address, deadline);
  if (fd < 0)
    im_set_errno (error, errno, "cannot connect to %s", path);
  return fd;
}

static int
connect_tcp (const ImNbdOptions *options, gint64 deadline, GError **error)
{
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses = NULL;
  int code = getaddrinfo (options->bind, options->port, &hints, &addresses);
  if (code != 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "address %s port %s: %s", options->bind,
                 options->port, gai_strerror (code));
    return -1;
  }
  int fd = -1, failure = EADDRNOTAVAIL;
  for (const struct addrinfo *a = addresses; a && fd < 0; a = a->ai_next) {
    fd = connect_to (a->ai_family, a->ai_addr, a->ai_addrlen, deadline);
    failure = errno;
  }
  freeaddrinfo (addresses);
  if (fd < 0)
    im_set_errno (error, failure, "cannot connect to %s port %s", options->bind,
                  options->port);
  return fd;
}

/* A server that does not like our certificate says so in an alert, which may still be
 * on its way to us when nothing can be sent to it any more. */
static bool
set_ended (ImNbdClient *client, GError **error)
{
  uint8_t byte;
  const char *alert = im_nbd_stream_alert (&client->stream);
  if (client->stream.tls && !alert) {
    im_nbd_stream_receive (&client->stream, &byte, 1, false);
    alert = im_nbd_stream_alert (&client->stream);
  }
  if (alert)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED, "TLS: the other side refuses: %s",
                 alert);
  else
    im_set_errno (error, ECONNRESET, "the server has hung up");
  return false;
}

static bool
receive (ImNbdClient *client, void *buf, size_t length, GError **error)
{
  if (length > client->budget) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "the server says more than %u bytes: that is no list of exports",
                 IM_NBD_CLIENT_BUDGET);
    return false;
  }
  client->budget -= length;
  for (size_t done = 0; done < length;) {
    ssize_t n = im_nbd_stream_receive (&client->stream, (uint8_t *)buf + done,
                                       length - done, false);
    if (n > 0)
      done += (size_t)n;
    else if (n == 0 || errno != EAGAIN)
      return set_ended (client, error);
    else if (!wait_for (client->stream.fd, POLLIN, client->deadline, error))
      return false;
    /* A server that sends drop by drop must not hold us either. */
    if (client->deadline && g_get_monotonic_time () > client->deadline)
      return set_late (error);
  }
  return true;
}

static bool
transmit (ImNbdClient *client, const void *buf, size_t length, GError **error)
{
  for (size_t done = 0; done < length;) {
    struct iovec iov = {(uint8_t *)buf + done, length - done};
    ssize_t n = im_nbd_stream_send (&client->stream, &iov, 1, false);
    if (n >= 0)
      done += (size_t)n;
    else if (errno != EAGAIN)
      return set_ended (client, error);
    else if (!wait_for (client->stream.fd, POLLOUT, client->deadline, error))
      return false;
  }
  return true;
}

/* What follows the magic of an old server, but for the padding. */
static bool
greet_old (ImNbdClient *client, GError **error)
{
  uint8_t rest[8 + 4];
  if (!receive (client, rest, sizeof rest, error))
    return false;
  client->greeting = IM_NBD_GREETING_OLD;
  client->size = im_get_be64 (rest);
  client->flags = (uint16_t)im_get_be32 (rest + 8);
  return true;
}

static bool
greet_new (ImNbdClient *client, GError **error)
{
  uint8_t raw[2], answer[IM_NBD_CLIENT_FLAGS_SIZE];
  if (!receive (client, raw, sizeof raw, error))
    return false;
  uint16_t flags = im_get_be16 (raw);
  bool fixed = (flags & IM_NBD_FLAG_FIXED_NEWSTYLE) != 0;
  client->greeting = fixed ? IM_NBD_GREETING_FIXED : IM_NBD_GREETING_BARE;
  im_put_be32 (answer, flags & (IM_NBD_FLAG_FIXED_NEWSTYLE | IM_NBD_FLAG_NO_ZEROES));
  client->talking = fixed && transmit (client, answer, sizeof answer, error);
  return client->talking || !fixed;
}

static bool
greet (ImNbdClient *client, GError **error)
{
  uint8_t magic[16];
  if (!receive (client, magic, sizeof magic, error))
    return false;
  if (im_get_be64 (magic) == IM_NBD_MAGIC) {
    if (im_get_be64 (magic + 8) == IM_NBD_OPTION_MAGIC)
      return greet_new (client, error);
    if (im_get_be64 (magic + 8) == IM_NBD_OLD_MAGIC)
      return greet_old (client, error);
  }
  g_set_error_literal (error, IM_ERROR, IM_ERROR_CORRUPT,
                       "what answers there is no NBD server");
  return false;
}

ImNbdClient *
im_nbd_client_new (const ImNbdOptions *options, GError **error)
{
  gint64 deadline =
      options->handshake_limit
          ? g_get_monotonic_time () + (gint64)options->handshake_limit * G_USEC_PER_SEC
          : 0;
  int fd = options->socket_path ? connect_unix (options->socket_path, deadline, error)
                                : connect_tcp (options, deadline, error);
  if (fd < 0)
    return NULL;
  g_autoptr (ImNbdClient) client = g_new0 (ImNbdClient, 1);
  im_nbd_stream_init (&client->stream, fd);
  client->deadline = deadline;
  client->budget = IM_NBD_CLIENT_BUDGET;
  return greet (client, error) ? g_steal_pointer (&client) : NULL;
}

void
im_nbd_client_free (ImNbdClient *client)
{
  if (!client)
    return;
  uint8_t message[IM_NBD_OPTION_HEADER_SIZE];
  im_put_be64 (message, IM_NBD_OPTION_MAGIC);
  im_put_be32 (message + 8, IM_NBD_OPT_ABORT);
  im_put_be32 (message + 12, 0);
  struct iovec iov = {message, sizeof message};
  /* A courtesy, which nobody waits for. */
  if (client->talking)
    (void)im_nbd_stream_send (&client->stream, &iov, 1, false);
  im_nbd_stream_close (&client->stream);
  g_free (client);
}

ImNbdGreeting
im_nbd_client_greeting (const ImNbdClient *client)
{
  return client->greeting;
}

uint64_t
im_nbd_client_size (const ImNbdClient *client)
{
  return client->size;
}

uint16_t
im_nbd_client_flags (const ImNbdClient *client)
{
  return client->flags;
}

bool
im_nbd_client_start_tls (ImNbdClient *client, const ImNbdTls *tls, const char *hostname,
                         GError **error)
{
  short events = 0;
  client->talking = false;
  /* It is for us to begin: whatever has come by now was put there by somebody. */
  if (im_nbd_stream_has_input (&client->stream)) {
    g_set_error_literal (error, IM_ERROR, IM_ERROR_CORRUPT,
                         "the server goes on in plain text after it has agreed to TLS");
    return false;
  }
  bool ok = im_nbd_stream_start_tls (&client->stream, tls, hostname, error);
  do
    ok = ok && im_nbd_stream_shake_hands (&client->stream, &events, error);
  while (ok && events &&
         (ok = wait_for (client->stream.fd, events, client->deadline, error)));
  client->talking = ok;
  return ok;
}

bool
im_nbd_client_ask (ImNbdClient *client, uint32_t option, const GByteArray *data,
                   GError **error)
{
  uint8_t head[IM_NBD_OPTION_HEADER_SIZE];
  uint32_t length = data ? data->len : 0;
  im_put_be64 (head, IM_NBD_OPTION_MAGIC);
  im_put_be32 (head + 8, option);
  im_put_be32 (head + 12, length);
  return transmit (client, head, sizeof head, error) &&
         (length == 0 || transmit (client, data->data, length, error));
}

bool
im_nbd_client_answer (ImNbdClient *client, uint32_t option, uint32_t *ret_type,
                      GByteArray *data, GError **error)
{
  uint8_t head[IM_NBD_OPTION_REPLY_SIZE];
  if (!receive (client, head, sizeof head, error))
    return false;
  uint32_t length = im_get_be32 (head + 16);
  if (im_get_be64 (head) != IM_NBD_OPTION_REPLY_MAGIC ||
      im_get_be32 (head + 8) != option) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "the server's reply to option %" G_GUINT32_FORMAT " is none", option);
    return false;
  }
  if (length > IM_NBD_ANSWER_MAX) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "the server's reply to option %" G_GUINT32_FORMAT
                 " has %" G_GUINT32_FORMAT " bytes, more than %u",
                 option, length, IM_NBD_ANSWER_MAX);
    return false;
  }
  *ret_type = im_get_be32 (head + 12);
  g_byte_array_set_size (data, length);
  return length == 0 || receive (client, data->data, length, error);
}

bool
im_nbd_client_request (ImNbdClient *client, uint32_t option, bool *ret_granted,
                       GError **error)
{
  g_autoptr (GByteArray) data = g_byte_array_new ();
  uint32_t type;
  if (!im_nbd_client_ask (client, option, NULL, error) ||
      !im_nbd_client_answer (client, option, &type, data, error))
    return false;
  *ret_granted = type == IM_NBD_REP_ACK;
  if (*ret_granted || type & IM_NBD_REP_IS_ERROR)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "the server replies to option %" G_GUINT32_FORMAT
               " with type %" G_GUINT32_FORMAT,
               option, type);
  return false;
}
