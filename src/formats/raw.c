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
    .free = raw_free,
};

static ImBlock *
raw_open (ImFile *file, const ImOpenContext *context, GError **error)
{
  Raw *raw = g_new0 (Raw, 1);
  im_block_init (&raw->block, &raw_ops, im_file_size (file), NULL, context->shared);
  raw->file = im_file_ref (file);
  return &raw->block;
}

const ImFormat im_format_raw = {
    .name = "raw",
    .description = "the bytes as they are",
    .open = raw_open,
};
