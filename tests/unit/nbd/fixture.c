/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk and the host that the tests of this layer share. */
#include "fixture.h"
#include "base/bytes.h"
#include "base/error.h"
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
  ImBlock block;
  FixtureDisk disk;
  ImFile *file;
  uint8_t *bytes;
} Fixture;

/* Among sixteen pieces of 16 KiB: zeros too short for a hole, and long enough for one. */
static bool
piece_is_zero (uint64_t piece)
{
  return piece % 8 == 1 || (piece % 8 >= 4 && piece % 8 <= 6);
}

static ImExtent
extent_at (const Fixture *fixture, uint64_t offset)
{
  uint64_t mib = offset >> 20;
  ImExtent extent = {.offset = offset,
                     .kind = IM_EXTENT_FILE,
                     .allocated = true,
                     .stable = !atomic_load (&fixture->disk.unstable),
                     .file = fixture->file,
                     .at = offset};
  uint64_t end = mib >= 4 ? DISK_SIZE : (mib + 1) << 20;
  if (mib == 1) {
    extent.kind = IM_EXTENT_ZERO;
  } else if (mib == 2 && offset < DAMAGED_FROM) {
    end = DAMAGED_FROM;
  } else if (mib == 2 && offset < DAMAGED_TO) {
    extent.kind = IM_EXTENT_DAMAGED;
    extent.reason = "poked by the test";
    end = DAMAGED_TO;
  } else if (mib == 3) {
    uint64_t piece = offset >> 14;
    extent.kind = piece_is_zero (piece) ? IM_EXTENT_ZERO : IM_EXTENT_FILE;
    end = (piece + 1) << 14;
  }
  extent.length = end - offset;
  return extent;
}

static bool
fixture_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
             ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  Fixture *fixture = (Fixture *)block;
  if ((flags & IM_MAP_NOWAIT) && atomic_load (&fixture->disk.blocks)) {
    g_set_error (error, IM_ERROR, IM_ERROR_WOULD_BLOCK, "told to");
    return false;
  }
  uint64_t at = offset, end = offset + length;
  for (*ret_n = 0; at < end && *ret_n < n; (*ret_n)++) {
    ImExtent extent = extent_at (fixture, at);
    extent.length = MIN (extent.length, end - at);
    extents[*ret_n] = extent;
    at += extent.length;
  }
  return true;
}

static void
fixture_free (ImBlock *block)
{
  g_assert_not_reached ();
}

static bool
fixture_looks_beneath (ImBlock *block)
{
  return false;
}

static const ImBlockOps fixture_ops = {.name = "fixture",
                                       .map = fixture_map,
                                       .looks_beneath = fixture_looks_beneath,
                                       .free = fixture_free};

static Fixture *
fixture_new (void)
{
  Fixture *fixture = g_new0 (Fixture, 1);
  uint32_t state = 1;
  fixture->bytes = g_malloc (DISK_SIZE);
  for (size_t i = 0; i < DISK_SIZE; i++) {
    state = state * 1664525u + 1013904223u;
    fixture->bytes[i] = (uint8_t)(state >> 24);
  }
  int fd = memfd_create ("disk", MFD_CLOEXEC);
  g_assert_cmpint (write (fd, fixture->bytes, DISK_SIZE), ==, DISK_SIZE);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
  g_autoptr (GError) error = NULL;
  fixture->file = im_file_open_read_only (path, &error);
  g_assert_no_error (error);
  fixture->disk.file_fd = fd;
  im_block_init (&fixture->block, &fixture_ops, DISK_SIZE, NULL, fixture_resources ());
  for (uint64_t at = 0; at < DISK_SIZE;) {
    ImExtent extent = extent_at (fixture, at);
    if (extent.kind == IM_EXTENT_ZERO)
      memset (fixture->bytes + at, 0, extent.length);
    at += extent.length;
  }
  return fixture;
}

static Fixture *
the_fixture (void)
{
  static Fixture *fixture;
  if (!fixture)
    fixture = fixture_new ();
  return fixture;
}

FixtureDisk *
fixture_disk (void)
{
  return &the_fixture ()->disk;
}

const uint8_t *
fixture_bytes (uint64_t offset)
{
  return the_fixture ()->bytes + offset;
}

const ImResources *
fixture_resources (void)
{
  static ImResources shared;
  if (!shared.pool) {
    shared.pool = im_pool_new (3);
    shared.tables = im_table_cache_new (1 << 20);
    shared.chunks = im_chunk_engine_new (1 << 20, shared.pool);
  }
  return &shared;
}

ImExportSet *
fixture_set (void)
{
  const struct stat st = {0};
  ImBlock *disk = &the_fixture ()->block;
  g_autoptr (GError) error = NULL;
  g_autoptr (ImBlock) slice = im_slice_new (disk, 1 << 20, 1 << 20, &error);
  ImExportSet *set = im_export_set_new ("disk.img", &st);
  im_export_set_add_block (set, IM_EXPORT_DISK, "disk", NULL, disk, 0);
  im_export_set_add_block (set, IM_EXPORT_PARTITION, "p1", "the first", slice, 1 << 20);
  return set;
}

static bool
always_free (ImNbdHost *host)
{
  return true;
}

ImNbdHost *
fixture_host (void)
{
  static ImNbdHost host;
  static ImExportSet *set;
  if (!host.exports) {
    set = fixture_set ();
    signal (SIGPIPE, SIG_IGN); /* as the program does */
    host.exports = im_nbd_exports_new (set, "", NULL, true, NULL);
    host.pool = fixture_resources ()->pool;
    host.take_place = always_free;
  }
  return &host;
}
