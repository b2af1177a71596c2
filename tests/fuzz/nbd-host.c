/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A small writable disk, and the server's side of a connection to it. */
#include "nbd-host.h"
#include "base/log.h"
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
  ImBlock block;
  ImFile *file;
} Disk;

static bool
disk_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
          ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  static const ImExtentKind kinds[] = {IM_EXTENT_FILE, IM_EXTENT_ZERO, IM_EXTENT_DAMAGED,
                                       IM_EXTENT_FILE};
  uint64_t turn = offset / FUZZ_TURN, left = FUZZ_TURN - offset % FUZZ_TURN;
  extents[0] = (ImExtent){.offset = offset,
                          .length = MIN (length, left),
                          .kind = kinds[turn % G_N_ELEMENTS (kinds)],
                          .stable = turn < 4,
                          .file = ((Disk *)block)->file,
                          .at = offset,
                          .reason = "damaged"};
  *ret_n = 1;
  return true;
}

static void
disk_free (ImBlock *block)
{
  im_file_unref (((Disk *)block)->file);
  g_free (block);
}

static bool
disk_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
             ImWriteFlags flags, GError **error)
{
  return im_file_pwrite (((Disk *)block)->file, buf, len, offset, false, error);
}

static bool
disk_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
                   GError **error)
{
  return im_file_write_zeroes (((Disk *)block)->file, offset, length,
                               flags & IM_WRITE_MAY_UNMAP, flags & IM_WRITE_FAST, error);
}

static bool
disk_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  return im_file_discard (((Disk *)block)->file, offset, length, error);
}

static bool
disk_flush (ImBlock *block, GError **error)
{
  return true;
}

static const ImBlockOps disk_ops = {.name = "fuzz",
                                    .map = disk_map,
                                    .pwrite = disk_pwrite,
                                    .write_zeroes = disk_write_zeroes,
                                    .discard = disk_discard,
                                    .flush = disk_flush,
                                    .free = disk_free};

static ImBlock *
disk_new (const ImResources *shared)
{
  Disk *disk = g_new0 (Disk, 1);
  int fd = memfd_create ("fuzz", MFD_CLOEXEC);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
  g_assert_cmpint (ftruncate (fd, FUZZ_DISK_SIZE), ==, 0);
  disk->file = im_file_open_writable (path, IM_CACHE_WRITEBACK, NULL);
  close (fd);
  im_block_init (&disk->block, &disk_ops, FUZZ_DISK_SIZE, NULL, shared);
  disk->block.writable = true;
  disk->block.policy.pass_discards = true;
  return &disk->block;
}

static bool
always_free (ImNbdHost *host)
{
  return true;
}

ImNbdHost *
fuzz_host (void)
{
  static ImNbdHost *host;
  static ImResources shared;
  static ImExportSet *set;
  const struct stat st = {0};
  if (host)
    return host;
  /* Each damaged read is worth a line to others. */
  im_log_set_file ("/dev/null", NULL);
  im_log_detach ();
  signal (SIGPIPE, SIG_IGN);
  shared.pool = im_pool_new (2);
  set = im_export_set_new ("fuzz", &st);
  ImBlock *disk = disk_new (&shared);
  im_export_set_add_block (set, IM_EXPORT_DISK, "disk", "a disk", disk, 0);
  ImBlock *slice = im_slice_new (disk, FUZZ_TURN / 2, FUZZ_TURN * 3, NULL);
  im_export_set_add_block (set, IM_EXPORT_PARTITION, "p1", NULL, slice, FUZZ_TURN / 2);
  set->read_only = false;
  host = g_new0 (ImNbdHost, 1);
  host->exports = im_nbd_exports_new (set, "", NULL, true, NULL);
  host->pool = shared.pool;
  host->take_place = always_free;
  return host;
}
