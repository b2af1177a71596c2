/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoded bytes that are sent from where they are. */
#include "block/block.h"
#include "block/read-ahead.h"

bool
im_extents_are_pinnable (const ImExtent *extents, size_t n)
{
  uint64_t wanted = 0, held = 0;
  for (size_t i = 0; i < n; i++) {
    if (extents[i].kind != IM_EXTENT_CHUNK || !extents[i].stable)
      return false;
    wanted += extents[i].length;
    held += extents[i].chunk.plain;
  }
  return n > 0 && n <= IM_PINS_MAX && held <= 2 * wanted;
}

static bool
are_cached (ImBlock *block, const ImExtent *extents, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (!im_chunk_engine_is_cached (block->shared->chunks, &extents[i].chunk))
      return false;
  return true;
}

bool
im_block_pin (ImBlock *block, const ImExtent *extents, size_t n, ImChunkPin *ret_pins,
              GError **error)
{
  ImChunkRead reads[IM_PINS_MAX];
  for (size_t i = 0; i < n; i++)
    reads[i] = (ImChunkRead){.chunk = extents[i].chunk,
                             .within = extents[i].within,
                             .length = (uint32_t)extents[i].length};
  if (!im_chunk_engine_pin (block->shared->chunks, reads, n, ret_pins, error))
    return false;
  const ImExtent *last = &extents[n - 1];
  im_read_ahead_note (block, extents[0].offset,
                      last->offset + last->length - extents[0].offset);
  return true;
}

bool
im_block_pin_nowait (ImBlock *block, const ImExtent *extents, size_t n,
                     ImChunkPin *ret_pins)
{
  return are_cached (block, extents, n) &&
         im_block_pin (block, extents, n, ret_pins, NULL);
}
