/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client's socket, plain or encrypted. */
#include "nbd/nbd-stream.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a unix socket may hold; the kernel cuts it to its own limit.  With the default of
 * 208 KiB a reply of 1 MiB takes five rounds. */
#define SEND_BUFFER (1 << 20)

void
im_nbd_stream_init (ImNbdStream *stream, int fd)
{
  int domain = AF_UNSPEC, one = 1, size = SEND_BUFFER;
  socklen_t length = sizeof domain;
  getsockopt (fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
  *stream = (ImNbdStream){.fd = fd, .can_send_files = true};
  if (domain == AF_UNIX) {
    if (setsockopt (fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0)
      setsockopt (fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  } else {
    setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  }
}

void
im_nbd_stream_close (ImNbdStream *stream)
{
  im_nbd_tls_session_free (stream->tls);
  stream->tls = NULL;
  close (stream->fd);
  stream->fd = -1;
}

bool
im_nbd_stream_start_tls (ImNbdStream *stream, const ImNbdTls *tls, const char *hostname,
                         GError **error)
{
  stream->can_send_files = false;
  stream->tls = im_nbd_tls_session_new (tls, stream->fd, hostname, error);
  return stream->tls;
}

bool
im_nbd_stream_shake_hands (ImNbdStream *stream, short *ret_events, GError **error)
{
  return im_nbd_tls_session_shake_hands (stream->tls, ret_events, error);
}

bool
im_nbd_stream_has_input (const ImNbdStream *stream)
{
  uint8_t byte;
  return recv (stream->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

const char *
im_nbd_stream_alert (const ImNbdStream *stream)
{
  return stream->tls ? im_nbd_tls_session_alert (stream->tls) : NULL;
}

static ssize_t
receive_encrypted (ImNbdStream *stream, void *buf, size_t length, bool wait)
{
  ssize_t n = im_nbd_tls_session_receive (stream->tls, buf, length);
  if (n >= 0 || errno != EAGAIN || !wait)
    return n;
  struct pollfd pollfd = {.fd = stream->fd, .events = POLLIN};
  poll (&pollfd, 1, -1);
  return im_nbd_tls_session_receive (stream->tls, buf, length);
}

ssize_t
im_nbd_stream_receive (ImNbdStream *stream, void *buf, size_t length, bool wait)
{
  ssize_t n;
  if (stream->tls)
    return receive_encrypted (stream, buf, length, wait);
  do
    n = recv (stream->fd, buf, length, wait ? 0 : MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  return n;
}

ssize_t
im_nbd_stream_send (ImNbdStream *stream, struct iovec *iov, size_t n, bool more)
{
  struct msghdr message = {.msg_iov = iov, .msg_iovlen = n};
  ssize_t sent;
  if (stream->tls)
    return im_nbd_tls_session_send (stream->tls, iov, n);
  do
    sent = sendmsg (stream->fd, &message,
                    MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0));
  while (sent < 0 && errno == EINTR);
  return sent;
}

ssize_t
im_nbd_stream_send_file (ImNbdStream *stream, int file_fd, uint64_t at, size_t length)
{
  /* sendfile has no flag of its own for this. */
  int flags = fcntl (stream->fd, F_GETFL);
  if (flags >= 0 && !(flags & O_NONBLOCK))
    fcntl (stream->fd, F_SETFL, flags | O_NONBLOCK);
  off_t offset = (off_t)at;
  ssize_t sent;
  do
    sent = sendfile (stream->fd, file_fd, &offset, length);
  while (sent < 0 && errno == EINTR);
  return sent;
}

void
im_nbd_stream_finish (ImNbdStream *stream)
{
  if (stream->tls)
    im_nbd_tls_session_finish (stream->tls);
}

void
im_nbd_stream_stop_receiving (ImNbdStream *stream)
{
  shutdown (stream->fd, SHUT_RD);
}

void
im_nbd_stream_cut (ImNbdStream *stream)
{
  atomic_store_explicit (&stream->cut, true, memory_order_relaxed);
  shutdown (stream->fd, SHUT_RDWR);
}

bool
im_nbd_stream_is_cut (const ImNbdStream *stream)
{
  return atomic_load_explicit (&stream->cut, memory_order_relaxed);
}
