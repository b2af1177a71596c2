/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Metadata contexts: what block status can tell of an extent. */
#pragma once

#include "export/export.h"
#include "nbd/nbd-request.h"

typedef struct {
  char *name; /* "namespace:leaf" */
  /* The status of an extent, and how it is to be mapped for that. */
  uint32_t (*status) (const ImExtent *extent);
  ImMapFlags flags;
  ImBitmap *bitmap; /* NULL, or what tells instead; borrowed */
} ImNbdContext;

/* The index is the id on the wire, and the bit in masks. */
#define IM_NBD_CONTEXTS_MAX 32u

typedef struct {
  ImNbdContext items[IM_NBD_CONTEXTS_MAX];
  uint32_t n;
} ImNbdContexts;

/* All that SET has.  Fails where these are too many, or have no name that the protocol
 * can carry. */
bool im_nbd_contexts_init (ImNbdContexts *contexts, const ImExportSet *set,
                           GError **error);
void im_nbd_contexts_clear (ImNbdContexts *contexts);

/* All of them, as a mask. */
uint32_t im_nbd_contexts_all (const ImNbdContexts *contexts);

/* Those that QUERY stands for.  LISTING: "namespace:", and "qemu:dirty-bitmap:", stand
 * for all that begin so; otherwise only a whole name does. */
uint32_t im_nbd_contexts_match (const ImNbdContexts *contexts, const char *query,
                                bool listing);

/* Fills BUF, of SIZE ≥ 16 bytes, with the extents of CONTEXT from request->offset on, as
 * the session's mode writes them: coalesced, none empty, ending within the request; as
 * many as fit, and one alone with REQ_ONE.  BLOCK begins at byte START of what bitmaps
 * speak of. */
bool im_nbd_extents (const ImNbdContext *context, ImBlock *block, uint64_t start,
                     const ImNbdRequest *request, ImNbdMode mode, uint8_t *buf,
                     size_t size, uint32_t *ret_n, GError **error);
