/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzes whole sessions: well-formed options and requests, right ones and wrong ones,
 * that the fuzzer's bytes choose (nbd-script.h); and holds every byte of the answers
 * against the protocol.  What must be answered is, once; nothing else comes; nothing is
 * cut. */
#include "base/bytes.h"
#include "nbd-host.h"
#include "nbd-script.h"
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* What was received for one request. */
typedef struct {
  bool done, failed;
  unsigned data_chunks;
  uint64_t bytes;    /* of the read */
  uint32_t contexts; /* of block status, as bits */
} Answer;

typedef struct {
  int fd;
  const Script *script;
  Answer *answers;
} Client;

/* False: the end.  It may only come between two messages, so not if WITHIN one. */
static bool
receive (const Client *client, void *buf, size_t length, bool within)
{
  ssize_t n = recv (client->fd, buf, length, MSG_WAITALL);
  g_assert_true (n == (ssize_t)length || (n == 0 && !within));
  return n > 0 || length == 0;
}

static void
skip (const Client *client, uint64_t length)
{
  static uint8_t nowhere[65536];
  for (uint64_t n; length > 0; length -= n) {
    n = MIN (length, sizeof nowhere);
    receive (client, nowhere, (size_t)n, true);
  }
}

/* False: the server hung up in its place. */
static bool
check_option (const Client *client, uint32_t number)
{
  const Script *script = client->script;
  uint8_t head[IM_NBD_OPTION_REPLY_SIZE];
  if (number == IM_NBD_OPT_EXPORT_NAME) {
    if (script->transmits)
      skip (client, 10u + (script->no_zeroes ? 0 : IM_NBD_EXPORT_NAME_ZEROES));
    return script->transmits;
  }
  for (;;) {
    receive (client, head, sizeof head, true);
    g_assert_cmpuint (im_get_be64 (head), ==, IM_NBD_OPTION_REPLY_MAGIC);
    g_assert_cmpuint (im_get_be32 (head + 8), ==, number);
    g_assert_cmpuint (im_get_be32 (head + 16), <=, 2 * IM_NBD_STRING_MAX + 4);
    skip (client, im_get_be32 (head + 16));
    uint32_t type = im_get_be32 (head + 12);
    if (type == IM_NBD_REP_ACK || type & IM_NBD_REP_IS_ERROR)
      return number != IM_NBD_OPT_ABORT;
  }
}

static const ImNbdRequest *
find_request (const Client *client, uint64_t cookie)
{
  const GArray *requests = client->script->requests;
  g_assert_cmpuint (cookie, <, requests->len);
  g_assert_false (client->answers[cookie].done);
  return &g_array_index (requests, ImNbdRequest, cookie);
}

static void
check_error (uint32_t error)
{
  static const uint32_t known[] = {IM_NBD_EPERM,   IM_NBD_EIO,      IM_NBD_ENOMEM,
                                   IM_NBD_EINVAL,  IM_NBD_ENOSPC,   IM_NBD_EOVERFLOW,
                                   IM_NBD_ENOTSUP, IM_NBD_ESHUTDOWN};
  for (size_t i = 0; i < G_N_ELEMENTS (known); i++)
    if (known[i] == error)
      return;
  g_assert_not_reached ();
}

/* One simple reply.  False: the end. */
static bool
check_simple (Client *client)
{
  uint8_t head[IM_NBD_SIMPLE_REPLY_SIZE];
  if (!receive (client, head, sizeof head, false))
    return false;
  g_assert_cmpuint (im_get_be32 (head), ==, IM_NBD_SIMPLE_REPLY_MAGIC);
  uint64_t cookie = im_get_be64 (head + 8);
  const ImNbdRequest *request = find_request (client, cookie);
  uint32_t error = im_get_be32 (head + 4);
  if (error)
    check_error (error);
  else if (request->type == IM_NBD_CMD_READ)
    skip (client, request->length);
  client->answers[cookie].done = true;
  return true;
}

