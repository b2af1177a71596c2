/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A part of a disk as a disk of its own. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/bitmap.h"

typedef struct {
  ImBlock block;
  ImBlock *base;  /* a reference */
  uint64_t start; /* of the slice, in base */
} Slice;

static bool
slice_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
           ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  Slice *slice = (Slice *)block;
  if (!im_block_map (slice->base, slice->start + offset, length, flags, extents, n, ret_n,
                     error))
    return false;
  for (size_t i = 0; i < *ret_n; i++)
    extents[i].offset -= slice->start;
  return true;
}

/* The base has looked already. */
static bool
slice_looks_beneath (ImBlock *block)
{
  return false;
}

static bool
slice_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
              ImWriteFlags flags, GError **error)
{
  Slice *slice = (Slice *)block;
  return im_block_pwrite (slice->base, buf, len, slice->start + offset, flags, error);
}

static bool
slice_pwrite_nowait (ImBlock *block, const void *buf, size_t len, uint64_t offset)
{
  Slice *slice = (Slice *)block;
  return im_block_pwrite_nowait (slice->base, buf, len, slice->start + offset);
}

static bool
slice_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
                    GError **error)
{
  Slice *slice = (Slice *)block;
  return im_block_write_zeroes (slice->base, slice->start + offset, length, flags, error);
}

static bool
slice_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  Slice *slice = (Slice *)block;
  return im_block_discard (slice->base, slice->start + offset, length, error);
}

static bool
slice_flush (ImBlock *block, GError **error)
{
  return im_block_flush (((Slice *)block)->base, error);
}

/* A bitmap of the base's, moved. */
typedef struct {
  ImBitmap bitmap;
  ImBitmap *base; /* owned */
  uint64_t start;
} SliceBitmap;

static bool
slice_bitmap_map (ImBitmap *bitmap, uint64_t offset, uint64_t length, ImBitmapRun *runs,
                  size_t n, size_t *ret_n, GError **error)
{
  SliceBitmap *slice = (SliceBitmap *)bitmap;
  return im_bitmap_map (slice->base, slice->start + offset, length, runs, n, ret_n,
                        error);
}

static void
slice_bitmap_free (ImBitmap *bitmap)
{
  im_bitmap_free (((SliceBitmap *)bitmap)->base);
  g_free (bitmap);
}

static const ImBitmapOps slice_bitmap_ops = {
    .map = slice_bitmap_map,
    .free = slice_bitmap_free,
};

static ImBitmap *
slice_open_bitmap (ImBlock *block, const char *name, GError **error)
{
  Slice *slice = (Slice *)block;
  ImBitmap *base = im_block_open_bitmap (slice->base, name, error);
  if (!base)
    return NULL;
  SliceBitmap *moved = g_new0 (SliceBitmap, 1);
  moved->bitmap = (ImBitmap){.ops = &slice_bitmap_ops, .size = block->size};
  moved->base = base;
  moved->start = slice->start;
  return &moved->bitmap;
}

static void
slice_free (ImBlock *block)
{
  Slice *slice = (Slice *)block;
  im_block_unref (slice->base);
  g_free (slice);
}

static const ImBlockOps slice_ops = {
    .name = "slice",
    .map = slice_map,
    .looks_beneath = slice_looks_beneath,
    .open_bitmap = slice_open_bitmap,
    .pwrite = slice_pwrite,
    .pwrite_nowait = slice_pwrite_nowait,
    .write_zeroes = slice_write_zeroes,
    .discard = slice_discard,
    .flush = slice_flush,
    .free = slice_free,
};

ImBlock *
im_slice_new (ImBlock *base, uint64_t offset, uint64_t size, GError **error)
{
  if (!im_range_fits (offset, size, base->size)) {
    g_set_error (error, IM_ERROR, IM_ERROR_RANGE,
                 "%" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT
                 " are not inside the disk (%" G_GUINT64_FORMAT " bytes)",
                 size, offset, base->size);
    return NULL;
  }
  Slice *slice = g_new0 (Slice, 1);
  im_block_init (&slice->block, &slice_ops, size, NULL, base->shared);
  slice->block.preferred = base->preferred;
  slice->block.writable = base->writable;
  slice->block.policy.pass_discards = true; /* the base decides */
  slice->block.damage = base->damage;
  slice->block.damage_start = base->damage_start + offset;
  slice->block.fills_damage = base->fills_damage;
  slice->base = im_block_ref (base);
  slice->start = offset;
  return &slice->block;
}

ImBlock *
im_slice_new_filled (ImBlock *base)
{
  ImBlock *slice = im_slice_new (base, 0, base->size, NULL);
  slice->fills_damage = true;
  return slice;
}
