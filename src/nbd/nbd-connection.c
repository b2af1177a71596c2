/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One client: the handshake over its socket, then the transmission. */
#include "nbd/nbd-connection.h"
#include "base/error.h"
#include "base/log.h"
#include "nbd/nbd-handshake.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct ImNbdConnection {
  ImNbdHost *host;
  ImNbdInput input;
  int wake_fd;
  atomic_bool stopping;
  const ImNbdExport *export; /* NULL: the handshake tells, and the session */
  ImNbdSession session;
  gint64 deadline; /* of the handshake, in monotonic microseconds; 0: none */
};

/* For replies on their way and one payload that comes, of a client that may not wait. */
#define SPARE_BUFFERS 2

G_STATIC_ASSERT (IM_NBD_INPUT_SIZE >= IM_NBD_OPTION_HEADER_SIZE + IM_NBD_OPTION_MAX);

ImNbdConnection *
im_nbd_connection_new (ImNbdHost *host, int fd, GError **error)
{
  int wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    im_set_errno (error, errno, "eventfd");
    close (fd);
    return NULL;
  }
  ImNbdConnection *connection = g_new0 (ImNbdConnection, 1);
  connection->host = host;
  connection->wake_fd = wake_fd;
  connection->input.data = g_malloc (IM_NBD_INPUT_SIZE);
  im_nbd_stream_init (&connection->input.stream, fd);
  return connection;
}

ImNbdConnection *
im_nbd_connection_new_ready (ImNbdHost *host, int fd, const ImNbdExport *export,
                             const ImNbdSession *session, GError **error)
{
  ImNbdConnection *connection = im_nbd_connection_new (host, fd, error);
  if (!connection)
    return NULL;
  connection->export = export;
  connection->session = *session;
  /* A plain reply cannot take its success back: a bad sector in what is being sent from a
   * file would cost the kernel its connection. */
  connection->input.stream.can_send_files = false;
  for (int i = 0; i < SPARE_BUFFERS; i++) {
    ImNbdBuffer *buffer = im_nbd_buffer_new (IM_NBD_PIECE);
    if (!buffer)
      break; /* a client that waits for memory is better than none */
    memset (buffer->data, 0, IM_NBD_PIECE); /* and so it is there */
    buffer->next = connection->input.spare;
    connection->input.spare = buffer;
  }
  return connection;
}

void
im_nbd_connection_free (ImNbdConnection *connection)
{
  if (!connection)
    return;
  while (connection->input.spare) {
    ImNbdBuffer *buffer = connection->input.spare;
    connection->input.spare = buffer->next;
    im_nbd_buffer_free (buffer);
  }
  im_nbd_stream_close (&connection->input.stream);
  close (connection->wake_fd);
  g_free (connection->input.data);
  g_free (connection);
}

/* Waits for EVENTS on the socket.  False: the time for the handshake is up. */
static bool
wait_for (ImNbdConnection *connection, short events)
{
  struct pollfd pollfd = {.fd = connection->input.stream.fd, .events = events};
  for (;;) {
    int timeout = -1;
    if (connection->deadline) {
      gint64 left = connection->deadline - g_get_monotonic_time ();
      if (left <= 0)
        return false;
      timeout = (int)MIN ((left + 999) / 1000, G_MAXINT);
    }
    int n = poll (&pollfd, 1, timeout);
    if (n > 0)
      return true;
    if (n < 0 && errno != EINTR)
      return false;
  }
}

/* Receives something into the input.  False: no more will come. */
static bool
receive (ImNbdConnection *connection)
{
  ImNbdInput *input = &connection->input;
  memmove (input->data, input->data + input->start, input->end - input->start);
  input->end -= input->start;
  input->start = 0;
  ssize_t n;
  do
    n = im_nbd_stream_receive (&input->stream, input->data + input->end,
                               IM_NBD_INPUT_SIZE - input->end, false);
  while (n < 0 && errno == EAGAIN && wait_for (connection, POLLIN));
  input->end += n > 0 ? (size_t)n : 0;
  return n > 0;
}

