/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk made of runs of data and holes. */
#include "fixture.h"
#include "base/bytes.h"
#include "base/error.h"
#include <errno.h>

typedef struct {
  ImBlock block;
  FixtureRun *runs;
  size_t n;
  uint64_t fails_at;
  atomic_uint maps;
} Disk;

static bool
disk_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
          ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  Disk *disk = (Disk *)block;
  uint64_t begin = 0;
  atomic_fetch_add (&disk->maps, 1);
  if (offset >= disk->fails_at) {
    im_set_errno (error, EIO, "table");
    return false;
  }
  /* One run a map: whoever asks must be able to go on. */
  size_t i = 0;
  while (begin + disk->runs[i].length <= offset)
    begin += disk->runs[i++].length;
  uint64_t left = disk->runs[i].length - (offset - begin);
  extents[0] = (ImExtent){.offset = offset,
                          .length = im_min (length, left),
                          .kind = disk->runs[i].kind,
                          .allocated = disk->runs[i].kind != IM_EXTENT_ZERO,
                          .reason = "made so",
                          .at = offset};
  *ret_n = 1;
  return true;
}

static bool
disk_looks_beneath (ImBlock *block)
{
  return false;
}

static void
disk_free (ImBlock *block)
{
  Disk *disk = (Disk *)block;
  g_free (disk->runs);
  g_free (disk);
}

static const ImBlockOps disk_ops = {
    .name = "fixture",
    .map = disk_map,
    .looks_beneath = disk_looks_beneath,
    .free = disk_free,
};

ImBlock *
fixture_disk (const FixtureRun *runs, size_t n, uint64_t fails_at)
{
  Disk *disk = g_new0 (Disk, 1);
  uint64_t size = 0;
  for (size_t i = 0; i < n; i++)
    size += runs[i].length;
  disk->runs = g_memdup2 (runs, n * sizeof *runs);
  disk->n = n;
  disk->fails_at = fails_at;
  im_block_init (&disk->block, &disk_ops, size, NULL, NULL);
  return &disk->block;
}

unsigned
fixture_maps (ImBlock *disk)
{
  return atomic_load (&((Disk *)disk)->maps);
}
