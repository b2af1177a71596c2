/* SPDX-License-Identifier: GPL-2.0-or-later */
/* raw: one extent, the whole file, of any size, a partial last sector included. */
#include "formats/raw.h"

typedef struct {
  ImBlock block;
  ImFile *file; /* a reference */
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
                          .at = offset};
  *ret_n = 1;
  return true;
}

static bool
raw_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
            ImWriteFlags flags, GError **error)
{
  return im_file_pwrite (((Raw *)block)->file, buf, len, offset, flags & IM_WRITE_FUA,
                         error);
}

static bool
raw_pwrite_nowait (ImBlock *block, const void *buf, size_t len, uint64_t offset)
{
  return im_file_pwrite_nowait (((Raw *)block)->file, buf, len, offset);
}

static bool
raw_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
                  GError **error)
{
  ImFile *file = ((Raw *)block)->file;
  return im_file_write_zeroes (file, offset, length, flags & IM_WRITE_MAY_UNMAP,
                               flags & IM_WRITE_FAST, error) &&
         (!(flags & IM_WRITE_FUA) || im_file_sync (file, error));
}

static bool
raw_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  return im_file_discard (((Raw *)block)->file, offset, length, error);
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
  Raw *raw = g_new0 (Raw, 1);
  im_block_init (&raw->block, &raw_ops, im_file_size (file), NULL, context->shared);
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
