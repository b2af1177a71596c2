/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client that checks what it is sent. */
#include "base/bytes.h"
#include "fixture.h"
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static void *
connection_thread (void *data)
{
  im_nbd_connection_run (data);
  im_nbd_connection_cut (data);
  return NULL;
}

Client *
client_on (int fd)
{
  Client *client = g_new0 (Client, 1);
  client->fd = fd;
  return client;
}

static Client *
client_between (ImNbdHost *host, int ours, int theirs)
{
  g_autoptr (GError) error = NULL;
  Client *client = client_on (ours);
  client->connection = im_nbd_connection_new (host, theirs, &error);
  g_assert_no_error (error);
  g_assert_cmpint (
      pthread_create (&client->thread, NULL, connection_thread, client->connection), ==,
      0);
  return client;
}

Client *
client_new_of (ImNbdHost *host)
{
  int fds[2];
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  return client_between (host, fds[0], fds[1]);
}

Client *
client_new (void)
{
  return client_new_of (fixture_host ());
}

Client *
client_new_tcp (void)
{
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl (INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int ours = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (bind (listener, (struct sockaddr *)&address, length), ==, 0);
  g_assert_cmpint (listen (listener, 1), ==, 0);
  g_assert_cmpint (getsockname (listener, (struct sockaddr *)&address, &length), ==, 0);
  g_assert_cmpint (connect (ours, (struct sockaddr *)&address, length), ==, 0);
  int theirs = accept (listener, NULL, NULL);
  close (listener);
  return client_between (fixture_host (), ours, theirs);
}

void
client_free (Client *client)
{
  if (client->fd >= 0)
    close (client->fd);
  if (client->connection) {
    pthread_join (client->thread, NULL);
    im_nbd_connection_free (client->connection);
  }
  g_free (client);
}

void
client_send (Client *client, const void *data, size_t length)
{
  g_assert_cmpint (send (client->fd, data, length, MSG_NOSIGNAL), ==, (ssize_t)length);
}

void
client_receive (Client *client, void *data, size_t length)
{
  if (length > 0)
    g_assert_cmpint (recv (client->fd, data, length, MSG_WAITALL), ==, (ssize_t)length);
}

bool
client_at_end (Client *client)
{
  char byte;
  ssize_t n = recv (client->fd, &byte, 1, 0);
  return n == 0 || (n < 0 && errno == ECONNRESET);
}

void
client_option (Client *client, uint32_t option, const void *data, uint32_t length)
{
  uint8_t head[IM_NBD_OPTION_HEADER_SIZE];
  im_put_be64 (head, IM_NBD_OPTION_MAGIC);
  im_put_be32 (head + 8, option);
  im_put_be32 (head + 12, length);
  client_send (client, head, sizeof head);
  if (length > 0)
    client_send (client, data, length);
}

/* Receives the answers to an option up to its acknowledgement. */
static void
expect_acknowledged (Client *client)
{
  uint32_t type;
  do {
    uint8_t head[IM_NBD_OPTION_REPLY_SIZE], body[4096];
    client_receive (client, head, sizeof head);
    g_assert_cmphex (im_get_be64 (head), ==, IM_NBD_OPTION_REPLY_MAGIC);
    type = im_get_be32 (head + 12);
    g_assert_cmpuint (im_get_be32 (head + 16), <=, sizeof body);
    client_receive (client, body, im_get_be32 (head + 16));
    g_assert_cmphex (type & 0x80000000u, ==, 0);
  } while (type != IM_NBD_REP_ACK);
}

static void
ask_for_context (Client *client, const char *export)
{
  static const char name[] = "base:allocation";
  g_autoptr (GByteArray) data = g_byte_array_new ();
  uint8_t number[4];
  im_put_be32 (number, (uint32_t)strlen (export));
  g_byte_array_append (data, number, 4);
  g_byte_array_append (data, (const uint8_t *)export, (guint)strlen (export));
  im_put_be32 (number, 1);
  g_byte_array_append (data, number, 4);
  im_put_be32 (number, sizeof name - 1);
  g_byte_array_append (data, number, 4);
  g_byte_array_append (data, (const uint8_t *)name, sizeof name - 1);
  client_option (client, IM_NBD_OPT_SET_META_CONTEXT, data->data, data->len);
  expect_acknowledged (client);
}

void
client_go (Client *client, ImNbdMode mode, const char *export, bool context)
{
  uint8_t greeting[IM_NBD_GREETING_SIZE], flags[4] = {0, 0, 0, 3};
  client_receive (client, greeting, sizeof greeting);
  client_send (client, flags, sizeof flags);
  client->mode = mode;
  if (mode != IM_NBD_MODE_SIMPLE) {
    client_option (client,
                   mode == IM_NBD_MODE_STRUCTURED ? IM_NBD_OPT_STRUCTURED_REPLY
                                                  : IM_NBD_OPT_EXTENDED_HEADERS,
                   NULL, 0);
    expect_acknowledged (client);
  }
  if (context)
    ask_for_context (client, export);
  size_t n = strlen (export);
  g_autofree uint8_t *data = g_malloc0 (6 + n);
  im_put_be32 (data, (uint32_t)n);
  memcpy (data + 4, export, n);
  client_option (client, IM_NBD_OPT_GO, data, (uint32_t)(6 + n));
  expect_acknowledged (client);
}

void
client_request (Client *client, uint16_t type, uint16_t flags, uint64_t offset,
                uint64_t length)
{
  uint8_t head[IM_NBD_EXTENDED_REQUEST_SIZE];
  bool extended = client->mode == IM_NBD_MODE_EXTENDED;
  im_put_be32 (head, extended ? IM_NBD_EXTENDED_REQUEST_MAGIC : IM_NBD_REQUEST_MAGIC);
  im_put_be16 (head + 4, flags);
  im_put_be16 (head + 6, type);
  im_put_be64 (head + 8, ++client->cookie);
  im_put_be64 (head + 16, offset);
  if (extended)
    im_put_be64 (head + 24, length);
  else
    im_put_be32 (head + 24, (uint32_t)length);
  client_send (client, head, im_nbd_request_size (client->mode));
}

Chunk
client_chunk (Client *client)
{
  uint8_t head[IM_NBD_EXTENDED_REPLY_SIZE];
  bool extended = client->mode == IM_NBD_MODE_EXTENDED;
  client_receive (client, head,
                  extended ? IM_NBD_EXTENDED_REPLY_SIZE : IM_NBD_STRUCTURED_REPLY_SIZE);
  g_assert_cmphex (im_get_be32 (head), ==,
                   extended ? IM_NBD_EXTENDED_REPLY_MAGIC
                            : IM_NBD_STRUCTURED_REPLY_MAGIC);
  return (Chunk){.done = im_get_be16 (head + 4) == IM_NBD_REPLY_FLAG_DONE,
                 .type = im_get_be16 (head + 6),
                 .cookie = im_get_be64 (head + 8),
                 .length = extended ? im_get_be64 (head + 24) : im_get_be32 (head + 16)};
}

/* The error of a simple reply. */
static uint32_t
simple_reply (Client *client, uint64_t cookie)
{
  uint8_t head[IM_NBD_SIMPLE_REPLY_SIZE];
  client_receive (client, head, sizeof head);
  g_assert_cmphex (im_get_be32 (head), ==, IM_NBD_SIMPLE_REPLY_MAGIC);
  g_assert_cmpuint (im_get_be64 (head + 8), ==, cookie);
  return im_get_be32 (head + 4);
}

/* The error of an error chunk, whose text must be there.  One that says where the error
 * is says WHERE. */
static uint32_t
error_chunk (Client *client, const Chunk *chunk, uint64_t where)
{
  uint8_t body[IM_NBD_HEAD_MAX];
  bool located = chunk->type == IM_NBD_REPLY_ERROR_OFFSET;
  uint32_t fixed = located ? 14 : 6;
  g_assert_true (located || chunk->type == IM_NBD_REPLY_ERROR);
  g_assert_true (chunk->done);
  g_assert_cmpuint (chunk->length, >, fixed);
  g_assert_cmpuint (chunk->length, <=, sizeof body);
  client_receive (client, body, chunk->length);
  g_assert_cmpuint (im_get_be16 (body + 4), ==, chunk->length - fixed);
  if (located)
    g_assert_cmpuint (im_get_be64 (body + chunk->length - 8), ==, where);
  return im_get_be32 (body);
}

/* Takes one content chunk of a READ; *covered counts its bytes. */
static void
content_chunk (Client *client, const Chunk *chunk, uint64_t offset, uint64_t length,
               uint8_t *seen, uint64_t *covered)
{
  uint8_t head[12];
  bool hole = chunk->type == IM_NBD_REPLY_OFFSET_HOLE;
  g_assert_true (hole || chunk->type == IM_NBD_REPLY_OFFSET_DATA);
  client_receive (client, head, hole ? 12 : 8);
  uint64_t at = im_get_be64 (head), n = hole ? im_get_be32 (head + 8) : chunk->length - 8;
  g_assert_cmpuint (n, >, 0);
  g_assert_true (at >= offset && im_range_fits (at - offset, n, length));
  g_autofree uint8_t *data = g_malloc0 (n);
  if (!hole)
    client_receive (client, data, n);
  g_assert_true (memcmp (data, fixture_bytes (at), n) == 0);
  g_assert_null (memchr (seen + (at - offset), 1, n));
  memset (seen + (at - offset), 1, n);
  *covered += n;
}

uint32_t
client_read_reply (Client *client, uint64_t cookie, uint64_t offset, uint64_t length)
{
  if (client->mode == IM_NBD_MODE_SIMPLE) {
    uint32_t code = simple_reply (client, cookie);
    if (code)
      return code;
    g_autofree uint8_t *data = g_malloc (length + 1);
    client_receive (client, data, length);
    g_assert_true (memcmp (data, fixture_bytes (offset), length) == 0);
    return 0;
  }
  g_autofree uint8_t *seen = g_malloc0 (length + 1);
  uint64_t covered = 0;
  for (;;) {
    Chunk chunk = client_chunk (client);
    g_assert_cmpuint (chunk.cookie, ==, cookie);
    if (chunk.type & 0x8000)
      return error_chunk (client, &chunk, offset + covered);
    if (chunk.type != IM_NBD_REPLY_NONE)
      content_chunk (client, &chunk, offset, length, seen, &covered);
    if (chunk.done)
      break;
  }
  g_assert_cmpuint (covered, ==, length);
  return 0;
}

uint32_t
client_read (Client *client, uint16_t flags, uint64_t offset, uint64_t length)
{
  client_request (client, IM_NBD_CMD_READ, flags, offset, length);
  return client_read_reply (client, client->cookie, offset, length);
}

uint32_t
client_reply (Client *client)
{
  if (client->mode == IM_NBD_MODE_SIMPLE)
    return simple_reply (client, client->cookie);
  Chunk chunk = client_chunk (client);
  g_assert_cmpuint (chunk.cookie, ==, client->cookie);
  if (chunk.type != IM_NBD_REPLY_NONE)
    return error_chunk (client, &chunk, UINT64_MAX);
  g_assert_true (chunk.done);
  return 0;
}

uint32_t
client_command (Client *client, uint16_t type, uint16_t flags, uint64_t offset,
                uint64_t length)
{
  client_request (client, type, flags, offset, length);
  return client_reply (client);
}

void
client_send_write (Client *client, uint16_t flags, uint64_t offset, const void *data,
                   uint64_t length)
{
  if (client->mode == IM_NBD_MODE_EXTENDED)
    flags |= IM_NBD_CMD_FLAG_PAYLOAD_LEN;
  client_request (client, IM_NBD_CMD_WRITE, flags, offset, length);
  if (length > 0)
    client_send (client, data, length);
}

uint32_t
client_write (Client *client, uint16_t flags, uint64_t offset, const void *data,
              uint64_t length)
{
  client_send_write (client, flags, offset, data, length);
  return client_reply (client);
}
