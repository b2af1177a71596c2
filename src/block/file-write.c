/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changing files: all that ever writes to an image is here. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/file-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { ZEROES_AT_ONCE = 1 << 20 }; /* bytes of zeros written by one call */

/* Writes inside the file as it was opened; nothing here makes it longer. */
static bool
check_inside (const ImFile *file, uint64_t length, uint64_t offset, GError **error)
{
  if (im_range_fits (offset, length, file->size))
    return true;
  im_set_errno (error, ENOSPC,
                "%" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT
                " of a file of %" G_GUINT64_FORMAT,
                length, offset, file->size);
  return false;
}

static bool
write_all (ImFile *file, const void *buf, size_t len, uint64_t offset, bool durable,
           GError **error)
{
  const char *from = buf;
  while (len > 0) {
    struct iovec iov = {.iov_base = (char *)from, .iov_len = len};
    ssize_t put = pwritev2 (file->fd, &iov, 1, (off_t)offset, durable ? RWF_DSYNC : 0);
    if (put < 0 && errno == EINTR)
      continue;
    if (put <= 0) {
      im_set_errno (error, put < 0 ? errno : EIO,
                    "cannot write at offset %" G_GUINT64_FORMAT, offset);
      return false;
    }
    from += put;
    offset += (uint64_t)put;
    len -= (size_t)put;
  }
  return true;
}

bool
im_file_pwrite (ImFile *file, const void *buf, size_t len, uint64_t offset, bool durable,
                GError **error)
{
  return check_inside (file, len, offset, error) &&
         write_all (file, buf, len, offset, durable && file->cache != IM_CACHE_UNSAFE,
                    error);
}

/* True where MODE worked; otherwise errno tells. */
static bool
fallocate_range (ImFile *file, int mode, uint64_t offset, uint64_t length)
{
  int status;
  do
    status =
        fallocate (file->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
  while (status < 0 && errno == EINTR);
  return status == 0;
}

/* Is ERRNUM a file system's or device's way to say that it does not know how? */
static bool
is_unsupported (int errnum)
{
  return errnum == EOPNOTSUPP || errnum == ENOSYS || errnum == ENODEV ||
         errnum == EINVAL || errnum == ENOTTY;
}

static bool
write_zeros_out (ImFile *file, uint64_t offset, uint64_t length, GError **error)
{
  static const uint8_t zeros[ZEROES_AT_ONCE];
  for (uint64_t done = 0; done < length;) {
    size_t n = (size_t)im_min (length - done, sizeof zeros);
    if (!write_all (file, zeros, n, offset + done, false, error))
      return false;
    done += n;
  }
  return true;
}

bool
im_file_write_zeroes (ImFile *file, uint64_t offset, uint64_t length, bool may_unmap,
                      bool fast, GError **error)
{
  if (!check_inside (file, length, offset, error))
    return false;
  if (length == 0 ||
      (may_unmap && fallocate_range (file, FALLOC_FL_PUNCH_HOLE, offset, length)) ||
      fallocate_range (file, FALLOC_FL_ZERO_RANGE, offset, length))
    return true;
  if (!is_unsupported (errno) || fast) {
    im_set_errno (error, is_unsupported (errno) ? ENOTSUP : errno,
                  "cannot zero at offset %" G_GUINT64_FORMAT, offset);
    return false;
  }
  return write_zeros_out (file, offset, length, error);
}

/* A block device takes whole sectors only. */
static bool
discard_device (ImFile *file, uint64_t offset, uint64_t length)
{
  int sector = 512;
  ioctl (file->fd, BLKSSZGET, &sector);
  uint64_t first = im_div_up (offset, (uint64_t)sector) * (uint64_t)sector;
  uint64_t end = (offset + length) / (uint64_t)sector * (uint64_t)sector;
  uint64_t range[2] = {first, end > first ? end - first : 0};
  return range[1] == 0 || ioctl (file->fd, BLKDISCARD, range) == 0;
}

bool
im_file_discard (ImFile *file, uint64_t offset, uint64_t length, GError **error)
{
  if (!check_inside (file, length, offset, error))
    return false;
  bool done =
      length == 0 || (S_ISBLK (file->st.st_mode)
                          ? discard_device (file, offset, length)
                          : fallocate_range (file, FALLOC_FL_PUNCH_HOLE, offset, length));
  if (done || is_unsupported (errno))
    return true;
  im_set_errno (error, errno, "cannot discard at offset %" G_GUINT64_FORMAT, offset);
  return false;
}

bool
im_file_sync (ImFile *file, GError **error)
{
  if (file->cache == IM_CACHE_UNSAFE)
    return true;
  int failure = atomic_load (&file->sync_failure);
  if (failure == 0 && fdatasync (file->fd) < 0) {
    failure = errno;
    int none = 0;
    atomic_compare_exchange_strong (&file->sync_failure, &none, failure);
  }
  if (failure != 0)
    im_set_errno (error, failure, "cannot make the writes durable");
  return failure == 0;
}
