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

/* FLAGS without what the policy forbids. */
static ImWriteFlags
allowed (const ImBlock *block, ImWriteFlags flags)
{
  if (!block->policy.pass_discards)
    flags &= ~(unsigned)IM_WRITE_MAY_UNMAP;
  if (block->policy.ignore_flushes)
    flags &= ~(unsigned)IM_WRITE_FUA;
  return flags;
}

static bool
is_all_zeros (const uint8_t *buf, size_t len)
{
  return buf[0] == 0 && memcmp (buf, buf + 1, len - 1) == 0;
}

/* Is this write to become a write_zeroes?  Sets *FLAGS for it. */
static bool
detects_zeros (const ImBlock *block, const void *buf, size_t len, ImWriteFlags *flags)
{
  if (block->policy.detect_zeroes == IM_DETECT_ZEROES_OFF || !is_all_zeros (buf, len))
    return false;
  if (block->policy.detect_zeroes == IM_DETECT_ZEROES_UNMAP)
    *flags |= IM_WRITE_MAY_UNMAP;
  return true;
}

bool
im_block_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
                 ImWriteFlags flags, GError **error)
{
  if (!check_change (block, buf, len, offset, error))
    return false;
  if (len == 0)
    return true;
  if (detects_zeros (block, buf, len, &flags))
    return block->ops->write_zeroes (block, offset, len, allowed (block, flags), error);
  return block->ops->pwrite (block, buf, len, offset, allowed (block, flags), error);
}

bool
im_block_pwrite_nowait (ImBlock *block, const void *buf, size_t len, uint64_t offset)
{
  return len > 0 && block->ops->pwrite_nowait &&
         block->policy.detect_zeroes == IM_DETECT_ZEROES_OFF &&
         check_change (block, buf, len, offset, NULL) &&
         block->ops->pwrite_nowait (block, buf, len, offset);
}

bool
im_block_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length,
                       ImWriteFlags flags, GError **error)
{
  return check_change (block, NULL, length, offset, error) &&
         (length == 0 || block->ops->write_zeroes (block, offset, length,
                                                   allowed (block, flags), error));
}

bool
im_block_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  return check_change (block, NULL, length, offset, error) &&
         (length == 0 || !block->policy.pass_discards ||
          block->ops->discard (block, offset, length, error));
}

bool
im_block_flush (ImBlock *block, GError **error)
{
  return !block->writable || block->policy.ignore_flushes ||
         block->ops->flush (block, error);
}
