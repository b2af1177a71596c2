/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Heads of replies, in whichever of the three forms the session uses.  Pure functions:
 * each writes at P and returns how many bytes, at most IM_NBD_HEAD_MAX. */
#pragma once

#include "nbd/nbd-request.h"

/* An error chunk: extended header, error, length of the text, text, offset. */
#define IM_NBD_ERROR_TEXT_MAX 120u
#define IM_NBD_HEAD_MAX       (IM_NBD_EXTENDED_REPLY_SIZE + 6u + IM_NBD_ERROR_TEXT_MAX + 8u)

/* Who is answered. */
typedef struct {
  ImNbdMode mode;
  uint64_t cookie;
  uint64_t offset; /* the request's; extended headers repeat it */
} ImNbdReplyTo;

static inline ImNbdReplyTo
im_nbd_reply_to (const ImNbdSession *session, const ImNbdRequest *request)
{
  return (ImNbdReplyTo){session->mode, request->cookie, request->offset};
}

/* What precedes LENGTH bytes of data from OFFSET on; DONE: nothing follows them, and
 * nothing can go wrong any more.  A simple reply has but one of these. */
size_t im_nbd_put_data (uint8_t *p, const ImNbdReplyTo *to, bool done, uint64_t offset,
                        uint32_t length);

/* LENGTH zeros from OFFSET on.  Not for simple replies. */
size_t im_nbd_put_hole (uint8_t *p, const ImNbdReplyTo *to, bool done, uint64_t offset,
                        uint32_t length);

/* What precedes N extents of the context ID.  Not for simple replies. */
size_t im_nbd_put_status (uint8_t *p, const ImNbdReplyTo *to, bool done, uint32_t id,
                          uint32_t n);

/* Success, and the end of the reply. */
size_t im_nbd_put_success (uint8_t *p, const ImNbdReplyTo *to);

/* Failure, and the end of the reply.  TEXT is cut to fit, at a whole character. */
size_t im_nbd_put_error (uint8_t *p, const ImNbdReplyTo *to, uint32_t error,
                         const char *text);

/* The same of a read that came as far as OFFSET.  Not for simple replies. */
size_t im_nbd_put_error_at (uint8_t *p, const ImNbdReplyTo *to, uint32_t error,
                            const char *text, uint64_t offset);
