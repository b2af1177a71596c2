/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file that shows the disk or a part of it, and all the ways through it. */
#include "view.h"
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static void
look_at_device (int fd, ViewPlace *place)
{
  int sector, read_only;
  if (ioctl (fd, BLKSSZGET, &sector) < 0 || ioctl (fd, BLKROGET, &read_only) < 0 ||
      ioctl (fd, BLKGETSIZE64, &place->size) < 0)
    err (1, "%s", place->path);
  place->sector = (uint32_t)sector;
  place->kind = VIEW_DEVICE | (read_only ? 0 : VIEW_WRITABLE);
}

static void
look_at_file (const struct stat *st, ViewPlace *place)
{
  place->sector = 1;
  place->size = (uint64_t)st->st_size;
  place->kind = VIEW_FILE | (access (place->path, W_OK) == 0 ? VIEW_WRITABLE : 0);
}

void
view_place_parse (char *text, ViewPlace *ret_place)
{
  char *at = strrchr (text, '@');
  if (!at)
    errx (1, "%s: not PATH@BASE", text);
  *at = '\0';
  *ret_place = (ViewPlace){.path = text, .base = strtoull (at + 1, NULL, 0)};
  struct stat st;
  int fd = open (text, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat (fd, &st) < 0)
    err (1, "%s", text);
  if (S_ISBLK (st.st_mode))
    look_at_device (fd, ret_place);
  else
    look_at_file (&st, ret_place);
  close (fd);
}

static int
open_it (const ViewPlace *place, int flags)
{
  int fd = open (place->path, flags | O_CLOEXEC);
  if (fd < 0)
    err (1, "%s: open with flags %#o", place->path, (unsigned)flags);
  return fd;
}

static const uint8_t *
map_it (const ViewPlace *place, int fd, int flags)
{
  void *map = mmap (NULL, place->size, PROT_READ, flags, fd, 0);
  if (map == MAP_FAILED)
    err (1, "%s: mmap", place->path);
  return map;
}

static void
open_device (const ViewPlace *place, View *ret_view)
{
  ret_view->direct =
      open_it (place, (place->kind & VIEW_WRITABLE ? O_RDWR : O_RDONLY) | O_DIRECT);
}

void
view_open (const ViewPlace *place, View *ret_view)
{
  *ret_view =
      (View){.place = place, .reader = -1, .writer = -1, .direct = -1, .durable = -1};
  if (place->kind & VIEW_DEVICE) {
    open_device (place, ret_view);
    return;
  }
  bool writes = place->kind & VIEW_WRITABLE;
  ret_view->reader = open_it (place, O_RDONLY);
  ret_view->direct = open_it (place, (writes ? O_RDWR : O_RDONLY) | O_DIRECT);
  ret_view->shared = map_it (place, ret_view->reader, MAP_SHARED);
  ret_view->private = map_it (place, ret_view->reader, MAP_PRIVATE);
  if (!writes)
    return;
  ret_view->writer = open_it (place, O_RDWR);
  ret_view->durable = open_it (place, O_WRONLY | O_DSYNC);
  ret_view->writers = map_it (place, ret_view->writer, MAP_PRIVATE);
}

static void
close_one (int fd)
{
  if (fd >= 0)
    close (fd);
}

static void
unmap_one (const ViewPlace *place, const uint8_t *map)
{
  if (map)
    munmap ((void *)(uintptr_t)map, place->size);
}

void
view_close (View *view)
{
  unmap_one (view->place, view->shared);
  unmap_one (view->place, view->private);
  unmap_one (view->place, view->writers);
  close_one (view->reader);
  close_one (view->writer);
  close_one (view->direct);
  close_one (view->durable);
}

/* Inside a disk nothing is done by halves, but where a signal came. */
static bool
whole (ssize_t done, size_t n)
{
  if (done >= 0 && (size_t)done != n)
    errno = ENODATA;
  return done >= 0 && (size_t)done == n;
}

static bool
read_reader (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return whole (pread (view->reader, buf, n, (off_t)at), n);
}

