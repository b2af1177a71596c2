/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening regular files and block devices. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/file-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Alignments that a kernel may ask for; no device known has larger blocks. */
enum { BLOCK_SAFE = 4096, BLOCK_MAX = 65536 };

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

static void
set_open_error (int access, GError **error)
{
  if (errno == EINVAL && (access & O_DIRECT))
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "its file system has no direct I/O, which the cache modes none and "
                 "directsync need");
  else if (errno == EBUSY && (access & O_EXCL))
    g_set_error (error, IM_ERROR, IM_ERROR_LOCKED,
                 "is in use: it is mounted, or a part of another device (-r reads it all "
                 "the same)");
  else
    im_set_errno (error, errno, "cannot open");
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
  if (!S_ISBLK (st.st_mode))
    access &= ~O_EXCL;
  const int flags = access | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  int fd = open (path, flags | O_NOATIME);
  if (fd < 0 && errno == EPERM)
    fd = open (path, flags);
  if (fd < 0)
    set_open_error (access, error);
  return fd;
}

/* The kernel opens a device that is write-protected for writing all the same. */
static bool
check_protection (int fd, int access, const struct stat *st, GError **error)
{
  int read_only = 0;
  if (!S_ISBLK (st->st_mode) || (access & O_ACCMODE) == O_RDONLY ||
      ioctl (fd, BLKROGET, &read_only) < 0 || !read_only)
    return true;
  im_set_errno (error, EROFS, "is write-protected");
  return false;
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

/* Opens PATH with ACCESS as open_quietly does, and makes the descriptor an ordinary one.
 * O_EXCL claims a block device, once: nobody mounts it meanwhile, and nobody has. */
static int
open_descriptor (const char *path, int access, struct stat *ret_stat, GError **error)
{
  int fd = open_quietly (path, access, error);
  if (fd < 0)
    return -1;
  const char *failed = NULL;
  if (fstat (fd, ret_stat) < 0)
    failed = "cannot stat";
  else if (fcntl (fd, F_SETFL, fcntl (fd, F_GETFL) & ~O_NONBLOCK) < 0)
    failed = "cannot set the file's flags";
  if (failed)
    im_set_errno (error, errno, "%s", failed);
  /* Looked at again, since the name may lead elsewhere by now. */
  if (!failed && check_kind (ret_stat->st_mode, error) &&
      check_protection (fd, access, ret_stat, error))
    return fd;
  close (fd);
  return -1;
}

static bool
is_alignment (uint64_t n)
{
  return im_is_power_of_2 (n) && n <= BLOCK_MAX;
}

/* What the kernel says of itself, since 6.1. */
static bool
ask_alignment (ImFile *file)
{
#ifdef STATX_DIOALIGN
  struct statx st;
  if (statx (file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) == 0 &&
      (st.stx_mask & STATX_DIOALIGN) && is_alignment (st.stx_dio_offset_align) &&
      is_alignment (st.stx_dio_mem_align)) {
    file->block = st.stx_dio_offset_align;
    file->memory = st.stx_dio_mem_align;
    return true;
  }
#endif
  int sector = 0;
  if (S_ISBLK (file->st.st_mode) && ioctl (file->fd, BLKSSZGET, &sector) == 0 &&
      is_alignment ((uint64_t)sector)) {
    file->block = file->memory = (uint32_t)sector;
    return true;
  }
  return false;
}

/* The least alignment from BLOCK_SAFE on with which the file can be read: more than it
 * may need costs a little, less would fail. */
static bool
try_alignment (ImFile *file, GError **error)
{
  void *buffer;
  int failure = posix_memalign (&buffer, BLOCK_MAX, BLOCK_MAX);
  if (failure == 0) {
    failure = EINVAL;
    for (uint32_t n = BLOCK_SAFE; n <= BLOCK_MAX && failure == EINVAL; n *= 2) {
      file->block = file->memory = n;
      failure = pread (file->fd, buffer, n, 0) < 0 ? errno : 0;
    }
    free (buffer);
  }
  if (failure != 0)
    im_set_errno (error, failure, "cannot find the alignment for direct I/O");
  return failure == 0;
}

/* A further descriptor of the file, which has its name since a moment ago. */
static bool
open_again (const ImFile *file, int access, int *ret_fd, GError **error)
{
  struct stat st;
  *ret_fd = open_descriptor (file->path, access, &st, error);
  if (*ret_fd < 0)
    return false;
  if (st.st_dev == file->st.st_dev && st.st_ino == file->st.st_ino)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_LOCKED, "was replaced while it was opened");
  return false;
}

static bool
prepare_direct (ImFile *file, int access, GError **error)
{
  if (!ask_alignment (file) && !try_alignment (file, error))
    return false;
  if (file->writable)
    file->claims = im_claims_new ();
  bool regular = S_ISREG (file->st.st_mode);
  bool needs_cache = regular ? file->writable : im_file_size (file) % file->block != 0;
  return !needs_cache || open_again (file, access & ~O_DIRECT, &file->cached_fd, error);
}

static int
access_of (const ImFileMode *mode)
{
  bool direct = mode->cache == IM_CACHE_NONE || mode->cache == IM_CACHE_DIRECTSYNC;
  bool through =
      mode->cache == IM_CACHE_WRITETHROUGH || mode->cache == IM_CACHE_DIRECTSYNC;
  return (mode->writable ? O_RDWR : O_RDONLY) | (direct ? O_DIRECT : 0) |
         (mode->writable && through ? O_DSYNC : 0);
}

ImFile *
im_file_take_fd (int fd, const char *path, const ImFileMode *mode, GError **error)
{
  const ImIoEngine *engine = im_io_engine_find (mode->aio, error);
  struct stat st;
  if (!engine || fstat (fd, &st) < 0) {
    if (engine)
      im_set_errno (error, errno, "cannot stat");
    close (fd);
    return NULL;
  }
  g_autoptr (ImFile) file = g_new0 (ImFile, 1);
  *file = (ImFile){.fd = fd,
                   .durable_fd = -1,
                   .cached_fd = -1,
                   .id = atomic_fetch_add (&next_id, 1),
                   .path = g_canonicalize_filename (path, NULL),
                   .st = st,
                   .cache = mode->cache,
                   .writable = mode->writable,
                   .engine = engine};
  atomic_init (&file->references, 1);
  pthread_mutex_init (&file->resize, NULL);
  pthread_mutex_init (&file->filled.mutex, NULL);
  pthread_mutex_init (&file->syncs.mutex, NULL);
  pthread_cond_init (&file->syncs.ended, NULL);
  struct statfs fs;
  file->in_memory = fstatfs (fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
  int access = access_of (mode);
  bool has_durable = mode->writable && mode->cache != IM_CACHE_UNSAFE;
  if (!find_size (file, error) ||
      (access & O_DIRECT && !prepare_direct (file, access, error)) ||
      (has_durable && !open_again (file, access, &file->durable_fd, error)))
    return NULL;
  return g_steal_pointer (&file);
}

ImFile *
im_file_open (const char *path, const ImFileMode *mode, GError **error)
{
  struct stat st;
  int claim = mode->writable ? O_EXCL : 0;
  int fd = open_descriptor (path, access_of (mode) | claim, &st, error);
  return fd < 0 ? NULL : im_file_take_fd (fd, path, mode, error);
}

ImFile *
im_file_open_read_only (const char *path, GError **error)
{
  return im_file_open (path, &(ImFileMode){.writable = false}, error);
}

ImFile *
im_file_open_writable (const char *path, ImCacheMode cache, GError **error)
{
  return im_file_open (path, &(ImFileMode){.writable = true, .cache = cache}, error);
}
