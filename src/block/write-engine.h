/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The write engine of all formats that allocate: reserve, fill, link.
 *
 *   shared claim ──► map: all of it the image's own? ── yes ──► write in place
 *                             │ no
 *   exclusive claim ──► reserve ──► fill: head from the old mapping, data, tail ──► link
 *
 * A format says where new bytes may go, and later points at them; in between nothing
 * points there and no lock is held. */
#pragma once

#include "block/block.h"
#include "block/claims.h"

/* Where a run of whole pieces is to be written. */
typedef struct {
  uint64_t guest, length; /* the last piece may reach past the disk's end, or end there */
  ImFile *file;           /* borrowed from the block */
  uint64_t at;
  bool own;                 /* it is there already: write, and there is nothing to link */
  bool zeroed;              /* the file is known to have zeros there */
  const ImTransform *crypt; /* NULL, or how it is to be encrypted, */
  uint64_t crypt_at;        /* the first byte being at this position */
} ImReservation;

typedef struct {
  uint32_t unit;  /* of claims: bytes, a power of two */
  uint32_t piece; /* of allocation: the same, or an equal part of a unit */
  /* Finds room for pieces from GUEST on, at most LENGTH bytes; at least one piece.  It
   * may begin before GUEST, and end later, where more of those units has to be carried
   * over. The caller holds the units exclusively. */
  bool (*reserve) (ImBlock *block, uint64_t guest, uint64_t length, ImReservation *ret,
                   GError **error);
  /* From now on the pieces are there.  Fails only where nothing was changed. */
  bool (*link) (ImBlock *block, const ImReservation *reservation, GError **error);
  /* Will reserve and link find what they need of the tables in memory?  A guess: they
   * may have to wait all the same.  NULL: no. */
  bool (*is_warm) (ImBlock *block, uint64_t guest, uint64_t length);
  /* Instead of link: they are not needed. */
  void (*cancel) (ImBlock *block, const ImReservation *reservation);
} ImWriteFormat;

/* Writes, as im_block_pwrite does, under claims that it takes itself. */
bool im_engine_write (ImBlock *block, const ImWriteFormat *format, ImClaims *claims,
                      const void *buf, size_t len, uint64_t offset, GError **error);

/* The same as far as it needs no waiting, as im_block_pwrite_nowait. */
bool im_engine_write_nowait (ImBlock *block, const ImWriteFormat *format,
                             ImClaims *claims, const void *buf, size_t len,
                             uint64_t offset);

/* The same for who holds an exclusive claim already. */
bool im_engine_write_claimed (ImBlock *block, const ImWriteFormat *format,
                              const void *buf, size_t len, uint64_t offset,
                              GError **error);
