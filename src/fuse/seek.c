/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SEEK_DATA and SEEK_HOLE on a block. */
#include "fuse/seek.h"
#include "base/bytes.h"

#define EXTENTS 32u

/* A step looks at no more than this, so that one over a huge, finely divided disk ends
 * soon; where it was one run, and told at once, the next one looks at twice as much, so
 * that 8 EiB of nothing take few. */
#define STEP_BYTES (UINT64_C (16) << 30)
#define AT_ONCE_US (10 * 1000)

/* How much is looked at after a step of LENGTH bytes that found N extents. */
static uint64_t
next_step (uint64_t length, size_t n, gint64 begun)
{
  bool easy = n == 1 && g_get_monotonic_time () - begun < AT_ONCE_US;
  return !easy ? STEP_BYTES : length > UINT64_MAX / 2 ? UINT64_MAX : length * 2;
}

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
  uint64_t step = STEP_BYTES;
  while (offset < block->size) {
    ImExtent extents[EXTENTS];
    size_t n;
    gint64 begun = g_get_monotonic_time ();
    if (cancelled && cancelled (data))
      return IM_SEEK_CANCELLED;
    if (!im_block_map (block, offset, im_min (block->size - offset, step), IM_MAP_ZEROES,
                       extents, EXTENTS, &n, error))
      return IM_SEEK_FAILED;
    const ImExtent *found = first_of (extents, n, hole);
    if (found) {
      *ret_offset = found->offset;
      return IM_SEEK_FOUND;
    }
    offset = extents[n - 1].offset + extents[n - 1].length;
    step = next_step (step, n, begun);
  }
  *ret_offset = block->size;
  return hole ? IM_SEEK_FOUND : IM_SEEK_NONE;
}
