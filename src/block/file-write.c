/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changing files: all that ever writes to an image is here. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/file-direct.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
  ZEROES_AT_ONCE = 1 << 20, /* bytes of zeros written by one call */
  PAGE = 4096,              /* of the kernel's cache, or a part of one */
};

_Atomic (const ImFileHooks *) im_file_hooks;

static const ImFileHooks *
hooks (void)
{
  return atomic_load_explicit (&im_file_hooks, memory_order_acquire);
}

/* Asks the test, where one looks on. */
static bool
may_change (ImFile *file, const ImFileChange *change, GError **error)
{
  int failure = hooks () ? hooks ()->before (file, change) : 0;
  if (failure != 0)
    im_set_errno (error, failure, "cannot write at offset %" G_GUINT64_FORMAT,
                  change->offset);
  return failure == 0;
}

/* Remembers that bytes up to END are somebody's data now. */
static void
raise_written (ImFile *file, uint64_t end)
{
  unsigned long long seen = atomic_load_explicit (&file->written, memory_order_relaxed);
  while (seen < end && !atomic_compare_exchange_weak (&file->written, &seen, end))
    continue;
}

static void
note_change (ImFile *file, const ImFileChange *change)
{
  if (hooks ())
    hooks ()->after (file, change);
}

/* Writes inside the file; im_file_extend alone makes it longer. */
static bool
check_inside (const ImFile *file, uint64_t length, uint64_t offset, GError **error)
{
  uint64_t size = im_file_size (file);
  if (im_range_fits (offset, length, size))
    return true;
  im_set_errno (error, ENOSPC,
                "%" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT
                " of a file of %" G_GUINT64_FORMAT,
                length, offset, size);
  return false;
}

/* Writes N ≤ IM_IO_BATCH ranges through the page cache. */
static bool
write_cached (ImFile *file, const ImFileRange *ranges, size_t n, int flags,
              GError **error)
{
  ImIo ios[IM_IO_BATCH];
  for (size_t i = 0; i < n; i++)
    ios[i] = (ImIo){.fd = flags & RWF_DSYNC ? file->durable_fd : file->fd,
                    .write = true,
                    .flags = flags,
                    .unit = 1,
                    .offset = ranges[i].offset,
                    .iov = ranges[i].iov,
                    .n = ranges[i].n};
  im_io_run (file->engine, ios, n);
  for (size_t i = 0; i < n; i++)
    if (ios[i].failure != 0) {
      im_file_set_io_error (file, &ios[i], error);
      return false;
    }
  return true;
}

static bool
write_ranges (ImFile *file, const ImFileRange *ranges, size_t n, bool durable,
              GError **error)
{
  int flags = durable ? RWF_DSYNC : 0;
  return im_file_is_direct (file) ? im_direct_write (file, ranges, n, flags, error)
                                  : write_cached (file, ranges, n, flags, error);
}

/* Is a write to be durable when it returns, for which the caller ASKED or not? */
static bool
is_durable (const ImFile *file, bool asked)
{
  return im_file_writes_through (file) || (asked && file->cache != IM_CACHE_UNSAFE);
}

/* Has CHANGE, of RANGE, been allowed?  From then on these bytes are somebody's data. */
static bool
begin_write (ImFile *file, const ImFileRange *range, bool durable, ImFileChange *change,
             GError **error)
{
  *change = (ImFileChange){.kind = IM_FILE_WRITE,
                           .offset = range->offset,
                           .length = im_iov_length (range->iov, range->n),
                           .iov = range->iov,
                           .n = range->n,
                           .durable = durable};
  if (!check_inside (file, change->length, change->offset, error) ||
      !may_change (file, change, error))
    return false;
  raise_written (file, change->offset + change->length);
  return true;
}

/* Writes N ≤ IM_IO_BATCH ranges; from the first on that may not be written, none. */
static bool
write_some (ImFile *file, const ImFileRange *ranges, size_t n, bool durable,
            GError **error)
{
  ImFileChange changes[IM_IO_BATCH];
  size_t begun = 0;
  while (begun < n && begin_write (file, &ranges[begun], durable, &changes[begun], error))
    begun++;
  bool written = write_ranges (file, ranges, begun, durable, begun == n ? error : NULL);
  for (size_t i = 0; written && i < begun; i++)
    note_change (file, &changes[i]);
  return written && begun == n;
}