static bool
read_writer (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return whole (pread (view->writer, buf, n, (off_t)at), n);
}

static bool
read_direct (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return whole (pread (view->direct, buf, n, (off_t)at), n);
}

static bool
read_vectors (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  struct iovec iov[3] = {
      {buf, n / 3}, {buf + n / 3, n / 3}, {buf + n / 3 * 2, n - n / 3 * 2}};
  return whole (preadv (view->reader, iov, 3, (off_t)at), n);
}

static bool
read_opened_anew (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  int fd = open_it (view->place, O_RDONLY);
  bool read = whole (pread (fd, buf, n, (off_t)at), n);
  close (fd);
  return read;
}

static bool
read_shared_map (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  memcpy (buf, view->shared + at, n);
  return true;
}

static bool
read_private_map (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  memcpy (buf, view->private + at, n);
  return true;
}

static bool
read_writers_map (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  memcpy (buf, view->writers + at, n);
  return true;
}

/* By splice, by way of a pipe: pages move, no bytes are copied. */
static bool
read_spliced (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  int pipe_fds[2];
  if (pipe2 (pipe_fds, O_CLOEXEC) < 0)
    return false;
  size_t done = 0;
  while (done < n) {
    loff_t from = (loff_t)(at + done);
    ssize_t got = splice (view->reader, &from, pipe_fds[1], NULL, n - done, 0);
    if (got <= 0)
      break;
    for (ssize_t left = got; left > 0;) {
      ssize_t more = read (pipe_fds[0], buf + done, (size_t)left);
      if (more <= 0)
        err (1, "a pipe");
      left -= more;
      done += (size_t)more;
    }
  }
  close (pipe_fds[0]);
  close (pipe_fds[1]);
  return whole ((ssize_t)done, n);
}

static bool
read_sent (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  int fd = memfd_create ("sent", MFD_CLOEXEC);
  off_t from = (off_t)at;
  size_t done = 0;
  for (ssize_t got = 1; done < n && got > 0; done += (size_t)(got > 0 ? got : 0))
    got = sendfile (fd, view->reader, &from, n - done);
  bool read = done == n && whole (pread (fd, buf, n, 0), n);
  close (fd);
  return read;
}

static bool
write_writer (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return whole (pwrite (view->writer, buf, n, (off_t)at), n);
}

static bool
write_direct (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return whole (pwrite (view->direct, buf, n, (off_t)at), n);
}

static bool
write_durable (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return whole (pwrite (view->durable, buf, n, (off_t)at), n);
}

static bool
write_vectors (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  struct iovec iov[2] = {{buf, n / 2}, {buf + n / 2, n - n / 2}};
  return whole (pwritev (view->writer, iov, 2, (off_t)at), n);
}

static bool
write_spliced (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  int pipe_fds[2];
  if (pipe2 (pipe_fds, O_CLOEXEC) < 0)
    return false;
  size_t done = 0;
  while (done < n) {
    size_t part = n - done < 4096 ? n - done : 4096;
    loff_t to = (loff_t)(at + done);
    if (!whole (write (pipe_fds[1], buf + done, part), part) ||
        !whole (splice (pipe_fds[0], NULL, view->writer, &to, part, 0), part))
      break;
    done += part;
  }
  close (pipe_fds[0]);
  close (pipe_fds[1]);
  return done == n;
}

static bool
punch (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return fallocate (view->writer, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
                    (off_t)n) == 0;
}

static bool
zero (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return fallocate (view->writer, FALLOC_FL_ZERO_RANGE, (off_t)at, (off_t)n) == 0;
}

static bool
device_range (View *view, unsigned long request, size_t n, uint64_t at)
{
  uint64_t range[2] = {at, n};
  return ioctl (view->direct, request, range) == 0;
}

/* A loop device punches a hole, and a punched hole reads as zeros. */
static bool
device_discard (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return device_range (view, BLKDISCARD, n, at) || errno == EOPNOTSUPP;
}

