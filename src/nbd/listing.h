/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What another server exports. */
#pragma once

#include "nbd/nbd.h"

/* One export, as far as the server tells. */
typedef struct {
  char *name;
  char *description; /* "" where there is none */
  bool has_size;     /* size and flags are known */
  uint64_t size;
  uint16_t flags;
  uint32_t minimum, preferred, maximum; /* block sizes; minimum 0: not told */
  GPtrArray *contexts;                  /* of char *: metadata contexts */
  char *refusal; /* why the server does not tell of it; NULL: it does, or tells of none */
} ImNbdListed;

typedef struct {
  GPtrArray *exports; /* of ImNbdListed, in the server's order */
  bool extended;      /* it speaks 64-bit lengths */
  bool incomplete;    /* some export has a refusal */
} ImNbdListing;

/* Asks the server that listens where one with OPTIONS would; with OPTIONS->tls, which has
 * to be a client's, only by TLS.  IM_ERROR_NOT_FOUND without: the server wants it. */
ImNbdListing *im_nbd_list (const ImNbdOptions *options, GError **error);
void im_nbd_listing_free (ImNbdListing *listing);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNbdListing, im_nbd_listing_free)

/* For people and scripts, one fact a line, by the names that qemu-nbd -L has for them.
 * What a server says cannot make lines of its own.  Caller frees. */
char *im_nbd_listing_text (const ImNbdListing *listing);
