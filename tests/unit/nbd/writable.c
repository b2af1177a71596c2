/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk that takes writes. */
#include "writable.h"
#include "base/error.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

/* Notes the beginning of a change, and waits where it shall. */
static bool
begin (WritableDisk *disk, GError **error)
{
  atomic_fetch_add (&disk->begun, 1);
  while (atomic_load (&disk->hold))
    g_usleep (1000);
  int errnum = atomic_load (&disk->errnum);
  if (errnum != 0)
    im_set_errno (error, errnum, "told to");
  return errnum == 0;
}

static bool
end (WritableDisk *disk)
{
  atomic_fetch_add (&disk->done, 1);
  return true;
}

static bool
writable_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
              ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  WritableDisk *disk = (WritableDisk *)block;
  extents[0] = (ImExtent){.offset = offset,
                          .length = length,
                          .kind = IM_EXTENT_FILE,
                          .allocated = true,
                          .stable = true,
                          .file = disk->file,
                          .at = offset};
  *ret_n = 1;
  return true;
}

static bool
writable_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
                 ImWriteFlags flags, GError **error)
{
  WritableDisk *disk = (WritableDisk *)block;
  if (!begin (disk, error))
    return false;
  atomic_store (&disk->flags, flags);
  g_assert_cmpint (pwrite (disk->fd, buf, len, (off_t)offset), ==, (ssize_t)len);
  return end (disk);
}

static bool
writable_pwrite_nowait (ImBlock *block, const void *buf, size_t len, uint64_t offset)
{
  WritableDisk *disk = (WritableDisk *)block;
  if (!atomic_load (&disk->in_place) || atomic_load (&disk->hold) ||
      atomic_load (&disk->errnum))
    return false;
  atomic_fetch_add (&disk->at_once, 1);
  return writable_pwrite (block, buf, len, offset, 0, NULL);
}

static bool
punch (WritableDisk *disk, uint64_t offset, uint64_t length, GError **error)
{
  if (!begin (disk, error))
    return false;
  if (length > atomic_load (&disk->longest))
    atomic_store (&disk->longest, length);
  int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  g_assert_cmpint (fallocate (disk->fd, mode, (off_t)offset, (off_t)length), ==, 0);
  return end (disk);
}

static bool
writable_zeroes (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
                 GError **error)
{
  atomic_store (&((WritableDisk *)block)->flags, flags);
  return punch ((WritableDisk *)block, offset, length, error);
}

static bool
writable_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  return punch ((WritableDisk *)block, offset, length, error);
}

static bool
writable_flush (ImBlock *block, GError **error)
{
  WritableDisk *disk = (WritableDisk *)block;
  atomic_fetch_add (&disk->flushes, 1);
  return begin (disk, error) && end (disk);
}

static void
writable_free (ImBlock *block)
{
  g_assert_not_reached ();
}

static const ImBlockOps writable_ops = {.name = "writable",
                                        .map = writable_map,
                                        .pwrite = writable_pwrite,
                                        .pwrite_nowait = writable_pwrite_nowait,
                                        .write_zeroes = writable_zeroes,
                                        .discard = writable_discard,
                                        .flush = writable_flush,
                                        .free = writable_free};

WritableDisk *
writable_disk (void)
{
  static WritableDisk disk;
  if (disk.file)
    return &disk;
  disk.fd = memfd_create ("writable", MFD_CLOEXEC);
  g_assert_cmpint (ftruncate (disk.fd, (off_t)WRITABLE_SIZE), ==, 0);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", disk.fd);
  g_autoptr (GError) error = NULL;
  disk.file = im_file_open_read_only (path, &error);
  g_assert_no_error (error);
  im_block_init (&disk.block, &writable_ops, WRITABLE_SIZE, NULL, fixture_resources ());
  disk.block.writable = true;
  disk.block.policy.pass_discards = true;
  return &disk;
}

ImExportSet *
writable_set (void)
{
  const struct stat st = {0};
  ImBlock *disk = &writable_disk ()->block;
  ImExportSet *set = im_export_set_new ("disk.img", &st);
  im_export_set_add_block (set, IM_EXPORT_DISK, "disk", NULL, disk, 0);
  set->read_only = false;
  return set;
}

static bool
always_free (ImNbdHost *host)
{
  return true;
}

ImNbdHost *
writable_host (void)
{
  static ImNbdHost host;
  static ImExportSet *set;
  if (!host.exports) {
    set = writable_set ();
    signal (SIGPIPE, SIG_IGN);
    host.exports = im_nbd_exports_new (set, "", NULL, true, NULL);
    host.pool = fixture_resources ()->pool;
    host.take_place = always_free;
  }
  return &host;
}

void
writable_reset (void)
{
  WritableDisk *disk = writable_disk ();
  g_assert_cmpint (ftruncate (disk->fd, 0), ==, 0);
  g_assert_cmpint (ftruncate (disk->fd, (off_t)WRITABLE_SIZE), ==, 0);
  atomic_store (&disk->in_place, false);
  atomic_store (&disk->hold, false);
  atomic_store (&disk->errnum, 0);
  atomic_store (&disk->begun, 0);
  atomic_store (&disk->done, 0);
  atomic_store (&disk->flushes, 0);
  atomic_store (&disk->at_once, 0);
  atomic_store (&disk->flags, 0);
  atomic_store (&disk->longest, 0);
}

bool
writable_holds (uint64_t offset, const void *data, size_t length)
{
  g_autofree uint8_t *expected = g_malloc0 (length), *found = g_malloc (length);
  if (data)
    memcpy (expected, data, length);
  g_assert_cmpint (pread (writable_disk ()->fd, found, length, (off_t)offset), ==,
                   (ssize_t)length);
  return memcmp (expected, found, length) == 0;
}