bool
im_file_write_batch (ImFile *file, const ImFileRange *ranges, size_t n, bool durable,
                     GError **error)
{
  durable = is_durable (file, durable);
  for (size_t done = 0, now; done < n; done += now) {
    now = im_min (n - done, IM_IO_BATCH);
    if (!write_some (file, ranges + done, now, durable, error))
      return false;
  }
  return true;
}

bool
im_file_pwritev (ImFile *file, const struct iovec *iov, size_t n, uint64_t offset,
                 bool durable, GError **error)
{
  ImFileRange range = {.iov = iov, .n = n, .offset = offset};
  return im_file_write_batch (file, &range, 1, durable, error);
}

bool
im_file_pwrite (ImFile *file, const void *buf, size_t len, uint64_t offset, bool durable,
                GError **error)
{
  struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
  return im_file_pwritev (file, &iov, 1, offset, durable, error);
}

bool
im_file_writes_to_memory (const ImFile *file)
{
  return file->cache == IM_CACHE_WRITEBACK || file->cache == IM_CACHE_UNSAFE;
}

/* Is the page that OFFSET cuts in two in memory?  The rest of it is needed. */
static bool
has_page (ImFile *file, uint64_t offset)
{
  uint8_t byte;
  return offset % PAGE == 0 || im_file_pread_nowait (file, &byte, 1, offset);
}

bool
im_file_pwrite_nowait (ImFile *file, const void *buf, size_t len, uint64_t offset)
{
  return im_file_writes_to_memory (file) && has_page (file, offset) &&
         has_page (file, offset + len) &&
         im_file_pwrite (file, buf, len, offset, false, NULL);
}

/* With the resize mutex held. */
static bool
resize_locked (ImFile *file, uint64_t size, GError **error)
{
  ImFileChange change = {.kind = IM_FILE_RESIZE, .offset = size};
  if (!may_change (file, &change, error))
    return false;
  if (ftruncate (file->fd, (off_t)size) < 0) {
    im_set_errno (error, errno, "cannot make the file %" G_GUINT64_FORMAT " bytes long",
                  size);
    return false;
  }
  atomic_store_explicit (&file->size, size, memory_order_release);
  note_change (file, &change);
  return true;
}

/* Makes the file SIZE bytes long, unless it is longer already, or SHRINK and shorter. */
static bool
resize (ImFile *file, uint64_t size, bool shrink, GError **error)
{
  ImClaim claim;
  if (im_file_is_direct (file))
    im_direct_claim_end (file, &claim, size);
  pthread_mutex_lock (&file->resize);
  uint64_t now = im_file_size (file);
  bool ok = (shrink ? size >= now : size <= now) || resize_locked (file, size, error);
  pthread_mutex_unlock (&file->resize);
  if (im_file_is_direct (file))
    im_claim_drop (file->claims, &claim);
  return ok;
}

bool
im_file_extend (ImFile *file, uint64_t size, GError **error)
{
  if (size <= im_file_size (file))
    return true;
  if (!S_ISREG (file->st.st_mode))
    return check_inside (file, size, 0, error);
  return resize (file, size, false, error);
}

bool
im_file_shrink (ImFile *file, uint64_t size, GError **error)
{
  /* Whatever the caller's tables say, no written byte is cut off. */
  return !S_ISREG (file->st.st_mode) ||
         resize (file, im_max (size, atomic_load (&file->written)), true, error);
}

