/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making new files: those that stay, and those that nobody sees. */
#include "base/error.h"
#include "block/file-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

ImFile *
im_file_create (const char *path, mode_t mode, GError **error)
{
  int fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, mode);
  if (fd < 0) {
    im_set_errno (error, errno, "cannot create it");
    return NULL;
  }
  return im_file_take_fd (fd, path, &(ImFileMode){.writable = true}, error);
}

/* A file without a name; where the file system has none, one that has it for a moment. */
static int
open_nameless (const char *folder)
{
  int fd = open (folder, O_RDWR | O_TMPFILE | O_EXCL | O_CLOEXEC, 0600);
  /* EISDIR is a kernel's that does not know the flag. */
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
    return fd;
  g_autofree char *name = g_build_filename (folder, "imgmount-XXXXXX", NULL);
  fd = mkostemp (name, O_CLOEXEC);
  if (fd >= 0 && unlink (name) < 0) {
    int failure = errno;
    close (fd);
    errno = failure;
    return -1;
  }
  return fd;
}

ImFile *
im_file_create_temporary (const char *folder, GError **error)
{
  int fd = open_nameless (folder);
  struct stat st;
  if (fd < 0 || fstat (fd, &st) < 0) {
    im_set_errno (error, errno, "cannot create it");
    if (fd >= 0)
      close (fd);
    return NULL;
  }
  /* As the kernel calls it in /proc/PID/fd. */
  g_autofree char *name = g_strdup_printf ("#%ju (deleted)", (uintmax_t)st.st_ino);
  g_autofree char *path = g_build_filename (folder, name, NULL);
  ImFileMode mode = {.writable = true, .cache = IM_CACHE_UNSAFE};
  ImFile *file = im_file_take_fd (fd, path, &mode, error);
  if (file)
    file->temporary = true;
  return file;
}

bool
im_file_is_temporary (const ImFile *file)
{
  return file->temporary;
}
