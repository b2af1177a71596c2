/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: zeroing and discarding in external data files.  A cluster's place there is never
 * anybody else's, so nothing has to wait for a commit: what a crash brings back points at
 * the same bytes, which are zeros by then or what they were. */
#include "base/bytes.h"
#include "formats/qcow2/qcow2-writer.h"

bool
qcow2_data_punch (Qcow2Image *image, uint64_t start, uint64_t end, GError **error)
{
  end = im_min (end, im_min (image->block.size, im_file_size (image->data)));
  return start >= end || im_file_discard (image->data, start, end - start, error);
}

/* The error of the first entry in [OFFSET, OFFSET + LENGTH) that makes no sense. */
static bool
check_entries (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  ImExtent extents[16];
  uint8_t byte;
  size_t n;

  for (uint64_t at = offset, end = offset + length; at < end;) {
    if (!im_block_map (block, at, end - at, IM_MAP_WHERE, extents, 16, &n, error))
      return false;
    for (size_t i = 0; i < n; i++)
      if (extents[i].kind == IM_EXTENT_DAMAGED)
        return im_block_pread (block, &byte, 1, extents[i].offset, error);
    at = extents[n - 1].offset + extents[n - 1].length;
  }
  return true;
}

bool
qcow2_raw_zero (Qcow2Image *image, uint64_t offset, uint64_t length, ImWriteFlags flags,
                GError **error)
{
  return check_entries (&image->block, offset, length, error) &&
         im_file_extend (image->data, image->block.size, error) &&
         im_file_write_zeroes (image->data, offset, length, flags & IM_WRITE_MAY_UNMAP,
                               flags & IM_WRITE_FAST, error);
}

bool
qcow2_raw_discard (Qcow2Image *image, uint64_t offset, uint64_t length, GError **error)
{
  return im_file_extend (image->data, image->block.size, error) &&
         im_file_discard (image->data, offset, length, error);
}
