/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzes the qcow2 driver: the bytes are an image, which is opened, described, mapped
 * from end to end in bounded steps and read at some places. */
#include "formats/qcow2/qcow2.h"
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* Maps of one disk; a hostile one may be as large as the format allows. */
#define MAPS_MAX 64

static ImBlock *
no_parent (const ImOpenContext *context, ImFile *from, const char *name,
           const char *format, GError **error)
{
  return NULL;
}

/* The image itself stands for its data file. */
static ImFile *
same_file (const ImOpenContext *context, ImFile *from, const char *name, GError **error)
{
  return im_file_ref (from);
}

static ImFile *
file_of (const uint8_t *data, size_t size)
{
  int fd = memfd_create ("fuzz", MFD_CLOEXEC);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
  ImFile *file = NULL;

  if (write (fd, data, size) == (ssize_t)size)
    file = im_file_open_read_only (path, NULL);
  close (fd);
  return file;
}

static void
map_and_read (ImBlock *block)
{
  ImExtent extents[8];
  uint8_t buf[4096];
  uint64_t at = 0;

  for (unsigned i = 0; i < MAPS_MAX && at < block->size; i++) {
    uint64_t left = block->size - at;
    size_t n;

    if (!im_block_map (block, at, left, i % 2 ? IM_MAP_ZEROES : IM_MAP_WHERE, extents,
                       G_N_ELEMENTS (extents), &n, NULL))
      break;
    im_block_pread (block, buf, MIN (left, sizeof buf), at, NULL);
    at = extents[n - 1].offset + extents[n - 1].length;
  }
}

static void
try_open (ImFile *file, const ImResources *shared, const char *snapshot)
{
  ImOpenContext context = {.shared = shared,
                           .snapshot_any = snapshot,
                           .open_parent = no_parent,
                           .open_file = same_file};
  g_autoptr (GError) error = NULL;
  g_autoptr (GVariant) facts = NULL;
  ImBlock *block = im_format_qcow2.open (file, &context, &error);

  g_assert_true ((block == NULL) == (error != NULL));
  if (!block)
    return;
  facts = g_variant_ref_sink (block->ops->describe (block));
  g_assert_true (g_variant_is_normal_form (facts));
  map_and_read (block);
  im_block_unref (block);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (ImFile) file = file_of (data, size);
  ImResources shared = {.tables = im_table_cache_new (1 << 20),
                        .chunks = im_chunk_engine_new (1 << 20, NULL)};

  if (file) {
    try_open (file, &shared, NULL);
    try_open (file, &shared, "1");
  }
  im_chunk_engine_free (shared.chunks);
  im_table_cache_free (shared.tables);
  return 0;
}
