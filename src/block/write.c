/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The contract of changes: every one passes here before a driver sees it. */
#include "base/error.h"
#include "block/check.h"
#include "block/claims.h"

#include <errno.h>

bool
im_block_is_writable (const ImBlock *block)
{
  return block->writable;
}

/* A change that may be made, until it ends. */
typedef struct {
  bool guarded; /* by the claim */
  ImClaim claim;
} Change;

static void
end_change (ImBlock *block, Change *change)
{
  if (change->guarded)
    im_claim_drop (block->guard_claims, &change->claim);
}

/* Asks the guard.  NOWAIT: false, without an error, where another change is in the way.
 */
static bool
ask_guard (ImBlock *block, const void *buf, uint64_t length, uint64_t offset, bool nowait,
           Change *change, GError **error)
{
  if (!nowait)
    im_claim_take (block->guard_claims, &change->claim, 0, 0, true);
  else if (!im_claim_try (block->guard_claims, &change->claim, 0, 0, true))
    return false;
  change->guarded = true;
  if (block->guard->allows (block, buf, length, offset, error))
    return true;
  end_change (block, change);
  return false;
}

/* May [OFFSET, OFFSET + LENGTH) be changed to BUF, or to zeros where that is NULL? */
static bool
begin_change (ImBlock *block, const void *buf, uint64_t length, uint64_t offset,
              bool nowait, Change *change, GError **error)
{
  change->guarded = false;
  if (!block->writable) {
    im_set_errno (error, EROFS, "cannot write at offset %" G_GUINT64_FORMAT, offset);
    return false;
  }
  return im_block_check_range (block, offset, length, error) &&
         (!block->guard || !block->guard->concerns (block, length, offset) ||
          ask_guard (block, buf, length, offset, nowait, change, error));
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

static bool
write_allowed (ImBlock *block, const void *buf, size_t len, uint64_t offset,
               ImWriteFlags flags, GError **error)
{
  if (len == 0)
    return true;
  if (detects_zeros (block, buf, len, &flags))
    return block->ops->write_zeroes (block, offset, len, allowed (block, flags), error);
  return block->ops->pwrite (block, buf, len, offset, allowed (block, flags), error);
}

bool
im_block_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
                 ImWriteFlags flags, GError **error)
{
  Change change;
  if (!begin_change (block, buf, len, offset, false, &change, error))
    return false;
  bool ok = write_allowed (block, buf, len, offset, flags, error);
  end_change (block, &change);
  return ok;
}

bool
im_block_pwrite_nowait (ImBlock *block, const void *buf, size_t len, uint64_t offset)
{
  Change change;
  if (len == 0 || !block->ops->pwrite_nowait ||
      block->policy.detect_zeroes != IM_DETECT_ZEROES_OFF ||
      !begin_change (block, buf, len, offset, true, &change, NULL))
    return false;
  bool done = block->ops->pwrite_nowait (block, buf, len, offset);
  end_change (block, &change);
  return done;
}

bool
im_block_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length,
                       ImWriteFlags flags, GError **error)
{
  Change change;
  if (!begin_change (block, NULL, length, offset, false, &change, error))
    return false;
  bool ok = length == 0 || block->ops->write_zeroes (block, offset, length,
                                                     allowed (block, flags), error);
  end_change (block, &change);
  return ok;
}

bool
im_block_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  Change change;
  if (!begin_change (block, NULL, length, offset, false, &change, error))
    return false;
  bool ok = length == 0 || !block->policy.pass_discards ||
            block->ops->discard (block, offset, length, error);
  end_change (block, &change);
  return ok;
}

bool
im_block_flush (ImBlock *block, GError **error)
{
  return !block->writable || block->policy.ignore_flushes ||
         block->ops->flush (block, error);
}
