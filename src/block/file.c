/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of an open file, and reading it. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/file-direct.h"

#include <errno.h>
#include <unistd.h>

bool
im_stat_is_same (const struct stat *a, const struct stat *b)
{
  if (S_ISBLK (a->st_mode) || S_ISBLK (b->st_mode))
    return (a->st_mode & S_IFMT) == (b->st_mode & S_IFMT) && a->st_rdev == b->st_rdev;
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool
im_file_is_same (const ImFile *file, const struct stat *st)
{
  return im_stat_is_same (&file->st, st);
}

ImFile *
im_file_ref (ImFile *file)
{
  atomic_fetch_add (&file->references, 1);
  return file;
}

void
im_file_unref (ImFile *file)
{
  if (!file || atomic_fetch_sub (&file->references, 1) != 1)
    return;
  close (file->fd);
  if (file->durable_fd >= 0)
    close (file->durable_fd);
  if (file->cached_fd >= 0)
    close (file->cached_fd);
  im_claims_free (file->claims);
  pthread_mutex_destroy (&file->resize);
  pthread_mutex_destroy (&file->filled.mutex);
  pthread_mutex_destroy (&file->syncs.mutex);
  pthread_cond_destroy (&file->syncs.ended);
  g_free (file->path);
  g_free (file);
}

const char *
im_file_path (const ImFile *file)
{
  return file->path;
}

uint64_t
im_file_id (const ImFile *file)
{
  return file->id;
}

uint64_t
im_file_size (const ImFile *file)
{
  return atomic_load_explicit (&file->size, memory_order_acquire);
}

int
im_file_fd (const ImFile *file)
{
  return file->fd;
}

const struct stat *
im_file_stat (const ImFile *file)
{
  return &file->st;
}

bool
im_file_is_writable (const ImFile *file)
{
  return file->writable;
}

bool
im_file_has_holes (const ImFile *file)
{
  return S_ISREG (file->st.st_mode);
}

bool
im_file_is_sparse (const ImFile *file)
{
  struct stat st;
  return im_file_has_holes (file) && fstat (file->fd, &st) == 0 &&
         (uint64_t)st.st_blocks < (uint64_t)st.st_size / 512;
}

bool
im_file_writes_through (const ImFile *file)
{
  return file->cache == IM_CACHE_WRITETHROUGH || file->cache == IM_CACHE_DIRECTSYNC;
}

bool
im_file_is_direct (const ImFile *file)
{
  return file->block > 0;
}

uint32_t
im_file_unit (const ImFile *file)
{
  return im_file_is_direct (file) ? file->block : 1;
}

void
im_file_set_io_error (const ImFile *file, const ImIo *io, GError **error)
{
  if (io->failure != 0)
    im_set_errno (error, io->failure, "cannot %s at offset %" G_GUINT64_FORMAT,
                  io->write ? "write" : "read", io->offset);
  else
    im_set_errno (error, EIO,
                  "the file ends at offset %" G_GUINT64_FORMAT
                  ", it had %" G_GUINT64_FORMAT " bytes when it was opened",
                  io->offset, im_file_size (file));
}

/* Bytes of RANGE that lie in the file; those behind its end are zeros. */
static size_t
length_inside (const ImFileRange *range, uint64_t size)
{
  uint64_t length = im_iov_length (range->iov, range->n);
  return range->offset < size ? (size_t)im_min (length, size - range->offset) : 0;
}

/* Reads N ≤ IM_IO_BATCH ranges through the page cache, as far as the file goes. */
static bool
read_cached (ImFile *file, const ImFileRange *ranges, size_t n, uint64_t size,
             GError **error)
{
  ImIo ios[IM_IO_BATCH];
  for (size_t i = 0; i < n; i++)
    ios[i] = (ImIo){.fd = file->fd,
                    .unit = 1,
                    .offset = ranges[i].offset,
                    .iov = ranges[i].iov,
                    .n = ranges[i].offset < size ? ranges[i].n : 0};
  im_io_run (file->engine, ios, n);
  for (size_t i = 0; i < n; i++)
    if (ios[i].failure != 0 || ios[i].done < length_inside (&ranges[i], size)) {
      im_file_set_io_error (file, &ios[i], error);
      return false;
    }
  return true;
}

static void
clear_outside (const ImFileRange *range, uint64_t size)
{
  size_t inside = length_inside (range, size);
  im_iov_clear (range->iov, inside, im_iov_length (range->iov, range->n) - inside);
}

bool
im_file_read_batch (ImFile *file, const ImFileRange *ranges, size_t n, GError **error)
{
  uint64_t size = im_file_size (file);
  for (size_t done = 0, now; done < n; done += now) {
    now = im_min (n - done, IM_IO_BATCH);
    if (!(im_file_is_direct (file)
              ? im_direct_read (file, ranges + done, now, size, error)
              : read_cached (file, ranges + done, now, size, error)))
      return false;
  }
  for (size_t i = 0; i < n; i++)
    clear_outside (&ranges[i], size);
  return true;
}

bool
im_file_preadv (ImFile *file, const struct iovec *iov, size_t n, uint64_t offset,
                GError **error)
{
  ImFileRange range = {.iov = iov, .n = n, .offset = offset};
  return im_file_read_batch (file, &range, 1, error);
}

bool
im_file_pread (ImFile *file, void *buf, size_t len, uint64_t offset, GError **error)
{
  struct iovec iov = {.iov_base = buf, .iov_len = len};
  return im_file_preadv (file, &iov, 1, offset, error);
}

bool
im_file_pread_nowait (ImFile *file, void *buf, size_t len, uint64_t offset)
{
  char *to = buf;
  uint64_t size = im_file_size (file);
  if (im_file_is_direct (file) && offset < size)
    return false;
  while (len > 0 && offset < size) {
    struct iovec iov = {.iov_base = to, .iov_len = len};
    ssize_t got =
        preadv2 (file->fd, &iov, 1, (off_t)offset, file->in_memory ? 0 : RWF_NOWAIT);
    if (got <= 0)
      return false;
    to += got;
    offset += (uint64_t)got;
    len -= (size_t)got;
  }
  memset (to, 0, len);
  return true;
}

/* Beyond this tmpfs rounds up to a page and overflows, so that it finds no data where
 * some is; pages have 64 KiB at the most. */
#define LAST_TOLD ((uint64_t)INT64_MAX - (64u << 10))

void
im_file_find_run (ImFile *file, uint64_t offset, uint64_t len, bool *ret_data,
                  uint64_t *ret_run)
{
  uint64_t size = im_file_size (file);
  *ret_data = offset < size;
  *ret_run = len;
  if (!*ret_data)
    return;
  uint64_t left = im_min (len, size - offset);
  if (!im_file_has_holes (file)) {
    *ret_run = left;
    return;
  }
  off_t data = lseek (file->fd, (off_t)offset, SEEK_DATA);
  if (data < 0 && errno == ENXIO) {
    *ret_data = offset > LAST_TOLD;
    *ret_run = *ret_data ? left : len;
    return;
  }
  if (data > (off_t)offset) {
    *ret_data = false;
    *ret_run = im_min (len, (uint64_t)data - offset);
    return;
  }
  off_t hole = data < 0 ? -1 : lseek (file->fd, (off_t)offset, SEEK_HOLE);
  *ret_run = hole > (off_t)offset ? im_min (left, (uint64_t)hole - offset) : left;
}