/* True where MODE worked; otherwise errno tells. */
static bool
fallocate_range (ImFile *file, int mode, uint64_t offset, uint64_t length)
{
  ImClaim claim;
  int status, failure;
  if (im_file_is_direct (file))
    im_direct_claim (file, &claim, offset, length);
  do
    status =
        fallocate (file->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
  while (status < 0 && errno == EINTR);
  failure = errno;
  if (im_file_is_direct (file))
    im_claim_drop (file->claims, &claim);
  errno = failure;
  return status == 0;
}

/* Is ERRNUM a file system's or device's way to say that it does not know how? */
static bool
is_unsupported (int errnum)
{
  return errnum == EOPNOTSUPP || errnum == ENOSYS || errnum == ENODEV ||
         errnum == EINVAL || errnum == ENOTTY;
}

bool
im_file_reserve (ImFile *file, uint64_t offset, uint64_t length, GError **error)
{
  if (fallocate_range (file, 0, offset, length) || is_unsupported (errno))
    return true;
  im_set_errno (error, errno, "cannot reserve space at offset %" G_GUINT64_FORMAT,
                offset);
  return false;
}

static bool
write_zeros_out (ImFile *file, uint64_t offset, uint64_t length, GError **error)
{
  static const _Alignas(4096) uint8_t zeros[ZEROES_AT_ONCE];
  for (uint64_t done = 0; done < length;) {
    size_t n = (size_t)im_min (length - done, sizeof zeros);
    struct iovec iov = {.iov_base = (void *)zeros, .iov_len = n};
    ImFileRange range = {.iov = &iov, .n = 1, .offset = offset + done};
    if (!write_ranges (file, &range, 1, im_file_writes_through (file), error))
      return false;
    done += n;
  }
  return true;
}

/* Had a full file system no room to note a hole?  By then it may have dropped what the
 * page cache held, and old bytes of the medium are seen again: zeros have to be written
 * there, which where there are bytes needs no room. */
static bool
is_out_of_space (int errnum)
{
  return errnum == ENOSPC || errnum == EDQUOT;
}

/* 0 where the kernel made the range zeros by MODE, else why not. */
static int
zero_by (ImFile *file, int mode, uint64_t offset, uint64_t length)
{
  return fallocate_range (file, mode, offset, length) ? 0 : errno;
}

static bool
zero_range (ImFile *file, uint64_t offset, uint64_t length, bool may_unmap, bool fast,
            GError **error)
{
  if (length == 0)
    return true;
  int punching =
      may_unmap ? zero_by (file, FALLOC_FL_PUNCH_HOLE, offset, length) : ENOTSUP;
  if (punching == 0)
    return true;
  int zeroing = zero_by (file, FALLOC_FL_ZERO_RANGE, offset, length);
  if (zeroing == 0)
    return true;
  bool dropped = is_out_of_space (punching) || is_out_of_space (zeroing);
  if (dropped || (is_unsupported (zeroing) && !fast))
    return write_zeros_out (file, offset, length, error);
  im_set_errno (error, is_unsupported (zeroing) ? ENOTSUP : zeroing,
                "cannot zero at offset %" G_GUINT64_FORMAT, offset);
  return false;
}

bool
im_file_write_zeroes (ImFile *file, uint64_t offset, uint64_t length, bool may_unmap,
                      bool fast, GError **error)
{
  ImFileChange change = {.kind = IM_FILE_ZERO, .offset = offset, .length = length};
  if (!check_inside (file, length, offset, error) || !may_change (file, &change, error) ||
      !zero_range (file, offset, length, may_unmap, fast, error))
    return false;
  note_change (file, &change);
  /* No descriptor's flag makes fallocate durable. */
  return !im_file_writes_through (file) || im_file_sync (file, error);
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
  ImFileChange change = {.kind = IM_FILE_DISCARD, .offset = offset, .length = length};
  if (!check_inside (file, length, offset, error) || !may_change (file, &change, error))
    return false;
  bool done =
      length == 0 || (S_ISBLK (file->st.st_mode)
                          ? discard_device (file, offset, length)
                          : fallocate_range (file, FALLOC_FL_PUNCH_HOLE, offset, length));
  if (!done && is_out_of_space (errno)) {
    if (!write_zeros_out (file, offset, length, error))
      return false;
    done = true;
  }
  if (!done && !is_unsupported (errno)) {
    im_set_errno (error, errno, "cannot discard at offset %" G_GUINT64_FORMAT, offset);
    return false;
  }
  if (done)
    note_change (file, &change);
  return true;
}
