/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encoding the heads of replies. */
#include "nbd/nbd-reply.h"
#include "base/bytes.h"
#include <glib.h>

static size_t
put_simple (uint8_t *p, uint64_t cookie, uint32_t error)
{
  im_put_be32 (p, IM_NBD_SIMPLE_REPLY_MAGIC);
  im_put_be32 (p + 4, error);
  im_put_be64 (p + 8, cookie);
  return IM_NBD_SIMPLE_REPLY_SIZE;
}

static size_t
put_chunk (uint8_t *p, const ImNbdReplyTo *to, bool done, uint16_t type, uint32_t length)
{
  bool extended = to->mode == IM_NBD_MODE_EXTENDED;
  im_put_be32 (p, extended ? IM_NBD_EXTENDED_REPLY_MAGIC : IM_NBD_STRUCTURED_REPLY_MAGIC);
  im_put_be16 (p + 4, done ? IM_NBD_REPLY_FLAG_DONE : 0);
  im_put_be16 (p + 6, type);
  im_put_be64 (p + 8, to->cookie);
  if (!extended) {
    im_put_be32 (p + 16, length);
    return IM_NBD_STRUCTURED_REPLY_SIZE;
  }
  im_put_be64 (p + 16, to->offset);
  im_put_be64 (p + 24, length);
  return IM_NBD_EXTENDED_REPLY_SIZE;
}

size_t
im_nbd_put_data (uint8_t *p, const ImNbdReplyTo *to, bool done, uint64_t offset,
                 uint32_t length)
{
  if (to->mode == IM_NBD_MODE_SIMPLE)
    return put_simple (p, to->cookie, 0);
  size_t n = put_chunk (p, to, done, IM_NBD_REPLY_OFFSET_DATA, 8 + length);
  im_put_be64 (p + n, offset);
  return n + 8;
}

size_t
im_nbd_put_hole (uint8_t *p, const ImNbdReplyTo *to, bool done, uint64_t offset,
                 uint32_t length)
{
  size_t n = put_chunk (p, to, done, IM_NBD_REPLY_OFFSET_HOLE, 12);
  im_put_be64 (p + n, offset);
  im_put_be32 (p + n + 8, length);
  return n + 12;
}

size_t
im_nbd_put_status (uint8_t *p, const ImNbdReplyTo *to, bool done, uint32_t id, uint32_t n)
{
  if (to->mode == IM_NBD_MODE_EXTENDED) {
    size_t head = put_chunk (p, to, done, IM_NBD_REPLY_BLOCK_STATUS_EXT, 8 + 16 * n);
    im_put_be32 (p + head, id);
    im_put_be32 (p + head + 4, n);
    return head + 8;
  }
  size_t head = put_chunk (p, to, done, IM_NBD_REPLY_BLOCK_STATUS, 4 + 8 * n);
  im_put_be32 (p + head, id);
  return head + 4;
}

size_t
im_nbd_put_success (uint8_t *p, const ImNbdReplyTo *to)
{
  if (to->mode == IM_NBD_MODE_SIMPLE)
    return put_simple (p, to->cookie, 0);
  return put_chunk (p, to, true, IM_NBD_REPLY_NONE, 0);
}

/* How many bytes of TEXT fit without cutting a character in two. */
static size_t
text_fitting (const char *text, size_t max)
{
  size_t n = strlen (text);
  if (n <= max)
    return n;
  return (size_t)(g_utf8_find_prev_char (text, text + max + 1) - text);
}

/* An error chunk of TYPE, in which EXTRA bytes follow the text. */
static size_t
put_error_chunk (uint8_t *p, const ImNbdReplyTo *to, uint16_t type, uint32_t error,
                 const char *text, uint32_t extra)
{
  size_t n =
      g_utf8_validate (text, -1, NULL) ? text_fitting (text, IM_NBD_ERROR_TEXT_MAX) : 0;
  size_t head = put_chunk (p, to, true, type, (uint32_t)(6 + n) + extra);
  im_put_be32 (p + head, error);
  im_put_be16 (p + head + 4, (uint16_t)n);
  memcpy (p + head + 6, text, n);
  return head + 6 + n;
}

size_t
im_nbd_put_error (uint8_t *p, const ImNbdReplyTo *to, uint32_t error, const char *text)
{
  return to->mode == IM_NBD_MODE_SIMPLE
             ? put_simple (p, to->cookie, error)
             : put_error_chunk (p, to, IM_NBD_REPLY_ERROR, error, text, 0);
}

size_t
im_nbd_put_error_at (uint8_t *p, const ImNbdReplyTo *to, uint32_t error, const char *text,
                     uint64_t offset)
{
  size_t n = put_error_chunk (p, to, IM_NBD_REPLY_ERROR_OFFSET, error, text, 8);
  im_put_be64 (p + n, offset);
  return n + 8;
}
