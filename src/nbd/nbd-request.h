/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client's request: from bytes to a struct, and every check of it.  Pure functions. */
#pragma once

#include "nbd/nbd-proto.h"
#include <stdbool.h>
#include <stddef.h>

/* What headers both sides use, in growing order of what they can say. */
typedef enum {
  IM_NBD_MODE_SIMPLE,
  IM_NBD_MODE_STRUCTURED,
  IM_NBD_MODE_EXTENDED, /* 64-bit lengths */
} ImNbdMode;

/* What the handshake agreed on, as far as it bears on requests. */
typedef struct {
  uint64_t size;  /* of the export */
  uint16_t flags; /* the transmission flags that the client was told */
  ImNbdMode mode;
  uint32_t contexts; /* the metadata contexts selected: bit n is id n */
} ImNbdSession;

typedef struct {
  uint16_t flags;
  uint16_t type;
  uint64_t cookie;
  uint64_t offset;
  uint64_t length;   /* bytes of the export that are meant */
  uint64_t payload;  /* bytes that follow the header */
  uint32_t contexts; /* BLOCK_STATUS: those to answer for */
} ImNbdRequest;

/* What to answer: error 0 stands for "do it". */
typedef struct {
  uint32_t error;
  const char *reason; /* static text */
} ImNbdVerdict;

/* A payload longer than this is not worth reading only to throw it away. */
#define IM_NBD_DRAIN_MAX (64u << 20)

static inline size_t
im_nbd_request_size (ImNbdMode mode)
{
  return mode == IM_NBD_MODE_EXTENDED ? IM_NBD_EXTENDED_REQUEST_SIZE
                                      : IM_NBD_REQUEST_SIZE;
}

/* Decodes the im_nbd_request_size bytes at P.  False: the magic is wrong, and where the
 * next request begins is anybody's guess. */
bool im_nbd_request_decode (const uint8_t *p, const ImNbdSession *session,
                            ImNbdRequest *ret_request);

/* A BLOCK_STATUS whose payload names contexts: its length and contexts lie in there. */
static inline bool
im_nbd_request_has_filter (const ImNbdRequest *request, const ImNbdSession *session)
{
  return request->type == IM_NBD_CMD_BLOCK_STATUS &&
         (request->flags & IM_NBD_CMD_FLAG_PAYLOAD_LEN) != 0 &&
         (session->flags & IM_NBD_FLAG_BLOCK_STATUS_PAYLOAD) != 0;
}

/* The longest such payload: eight bytes and each id once. */
#define IM_NBD_FILTER_MAX (8u + 4u * 32u)

/* Takes length and contexts from the request's payload at P, all request->payload bytes
 * of it; to be called before the check. */
ImNbdVerdict im_nbd_request_take_filter (ImNbdRequest *request,
                                         const ImNbdSession *session, const uint8_t *p);

/* Everything that can be wrong with a request. */
ImNbdVerdict im_nbd_request_check (const ImNbdRequest *request,
                                   const ImNbdSession *session);

/* One of the errors that the protocol knows, for ERRNUM. */
uint32_t im_nbd_error_from_errno (int errnum);