/* Sends all of OUT, and empties it. */
static bool
send_all (ImNbdConnection *connection, GByteArray *out)
{
  size_t sent = 0;
  while (sent < out->len) {
    struct iovec iov = {out->data + sent, out->len - sent};
    ssize_t n = im_nbd_stream_send (&connection->input.stream, &iov, 1, false);
    if (n >= 0)
      sent += (size_t)n;
    else if (errno != EAGAIN || !wait_for (connection, POLLOUT))
      return false;
  }
  g_byte_array_set_size (out, 0);
  return true;
}

/* Encrypts from here on. */
static bool
start_tls (ImNbdConnection *connection)
{
  ImNbdInput *input = &connection->input;
  g_autoptr (GError) error = NULL;
  short events = 0;
  /* Somebody on the way may have put it there, to be taken for the client's later. */
  if (input->start != input->end) {
    im_log_verbose (1, "nbd: client dropped: plain text after its request for TLS");
    return false;
  }
  bool ok = im_nbd_stream_start_tls (&input->stream, connection->host->tls, NULL, &error);
  do
    ok = ok && im_nbd_stream_shake_hands (&input->stream, &events, &error);
  while (ok && events && (ok = wait_for (connection, events)));
  if (error)
    im_log_verbose (1, "nbd: client dropped: %s", error->message);
  return ok;
}

/* True: an export was chosen. */
static bool
shake_hands (ImNbdConnection *connection, ImNbdHandshake *handshake)
{
  ImNbdInput *input = &connection->input;
  g_autoptr (GByteArray) out = g_byte_array_new ();
  im_nbd_handshake_init (handshake, connection->host->exports, out);
  handshake->tls_required = connection->host->tls;
  if (!send_all (connection, out))
    return false;
  for (;;) {
    size_t used;
    ImNbdStep step = im_nbd_handshake_step (handshake, input->data + input->start,
                                            input->end - input->start, &used, out);
    input->start += used;
    if (step == IM_NBD_STEP_GO && !connection->host->take_place (connection->host))
      return false;
    if (!send_all (connection, out) || step == IM_NBD_STEP_CLOSE)
      return false;
    if (step == IM_NBD_STEP_GO)
      return true;
    if (step == IM_NBD_STEP_TLS && !start_tls (connection))
      return false;
    if (step == IM_NBD_STEP_MORE && !receive (connection))
      return false;
  }
}

/* The handshake, with all that it settles.  False: the client will not be served. */
static bool
begin (ImNbdConnection *connection)
{
  ImNbdHandshake handshake;
  unsigned limit = connection->host->handshake_limit;
  if (limit > 0)
    connection->deadline = g_get_monotonic_time () + (gint64)limit * G_USEC_PER_SEC;
  if (!shake_hands (connection, &handshake))
    return false;
  connection->export = handshake.chosen;
  connection->session = handshake.session;
  return true;
}

void
im_nbd_connection_run (ImNbdConnection *connection)
{
  if (!connection->export && !begin (connection)) {
    im_nbd_stream_finish (&connection->input.stream);
    im_log_verbose (2, "nbd: a client left during the handshake");
    return;
  }
  const char *name = connection->export->name;
  im_log_verbose (1, "nbd: client on \"%s\"", name);
  im_nbd_transmit (connection->host, &connection->input, connection->export,
                   &connection->session, &connection->stopping, connection->wake_fd);
  im_nbd_stream_finish (&connection->input.stream);
  im_log_verbose (1, "nbd: client left \"%s\"", name);
}

void
im_nbd_connection_stop (ImNbdConnection *connection)
{
  atomic_store (&connection->stopping, true);
  im_nbd_stream_stop_receiving (&connection->input.stream);
}

void
im_nbd_connection_cut (ImNbdConnection *connection)
{
  im_nbd_stream_cut (&connection->input.stream);
}