/* The LENGTH bytes of a chunk of data, or of a hole. */
static void
check_content (Client *client, const ImNbdRequest *request, Answer *answer, uint16_t type,
               uint64_t length)
{
  uint8_t raw[12];
  bool hole = type == IM_NBD_REPLY_OFFSET_HOLE;
  size_t head = hole ? 12 : 8;
  g_assert_cmpuint (request->type, ==, IM_NBD_CMD_READ);
  g_assert_true (hole ? length == head : length > head);
  receive (client, raw, head, true);
  uint64_t offset = im_get_be64 (raw), n = hole ? im_get_be32 (raw + 8) : length - head;
  g_assert_cmpuint (offset, >=, request->offset);
  g_assert_true (n > 0 && offset - request->offset <= request->length &&
                 n <= request->length - (offset - request->offset));
  answer->bytes += n;
  answer->data_chunks++;
  skip (client, hole ? 0 : n);
}

/* The LENGTH bytes of a chunk of extents. */
static void
check_status (Client *client, const ImNbdRequest *request, Answer *answer, bool extended,
              uint64_t length)
{
  uint8_t raw[16];
  size_t head = extended ? 8 : 4, each = extended ? 16 : 8;
  uint64_t sum = 0, count = (length - head) / each;
  g_assert_cmpuint (request->type, ==, IM_NBD_CMD_BLOCK_STATUS);
  g_assert_true (length >= head + each && (length - head) % each == 0);
  receive (client, raw, head, true);
  uint32_t id = im_get_be32 (raw);
  g_assert_true (id < 32 && !(answer->contexts & 1u << id));
  answer->contexts |= 1u << id;
  g_assert_true (!extended || im_get_be32 (raw + 4) == count);
  g_assert_true (!(request->flags & IM_NBD_CMD_FLAG_REQ_ONE) || count == 1);
  for (uint64_t i = 0; i < count; i++) {
    receive (client, raw, each, true);
    uint64_t n = extended ? im_get_be64 (raw) : im_get_be32 (raw);
    g_assert_cmpuint (n, >, 0);
    sum += n;
  }
  g_assert_cmpuint (sum, <=, FUZZ_DISK_SIZE);
}

/* Of a chunk of TYPE: an error, a text, and for some the place. */
static void
check_failure (Client *client, const ImNbdRequest *request, Answer *answer, uint16_t type,
               uint64_t length)
{
  uint8_t raw[8];
  bool located = type == IM_NBD_REPLY_ERROR_OFFSET;
  uint64_t fixed = located ? 6 + 8 : 6;
  g_assert_cmpuint (length, >=, fixed);
  receive (client, raw, 6, true);
  check_error (im_get_be32 (raw));
  g_assert_cmpuint (im_get_be16 (raw + 4), ==, length - fixed);
  skip (client, length - fixed);
  answer->failed = true;
  if (!located)
    return;
  receive (client, raw, 8, true);
  g_assert_cmpuint (request->type, ==, IM_NBD_CMD_READ);
  g_assert_cmpuint (im_get_be64 (raw), ==, request->offset + answer->bytes);
}

static void
check_whole (const ImNbdRequest *request, const Answer *answer)
{
  if (answer->failed)
    return;
  if (request->type == IM_NBD_CMD_READ)
    g_assert_cmpuint (answer->bytes, ==, request->length);
  if (request->type == IM_NBD_CMD_READ && request->flags & IM_NBD_CMD_FLAG_DF)
    g_assert_cmpuint (answer->data_chunks, <=, 1);
  if (request->type == IM_NBD_CMD_BLOCK_STATUS)
    g_assert_cmpuint (answer->contexts, !=, 0);
}