static bool
device_zero (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return device_range (view, BLKZEROOUT, n, at);
}

/* BUF gets ones for data, zeros for what was said to be a hole. */
static bool
seek_data (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  off_t data = lseek (view->reader, (off_t)at, SEEK_DATA);
  if (data < 0 && errno != ENXIO)
    return false;
  size_t hole = data < 0 || (uint64_t)data - at > n ? n : (size_t)((uint64_t)data - at);
  memset (buf, 0, hole);
  memset (buf + hole, 1, n - hole);
  return true;
}

static bool
sync_all (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return fsync (view->writer) == 0;
}

static bool
sync_data (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return fdatasync (view->direct) == 0;
}

static bool
reopen (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  const ViewPlace *place = view->place;
  view_close (view);
  view_open (place, view);
  return true;
}

static bool
truncate_without_effect (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  struct stat st;
  close (open_it (view->place, O_WRONLY | O_TRUNC));
  return ftruncate (view->writer, (off_t)at) == 0 && fstat (view->reader, &st) == 0 &&
         (uint64_t)st.st_size == view->place->size;
}

static bool
drop_cached (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return posix_fadvise (view->reader, (off_t)at, (off_t)n, POSIX_FADV_DONTNEED) == 0 &&
         madvise ((void *)(uintptr_t)view->shared, view->place->size, MADV_DONTNEED) == 0;
}

static bool
read_ahead (View *view, uint8_t *buf, size_t n, uint64_t at)
{
  return readahead (view->reader, (off_t)at, n) == 0;
}

#define FILES   VIEW_FILE
#define WRITES  (VIEW_FILE | VIEW_WRITABLE)
#define DEVICES VIEW_DEVICE
#define CHANGES (VIEW_DEVICE | VIEW_WRITABLE)

const ViewAction view_actions[] = {
    {"read", DO_READ, FILES, 8, read_reader},
    {"read by a writer", DO_READ, WRITES, 4, read_writer},
    {"read directly", DO_READ, FILES, 4, read_direct},
    {"read into vectors", DO_READ, FILES, 2, read_vectors},
    {"read, opened anew", DO_READ, FILES, 4, read_opened_anew},
    {"read a shared map", DO_READ, FILES, 8, read_shared_map},
    {"read a private map", DO_READ, FILES, 5, read_private_map},
    {"read a writer's map", DO_READ, WRITES, 3, read_writers_map},
    {"read by splice", DO_READ, FILES, 3, read_spliced},
    {"read by sendfile", DO_READ, FILES, 2, read_sent},
    {"read a device", DO_READ, DEVICES, 8, read_direct},
    {"write", DO_WRITE, WRITES, 16, write_writer},
    {"write directly", DO_WRITE, WRITES, 6, write_direct},
    {"write durably", DO_WRITE, WRITES, 1, write_durable},
    {"write from vectors", DO_WRITE, WRITES, 2, write_vectors},
    {"write by splice", DO_WRITE, WRITES, 2, write_spliced},
    {"write a device", DO_WRITE, CHANGES, 8, write_direct},
    {"punch", DO_ZERO, WRITES, 3, punch},
    {"zero", DO_ZERO, WRITES, 3, zero},
    {"discard of a device", DO_ZERO, CHANGES, 2, device_discard},
    {"zero a device", DO_ZERO, CHANGES, 2, device_zero},
    {"seek data", DO_SEEK, FILES, 2, seek_data},
    {"fsync", DO_NOTHING, WRITES, 1, sync_all},
    {"fdatasync", DO_NOTHING, VIEW_WRITABLE, 1, sync_data},
    {"reopen", DO_NOTHING, 0, 1, reopen},
    {"truncate", DO_NOTHING, WRITES, 1, truncate_without_effect},
    {"drop pages", DO_NOTHING, FILES, 2, drop_cached},
    {"read ahead", DO_NOTHING, FILES, 2, read_ahead},
};

const unsigned n_view_actions = sizeof view_actions / sizeof view_actions[0];
