/* SPDX-License-Identifier: GPL-2.0-or-later */
/* raw: one extent, the whole file or a part of it, of any size, a partial last sector
 * included. */
#include "formats/raw.h"
#include "base/bytes.h"
#include "base/error.h"

typedef struct {
  ImBlock block;
  ImFile *file;   /* a reference */
  uint64_t start; /* of the disk, in it */
} Raw;

static bool
raw_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
         ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  Raw *raw = (Raw *)block;
  extents[0] = (ImExtent){.offset = offset,
                          .length = length,
                          .kind = IM_EXTENT_FILE,
                          .allocated = true,
                          .stable = true,
                          .file = raw->file,
                          .at = raw->start + offset};
  *ret_n = 1;
  return true;
}

static bool
raw_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
            ImWriteFlags flags, GError **error)
{
  Raw *raw = (Raw *)block;
  return im_file_pwrite (raw->file, buf, len, raw->start + offset, flags & IM_WRITE_FUA,
                         error);
}

static bool
raw_pwrite_nowait (ImBlock *block, const void *buf, size_t len, uint64_t offset)
{
  Raw *raw = (Raw *)block;
  return im_file_pwrite_nowait (raw->file, buf, len, raw->start + offset);
}

static bool
raw_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
                  GError **error)
{
  ImFile *file = ((Raw *)block)->file;
  offset += ((Raw *)block)->start;
  return im_file_write_zeroes (file, offset, length, flags & IM_WRITE_MAY_UNMAP,
                               flags & IM_WRITE_FAST, error) &&
         (!(flags & IM_WRITE_FUA) || im_file_sync (file, error));
}

static bool
raw_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  Raw *raw = (Raw *)block;
  return im_file_discard (raw->file, raw->start + offset, length, error);
}

static bool
raw_flush (ImBlock *block, GError **error)
{
  return im_file_sync (((Raw *)block)->file, error);
}

static void
raw_free (ImBlock *block)
{
  Raw *raw = (Raw *)block;
  im_file_unref (raw->file);
  g_free (raw);
}

static const ImBlockOps raw_ops = {
    .name = "raw",
    .map = raw_map,
    .pwrite = raw_pwrite,
    .pwrite_nowait = raw_pwrite_nowait,
    .write_zeroes = raw_write_zeroes,
    .discard = raw_discard,
    .flush = raw_flush,
    .free = raw_free,
};

static ImBlock *
raw_open (ImFile *file, const ImOpenContext *context, GError **error)
{
  uint64_t all = im_file_size (file), start = context->raw_offset;
  uint64_t size = context->raw_size ? context->raw_size : all - im_min (start, all);
  if (!im_range_fits (start, size, all)) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "size %" G_GUINT64_FORMAT " at offset %" G_GUINT64_FORMAT
                 " is not inside the file (%" G_GUINT64_FORMAT " bytes)",
                 size, start, all);
    return NULL;
  }
  Raw *raw = g_new0 (Raw, 1);
  im_block_init (&raw->block, &raw_ops, size, NULL, context->shared);
  raw->start = start;
  raw->file = im_file_ref (file);
  raw->block.writable = im_file_is_writable (file);
  return &raw->block;
}

const ImFormat im_format_raw = {
    .name = "raw",
    .description = "the bytes as they are",
    .open = raw_open,
    .writable = true,
};