/* One chunk.  False: the end. */
static bool
check_chunk (Client *client)
{
  bool extended = client->script->mode == IM_NBD_MODE_EXTENDED;
  uint8_t head[IM_NBD_EXTENDED_REPLY_SIZE];
  if (!receive (client, head,
                extended ? IM_NBD_EXTENDED_REPLY_SIZE : IM_NBD_STRUCTURED_REPLY_SIZE,
                false))
    return false;
  g_assert_cmpuint (im_get_be32 (head), ==,
                    extended ? IM_NBD_EXTENDED_REPLY_MAGIC
                             : IM_NBD_STRUCTURED_REPLY_MAGIC);
  uint16_t flags = im_get_be16 (head + 4), type = im_get_be16 (head + 6);
  uint64_t length = extended ? im_get_be64 (head + 24) : im_get_be32 (head + 16);
  uint64_t cookie = im_get_be64 (head + 8);
  const ImNbdRequest *request = find_request (client, cookie);
  Answer *answer = &client->answers[cookie];
  g_assert_true (!extended || im_get_be64 (head + 16) == request->offset);
  g_assert_cmpuint (flags & ~IM_NBD_REPLY_FLAG_DONE, ==, 0);
  if (type == IM_NBD_REPLY_OFFSET_DATA || type == IM_NBD_REPLY_OFFSET_HOLE)
    check_content (client, request, answer, type, length);
  else if (type == IM_NBD_REPLY_BLOCK_STATUS || type == IM_NBD_REPLY_BLOCK_STATUS_EXT)
    check_status (client, request, answer, extended, length);
  else if (type == IM_NBD_REPLY_ERROR || type == IM_NBD_REPLY_ERROR_OFFSET)
    check_failure (client, request, answer, type, length);
  else
    g_assert_true (type == IM_NBD_REPLY_NONE && length == 0 &&
                   flags & IM_NBD_REPLY_FLAG_DONE);
  answer->done = flags & IM_NBD_REPLY_FLAG_DONE;
  if (answer->done)
    check_whole (request, answer);
  return true;
}

/* Receives all that comes. */
static void *
check_all (void *data)
{
  Client *client = data;
  const Script *script = client->script;
  uint8_t byte;
  skip (client, IM_NBD_GREETING_SIZE);
  for (guint i = 0; i < script->options->len; i++)
    if (!check_option (client, g_array_index (script->options, uint32_t, i)))
      break;
  if (!script->transmits)
    g_assert_false (receive (client, &byte, 1, false));
  else
    while (script->mode == IM_NBD_MODE_SIMPLE ? check_simple (client)
                                              : check_chunk (client))
      continue;
  for (guint i = 0; i < script->requests->len; i++)
    g_assert_true (client->answers[i].done);
  return NULL;
}

static void *
say_all (void *data)
{
  const Client *client = data;
  const GByteArray *bytes = client->script->bytes;
  /* The server may have left by the end. */
  for (guint at = 0; at < bytes->len;) {
    ssize_t n = send (client->fd, bytes->data + at, bytes->len - at, MSG_NOSIGNAL);
    if (n < 0)
      break;
    at += (guint)n;
  }
  shutdown (client->fd, SHUT_WR);
  return NULL;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  ImNbdHost *host = fuzz_host ();
  int fds[2];
  pthread_t threads[2];
  if (socketpair (AF_UNIX, SOCK_STREAM, 0, fds) != 0)
    return 0;
  g_autoptr (Script) script = script_new (data, size);
  g_autofree Answer *answers = g_new0 (Answer, script->requests->len);
  Client client = {fds[0], script, answers};
  g_autoptr (ImNbdConnection) connection = im_nbd_connection_new (host, fds[1], NULL);
  pthread_create (&threads[0], NULL, say_all, &client);
  pthread_create (&threads[1], NULL, check_all, &client);
  im_nbd_connection_run (connection);
  im_nbd_connection_cut (connection);
  for (int i = 0; i < 2; i++)
    pthread_join (threads[i], NULL);
  close (fds[0]);
  g_assert_cmpuint (atomic_load (&host->budget.in_flight), ==, 0);
  return 0;
}
