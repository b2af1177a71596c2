/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding a bitmap in a chain, and the contract of its map. */
#include "block/bitmap.h"
#include "base/bytes.h"
#include "base/error.h"

ImBitmap *
im_block_open_bitmap (ImBlock *block, const char *name, GError **error)
{
  for (ImBlock *b = block; b; b = b->parent) {
    g_autoptr (GError) failure = NULL;
    ImBitmap *bitmap =
        b->ops->open_bitmap ? b->ops->open_bitmap (b, name, &failure) : NULL;
    if (bitmap)
      return bitmap;
    if (failure) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return NULL;
    }
  }
  g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND,
               "no image of the chain has a bitmap \"%s\"", name);
  return NULL;
}

void
im_bitmap_free (ImBitmap *bitmap)
{
  if (bitmap)
    bitmap->ops->free (bitmap);
}

/* The driver's answer, held against its contract. */
static bool
is_sound (const ImBitmapRun *runs, size_t n, size_t max, uint64_t length)
{
  if (n < 1 || n > max)
    return false;
  for (size_t i = 0; i < n; i++) {
    if (runs[i].length < 1 || runs[i].length > length)
      return false;
    length -= runs[i].length;
  }
  return true;
}

bool
im_bitmap_map (ImBitmap *bitmap, uint64_t offset, uint64_t length, ImBitmapRun *runs,
               size_t n, size_t *ret_n, GError **error)
{
  if (offset >= bitmap->size) {
    runs[0] = (ImBitmapRun){.length = length, .set = false};
    *ret_n = 1;
    return true;
  }
  length = im_min (length, bitmap->size - offset);
  if (!bitmap->ops->map (bitmap, offset, length, runs, n, ret_n, error))
    return false;
  if (is_sound (runs, *ret_n, n, length))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "the bitmap's map of offset %" G_GUINT64_FORMAT " makes no sense", offset);
  return false;
}
