/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SEEK_DATA and SEEK_HOLE on a block. */
#include "fuse/seek.h"
#include "base/bytes.h"

#define EXTENTS 32u

/* A step looks at no more than this, so that one over a huge, finely divided disk ends
 * soon. */
#define STEP_BYTES (UINT64_C (16) << 30)

/* The first extent of the kind that is looked for; NULL: none of these. */
static const ImExtent *
first_of (const ImExtent *extents, size_t n, bool hole)
{
  for (size_t i = 0; i < n; i++) {
    if ((extents[i].kind == IM_EXTENT_ZERO) == hole)
      return &extents[i];
  }
  return NULL;
}

ImSeekResult
im_fuse_seek (ImBlock *block, uint64_t offset, bool hole, bool (*cancelled) (void *data),
              void *data, uint64_t *ret_offset, GError **error)
{
  if (offset >= block->size)
    return IM_SEEK_NONE;
  while (offset < block->size) {
    ImExtent extents[EXTENTS];
    size_t n;
    if (cancelled && cancelled (data))
      return IM_SEEK_CANCELLED;
    if (!im_block_map (block, offset, im_min (block->size - offset, STEP_BYTES),
                       IM_MAP_ZEROES, extents, EXTENTS, &n, error))
      return IM_SEEK_FAILED;
    const ImExtent *found = first_of (extents, n, hole);
    if (found) {
      *ret_offset = found->offset;
      return IM_SEEK_FOUND;
    }
    offset = extents[n - 1].offset + extents[n - 1].length;
  }
  *ret_offset = block->size;
  return hole ? IM_SEEK_FOUND : IM_SEEK_NONE;
}
