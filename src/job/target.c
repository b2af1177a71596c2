/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files and streams that extracted bytes are written to. */
#include "job/target.h"
#include "base/bytes.h"
#include "base/error.h"
#include "job/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ZEROS_AT_ONCE = 65536 };

struct ImTarget {
  int fd;
  bool owned;                /* fd is to be closed */
  bool seekable;             /* written at offsets: a regular file or a block device */
  bool force;                /* may replace */
  char *path;                /* for messages; of a regular file the name it is to have */
  char *temporary;           /* its name until it is whole; NULL: no regular file */
  const atomic_bool *cancel; /* borrowed, or NULL */
};

static bool
fail (const ImTarget *target, int errnum, GError **error)
{
  im_set_errno (error, errnum, "%s", target->path);
  return false;
}

static mode_t
mode_of_new_files (void)
{
  mode_t mask = umask (0);
  umask (mask);
  return 0666 & ~mask;
}

/* A new file beside PATH, with MODE. */
static bool
open_temporary (ImTarget *target, mode_t mode, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (target->path);
  g_autofree char *name = g_build_filename (folder, ".imgmount-XXXXXX", NULL);
  target->fd = mkostemp (name, O_CLOEXEC);
  if (target->fd < 0)
    return fail (target, errno, error);
  target->owned = target->seekable = true;
  target->temporary = g_steal_pointer (&name);
  return fchmod (target->fd, mode) == 0 || fail (target, errno, error);
}

static bool
check_room (const ImTarget *target, uint64_t size, GError **error)
{
  uint64_t room;
  if (ioctl (target->fd, BLKGETSIZE64, &room) < 0)
    return fail (target, errno, error);
  if (room >= size)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "%s: has %" G_GUINT64_FORMAT " bytes, too few for %" G_GUINT64_FORMAT,
               target->path, room, size);
  return false;
}

static bool
open_device (ImTarget *target, uint64_t size, GError **error)
{
  if (!target->force) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "%s: is a block device (--force writes over it)", target->path);
    return false;
  }
  /* O_EXCL refuses one that is mounted. */
  target->fd = open (target->path, O_WRONLY | O_CLOEXEC | O_EXCL);
  if (target->fd < 0)
    return fail (target, errno, error);
  target->owned = target->seekable = true;
  return check_room (target, size, error);
}

static bool
open_stream (ImTarget *target, GError **error)
{
  target->fd = im_stream_open (target->path, target->cancel, error);
  target->owned = target->fd >= 0;
  if (!target->owned)
    g_prefix_error (error, "%s: ", target->path);
  return target->owned;
}

static bool
open_path (ImTarget *target, uint64_t size, GError **error)
{
  struct stat st;
  if (stat (target->path, &st) < 0)
    return errno == ENOENT ? open_temporary (target, mode_of_new_files (), error)
                           : fail (target, errno, error);
  if (S_ISBLK (st.st_mode))
    return open_device (target, size, error);
  if (!S_ISREG (st.st_mode))
    return open_stream (target, error);
  if (target->force)
    return open_temporary (target, st.st_mode & 0777, error);
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "%s: is there already (--force replaces it)", target->path);
  return false;
}

ImTarget *
im_target_open (const ImTargetOptions *options, GError **error)
{
  g_autoptr (ImTarget) target = g_new0 (ImTarget, 1);
  target->fd = -1;
  target->force = options->force;
  target->cancel = options->cancel;
  if (strcmp (options->path, "-") == 0) {
    target->path = g_strdup ("standard output");
    target->fd = im_stream_open_stdout ();
    target->owned = target->fd != STDOUT_FILENO;
    return g_steal_pointer (&target);
  }
  target->path = g_strdup (options->path);
  return open_path (target, options->size, error) ? g_steal_pointer (&target) : NULL;
}

static bool
write_at (ImTarget *target, const uint8_t *data, uint64_t length, uint64_t offset,
          GError **error)
{
  while (length > 0) {
    ssize_t n = pwrite (target->fd, data, length, (off_t)offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return fail (target, n < 0 ? errno : ENOSPC, error);
    data += n;
    length -= (uint64_t)n;
    offset += (uint64_t)n;
  }
  return true;
}

static bool
write_all (ImTarget *target, const uint8_t *data, uint64_t length, uint64_t offset,
           GError **error)
{
  if (target->seekable)
    return write_at (target, data, length, offset, error);
  if (im_stream_write (target->fd, data, length, target->cancel, error))
    return true;
  g_prefix_error (error, "%s: ", target->path);
  return false;
}

static bool
write_zeros (ImTarget *target, uint64_t length, uint64_t offset, GError **error)
{
  static const uint8_t zeros[ZEROS_AT_ONCE];
  uint64_t range[2] = {offset, length};
  if (target->temporary)
    return true; /* a hole: the file is made as long as it is to be at the end */
  if (target->seekable && ioctl (target->fd, BLKZEROOUT, range) == 0)
    return true;
  while (length > 0) {
    uint64_t n = im_min (length, sizeof zeros);
    if (!write_all (target, zeros, n, offset, error))
      return false;
    length -= n;
    offset += n;
  }
  return true;
}

bool
im_target_consume (void *data, const ImRingPiece *piece, GError **error)
{
  return piece->data ? write_all (data, piece->data, piece->length, piece->offset, error)
                     : write_zeros (data, piece->length, piece->offset, error);
}

/* Gives the file its name; another that took it meanwhile is left alone without force. */
static bool
give_name (ImTarget *target, GError **error)
{
  unsigned flags = target->force ? 0 : RENAME_NOREPLACE;
  int status = renameat2 (AT_FDCWD, target->temporary, AT_FDCWD, target->path, flags);
  /* A file system without that flag may have hard links, which never replace. */
  if (status < 0 && flags && errno == EINVAL)
    status = link (target->temporary, target->path) < 0 ? -1 : unlink (target->temporary);
  if (status < 0)
    return fail (target, errno, error);
  g_clear_pointer (&target->temporary, g_free);
  return true;
}

bool
im_target_finish (ImTarget *target, uint64_t size, GError **error)
{
  if (target->temporary && ftruncate (target->fd, (off_t)size) < 0)
    return fail (target, errno, error);
  if (target->seekable && fsync (target->fd) < 0)
    return fail (target, errno, error);
  int fd = target->fd;
  bool owned = target->owned;
  target->fd = -1;
  target->owned = false;
  if (owned && close (fd) < 0)
    return fail (target, errno, error);
  return !target->temporary || give_name (target, error);
}

void
im_target_free (ImTarget *target)
{
  if (!target)
    return;
  if (target->owned && target->fd >= 0)
    close (target->fd);
  if (target->temporary)
    unlink (target->temporary);
  g_free (target->temporary);
  g_free (target->path);
  g_free (target);
}

bool
im_target_write_text (const char *path, bool force, const char *text, GError **error)
{
  size_t length = strlen (text);
  ImTargetOptions options = {.path = path, .force = force, .size = length};
  g_autoptr (ImTarget) target = im_target_open (&options, error);
  return target && write_all (target, (const uint8_t *)text, length, 0, error) &&
         im_target_finish (target, length, error);
}
