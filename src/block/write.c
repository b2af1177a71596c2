/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The contract of changes: every one passes here before a driver sees it. */
#include "base/error.h"
#include "block/check.h"

#include <errno.h>

bool
im_block_is_writable (const ImBlock *block)
{
  return block->writable;
}

/* May [OFFSET, OFFSET + LENGTH) be changed to BUF, or to zeros where that is NULL? */
static bool
check_change (ImBlock *block, const void *buf, uint64_t length, uint64_t offset,
              GError **error)
{
  if (!block->writable) {
    im_set_errno (error, EROFS, "cannot write at offset %" G_GUINT64_FORMAT, offset);
    return false;
  }
  return im_block_check_range (block, offset, length, error) &&
         (!block->guard || block->guard (block, buf, length, offset, error));
}

bool
im_block_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
                 ImWriteFlags flags, GError **error)
{
  return check_change (block, buf, len, offset, error) &&
         (len == 0 || block->ops->pwrite (block, buf, len, offset, flags, error));
}

bool
im_block_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length,
                       ImWriteFlags flags, GError **error)
{
  return check_change (block, NULL, length, offset, error) &&
         (length == 0 || block->ops->write_zeroes (block, offset, length, flags, error));
}

bool
im_block_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  return check_change (block, NULL, length, offset, error) &&
         (length == 0 || block->ops->discard (block, offset, length, error));
}

bool
im_block_flush (ImBlock *block, GError **error)
{
  return !block->writable || block->ops->flush (block, error);
}
