/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Metadata contexts: what block status can tell of an extent. */
#pragma once

#include "block/block.h"
#include "nbd/nbd-request.h"

typedef struct {
  const char *name; /* "namespace:leaf" */
  /* The status of an extent that was mapped with IM_MAP_ZEROES. */
  uint32_t (*status) (const ImExtent *extent);
} ImNbdContext;

/* All there are; the index is the id on the wire, and the bit in masks. */
#define IM_NBD_CONTEXTS 1u
extern const ImNbdContext im_nbd_contexts[IM_NBD_CONTEXTS];

/* The contexts among AVAILABLE that QUERY stands for.  LISTING: "namespace:" stands for
 * all of that namespace; otherwise only a whole name does. */
uint32_t im_nbd_contexts_match (uint32_t available, const char *query, bool listing);

/* Fills BUF, of SIZE ≥ 16 bytes, with the extents of the context ID from
 * request->offset on, as the session's mode writes them: coalesced, none empty, ending
 * within the request; as many as fit, and one alone with REQ_ONE. */
bool im_nbd_extents (ImBlock *block, const ImNbdRequest *request, ImNbdMode mode,
                     uint32_t id, uint8_t *buf, size_t size, uint32_t *ret_n,
                     GError **error);
