/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pieces of a disk on their way from one reader to several consumers, each of which sees
 * all of them in order, on a thread of its own.
 *
 *                       ┌─► writer
 *     reader ─► pieces ─┼─► md5          a piece is used again when all have seen it
 *                       ├─► sha1
 *                       └─► sha256                                                */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
  uint64_t offset; /* in what is read */
  uint64_t length; /* ≥ 1; of zeros as many as there are, else ≤ IM_RING_PIECE */
  uint8_t *data;   /* NULL: zeros */
  uint8_t *buffer; /* the ring's: what data may point at */
} ImRingPiece;

#define IM_RING_PIECE  (1u << 20)
#define IM_RING_PIECES 12u

/* One consumer.  CONSUME is called on its thread; false with an error ends it all. */
typedef struct {
  bool (*consume) (void *data, const ImRingPiece *piece, GError **error);
  void *data;
} ImRingConsumer;

typedef struct ImRing ImRing;

/* Starts a thread for each of the N consumers, which are copied. */
ImRing *im_ring_new (const ImRingConsumer *consumers, unsigned n, GError **error);

/* For the reader: the next piece to fill; NULL where a consumer has failed. */
ImRingPiece *im_ring_begin (ImRing *ring);
/* It has been filled. */
void im_ring_end (ImRing *ring);

/* Waits until all has been consumed, or ABORT: until the threads have ended.  Frees the
 * ring.  False, with the error, where a consumer failed. */
bool im_ring_finish (ImRing *ring, bool abort, GError **error);
