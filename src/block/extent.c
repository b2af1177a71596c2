/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What one extent says by itself. */
#include "base/bytes.h"
#include "block/block.h"

/* How far apart the pages lie that are looked at to tell whether all are there: what is
 * read ahead comes in runs. */
#define STRIDE (64u << 10)

bool
im_extent_continues (const ImExtent *first, const ImExtent *second)
{
  if (first->offset + first->length != second->offset || first->kind != second->kind ||
      first->depth != second->depth || first->allocated != second->allocated ||
      first->stable != second->stable || first->placed != second->placed ||
      first->own != second->own)
    return false;
  switch (first->kind) {
  case IM_EXTENT_ZERO:
    return true;
  case IM_EXTENT_FILE:
    return first->file == second->file && first->at + first->length == second->at &&
           first->crypt == second->crypt &&
           (!first->crypt || first->crypt_at + first->length == second->crypt_at);
  case IM_EXTENT_CHUNK:
    return first->chunk.file == second->chunk.file &&
           first->chunk.at == second->chunk.at &&
           first->within + first->length == second->within;
  case IM_EXTENT_DAMAGED:
    return first->at == second->at && first->reason == second->reason;
  case IM_EXTENT_PARENT:
    break;
  }
  return false;
}

/* A page that is missing in between makes its reader wait, and no more. */
static bool
is_resident (const ImExtent *extent)
{
  uint8_t byte;
  for (uint64_t i = 0; i < extent->length; i += STRIDE)
    if (!im_file_pread_nowait (extent->file, &byte, 1, extent->at + i))
      return false;
  return im_file_pread_nowait (extent->file, &byte, 1, extent->at + extent->length - 1);
}

bool
im_extent_is_in_page_cache (const ImExtent *extent)
{
  return extent->kind == IM_EXTENT_FILE && extent->stable && !extent->crypt &&
         im_file_fd (extent->file) >= 0 &&
         im_range_fits (extent->at, extent->length, im_file_size (extent->file)) &&
         is_resident (extent);
}
