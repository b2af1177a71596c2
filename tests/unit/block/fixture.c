/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files and blocks for the tests of this layer. */
#include "fixture.h"
#include "base/bytes.h"

#include <sys/mman.h>
#include <unistd.h>

ImFile *
fixture_file (const void *bytes, size_t len)
{
  int fd = memfd_create ("fixture", MFD_CLOEXEC);
  g_assert_cmpint (fd, >=, 0);
  g_assert_cmpint (write (fd, bytes, len), ==, (ssize_t)len);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
  g_autoptr (GError) error = NULL;
  ImFile *file = im_file_open_read_only (path, &error);
  g_assert_no_error (error);
  close (fd);
  return file;
}

uint8_t *
fixture_pattern (size_t len, unsigned seed)
{
  uint8_t *bytes = g_malloc (len);
  uint32_t state = seed * 2654435761u + 1;
  for (size_t i = 0; i < len; i++) {
    state = state * 1664525u + 1013904223u;
    bytes[i] = (uint8_t)(state >> 24);
  }
  return bytes;
}

const ImResources *
fixture_resources (void)
{
  static ImResources shared;
  if (!shared.pool) {
    shared.pool = im_pool_new (4);
    shared.tables = im_table_cache_new (1 << 20);
    shared.chunks = im_chunk_engine_new (1 << 20, shared.pool);
  }
  return &shared;
}

typedef struct {
  ImBlock block;
  ImExtent *extents;
  size_t n, per_call;
} Fixture;

/* EXTENT cut to [from, to), with what it points at moved along. */
static ImExtent
cut (const ImExtent *extent, uint64_t from, uint64_t to)
{
  ImExtent part = *extent;
  uint64_t skipped = from > extent->offset ? from - extent->offset : 0;
  part.offset += skipped;
  part.at += part.kind == IM_EXTENT_DAMAGED ? 0 : skipped;
  part.crypt_at += skipped;
  part.within += (uint32_t)skipped;
  part.length = im_min (extent->offset + extent->length, to) - part.offset;
  return part;
}

static bool
fixture_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
             ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  Fixture *fixture = (Fixture *)block;
  size_t found = 0;
  for (size_t i = 0; i < fixture->n && found < n && found < fixture->per_call; i++) {
    const ImExtent *extent = &fixture->extents[i];
    if (extent->offset + extent->length > offset && extent->offset < offset + length)
      extents[found++] = cut (extent, offset, offset + length);
  }
  *ret_n = found;
  return true;
}

static void
fixture_free (ImBlock *block)
{
  g_free (((Fixture *)block)->extents);
  g_free (block);
}

static const ImBlockOps fixture_ops = {
    .name = "fixture", .map = fixture_map, .free = fixture_free};

ImBlock *
fixture_block (const ImExtent *extents, size_t n, size_t per_call, ImBlock *parent)
{
  Fixture *fixture = g_new0 (Fixture, 1);
  fixture->extents = g_memdup2 (extents, n * sizeof *extents);
  fixture->n = n;
  fixture->per_call = per_call;
  im_block_init (&fixture->block, &fixture_ops,
                 extents[n - 1].offset + extents[n - 1].length, parent,
                 fixture_resources ());
  return &fixture->block;
}
