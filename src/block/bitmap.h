/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bitmaps that an image stores beside its disk: what has changed since somebody asked. */
#pragma once

#include "block/block.h"

/* A run of bytes of the disk that a bitmap says one thing of. */
typedef struct {
  uint64_t length;
  bool set;
} ImBitmapRun;

/* A driver's side; any thread. */
typedef struct {
  /* The caller promises: LENGTH ≥ 1, [OFFSET, OFFSET + LENGTH) lies in the bitmap, N ≥ 1.
   * The driver promises: on success 1 ≤ *ret_n ≤ N runs from OFFSET on, none empty, which
   * may cover less than all; neighbours may be alike. */
  bool (*map) (ImBitmap *bitmap, uint64_t offset, uint64_t length, ImBitmapRun *runs,
               size_t n, size_t *ret_n, GError **error);
  /* Frees what the driver holds and the bitmap itself. */
  void (*free) (ImBitmap *bitmap);
} ImBitmapOps;

/* Drivers embed this as their first member.  It does not change while it is open. */
struct ImBitmap {
  const ImBitmapOps *ops;
  uint64_t size; /* bytes of the disk that it speaks of */
};

/* The bitmap NAME of BLOCK's image, or else of its nearest parent that has one of that
 * name; its offsets are BLOCK's.  BLOCK must outlive it, and nobody may write to it. */
ImBitmap *im_block_open_bitmap (ImBlock *block, const char *name, GError **error);
void im_bitmap_free (ImBitmap *bitmap);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImBitmap, im_bitmap_free)

/* What it says of [OFFSET, OFFSET + LENGTH), wherever that is: past its end nothing is
 * set.  As the driver's map; LENGTH ≥ 1 and the sum does not wrap. */
bool im_bitmap_map (ImBitmap *bitmap, uint64_t offset, uint64_t length, ImBitmapRun *runs,
                    size_t n, size_t *ret_n, GError **error);
