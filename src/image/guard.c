/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Refusing writes that would give a raw disk another format's signature. */
#include "image/guard.h"
#include "base/bytes.h"
#include "base/error.h"
#include "formats/format.h"
#include "formats/raw.h"

#include <errno.h>

/* Copies into WINDOW, the disk's LEN bytes at AT, what the change puts there. */
static void
apply_change (uint8_t *window, uint64_t at, size_t len, const uint8_t *buf,
              uint64_t length, uint64_t offset)
{
  uint64_t from = im_max (at, offset), to = im_min (at + len, offset + length);
  if (from >= to)
    return;
  if (buf)
    memcpy (window + (from - at), buf + (from - offset), to - from);
  else
    memset (window + (from - at), 0, to - from);
}

static bool
concerns (const ImBlock *block, uint64_t length, uint64_t offset)
{
  uint64_t head_end = im_min (IM_PROBE_HEAD, block->size);
  uint64_t tail_start = block->size - im_min (IM_PROBE_TAIL, block->size);
  return offset < head_end || offset + length > tail_start;
}

static bool
allows (ImBlock *block, const void *buf, uint64_t length, uint64_t offset, GError **error)
{
  uint64_t tail_start = block->size - im_min (IM_PROBE_TAIL, block->size);
  uint8_t head[IM_PROBE_HEAD], tail[IM_PROBE_TAIL];
  ImProbeInput input = {.head = head,
                        .head_len = (size_t)im_min (IM_PROBE_HEAD, block->size),
                        .tail = tail,
                        .tail_len = (size_t)(block->size - tail_start),
                        .file_size = block->size};
  if (!im_block_pread (block, head, input.head_len, 0, error) ||
      !im_block_pread (block, tail, input.tail_len, tail_start, error))
    return false;
  apply_change (head, 0, input.head_len, buf, length, offset);
  apply_change (tail, tail_start, input.tail_len, buf, length, offset);
  const ImFormat *format = im_format_probe (&input);
  if (format == &im_format_raw)
    return true;
  im_set_errno (error, EPERM,
                "this write would make the disk look like %s; -f raw allows it",
                format->name);
  return false;
}

const ImWriteGuard im_image_guard_raw = {.concerns = concerns, .allows = allows};
