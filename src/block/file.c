/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Regular files and block devices, read. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/file-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

static atomic_ullong next_id = 1;

/* Refuses what is neither a regular file nor a block device. */
static bool
check_kind (mode_t mode, GError **error)
{
  const char *what = S_ISDIR (mode)    ? "a directory"
                     : S_ISFIFO (mode) ? "a FIFO"
                     : S_ISSOCK (mode) ? "a socket"
                     : S_ISCHR (mode)  ? "a character device"
                                       : NULL;
  if (!what)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "is %s, not a regular file or a block device", what);
  return false;
}

/* Opens with ACCESS (O_RDONLY or O_RDWR and flags) without waiting for anything, and
 * where the owner allows it without leaving a trace in the access time.  -1 and an error
 * otherwise. */
static int
open_quietly (const char *path, int access, GError **error)
{
  struct stat st;
  if (stat (path, &st) < 0) {
    im_set_errno (error, errno, "cannot open");
    return -1;
  }
  if (!check_kind (st.st_mode, error))
    return -1;
  const int flags = access | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  int fd = open (path, flags | O_NOATIME);
  if (fd < 0 && errno == EPERM)
    fd = open (path, flags);
  if (fd < 0)
    im_set_errno (error, errno, "cannot open");
  return fd;
}

static bool
find_size (ImFile *file, GError **error)
{
  uint64_t size = (uint64_t)file->st.st_size;
  if (S_ISBLK (file->st.st_mode) && ioctl (file->fd, BLKGETSIZE64, &size) < 0) {
    im_set_errno (error, errno, "cannot find the device's size");
    return false;
  }
  atomic_init (&file->size, size);
  return true;
}

ImFile *
im_file_take_fd (int fd, const char *path, GError **error)
{
  g_autoptr (ImFile) file = g_new0 (ImFile, 1);
  atomic_init (&file->references, 1);
  pthread_mutex_init (&file->resize, NULL);
  file->fd = fd;
  file->id = atomic_fetch_add (&next_id, 1);
  file->path = g_canonicalize_filename (path, NULL);
  if (fstat (fd, &file->st) < 0) {
    im_set_errno (error, errno, "cannot stat");
    return NULL;
  }
  /* Looked at again, since the name may lead elsewhere by now. */
  if (!check_kind (file->st.st_mode, error) || !find_size (file, error))
    return NULL;
  struct statfs fs;
  file->in_memory = fstatfs (fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
  return g_steal_pointer (&file);
}

static ImFile *
open_file (const char *path, int access, GError **error)
{
  int fd = open_quietly (path, access, error);
  if (fd < 0)
    return NULL;
  g_autoptr (ImFile) file = im_file_take_fd (fd, path, error);
  if (file && fcntl (fd, F_SETFL, fcntl (fd, F_GETFL) & ~O_NONBLOCK) < 0) {
    im_set_errno (error, errno, "cannot set the file's flags");
    return NULL;
  }
  return g_steal_pointer (&file);
}

ImFile *
im_file_open_read_only (const char *path, GError **error)
{
  return open_file (path, O_RDONLY, error);
}

ImFile *
im_file_open_writable (const char *path, ImCacheMode cache, GError **error)
{
  ImFile *file =
      open_file (path, cache == IM_CACHE_WRITETHROUGH ? O_RDWR | O_DSYNC : O_RDWR, error);
  if (file) {
    file->writable = true;
    file->cache = cache;
  }
  return file;
}

bool
im_file_is_same (const ImFile *file, const struct stat *st)
{
  if (S_ISBLK (st->st_mode) || S_ISBLK (file->st.st_mode))
    return (st->st_mode & S_IFMT) == (file->st.st_mode & S_IFMT) &&
           st->st_rdev == file->st.st_rdev;
  return st->st_dev == file->st.st_dev && st->st_ino == file->st.st_ino;
}

bool
im_file_is_writable (const ImFile *file)
{
  return file->writable;
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
  pthread_mutex_destroy (&file->resize);
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
im_file_has_holes (const ImFile *file)
{
  return S_ISREG (file->st.st_mode);
}

void
im_iov_advance (struct iovec **iov, size_t *n, size_t done)
{
  while (*n > 0 && done >= (*iov)->iov_len) {
    done -= (*iov)->iov_len;
    (*iov)++;
    (*n)--;
  }
  if (done > 0 && *n > 0) {
    (*iov)->iov_base = (char *)(*iov)->iov_base + done;
    (*iov)->iov_len -= done;
  }
}

static void
zero_rest (struct iovec *iov, size_t n)
{
  for (size_t i = 0; i < n; i++)
    memset (iov[i].iov_base, 0, iov[i].iov_len);
}

bool
im_file_preadv (ImFile *file, struct iovec *iov, size_t n, uint64_t offset,
                GError **error)
{
  uint64_t size = im_file_size (file);
  im_iov_advance (&iov, &n, 0);
  while (n > 0 && offset < size) {
    ssize_t got = preadv (file->fd, iov, (int)n, (off_t)offset);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0) {
      im_set_errno (error, errno, "cannot read at offset %" G_GUINT64_FORMAT, offset);
      return false;
    }
    if (got == 0) {
      im_set_errno (error, EIO,
                    "the file ends at offset %" G_GUINT64_FORMAT
                    ", it had %" G_GUINT64_FORMAT " bytes when it was opened",
                    offset, size);
      return false;
    }
    offset += (uint64_t)got;
    im_iov_advance (&iov, &n, (size_t)got);
  }
  zero_rest (iov, n);
  return true;
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
    *ret_data = false;
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
