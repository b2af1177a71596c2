/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lock on a pid file is its process's life: a file without one was left behind. */
#include "cli/pid-file.h"
#include "base/error.h"
#include "block/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ImPidFile {
  int fd;     /* locked */
  char *path; /* where it really is, with no link in it; NULL: no regular file, kept */
};

/* Is PATH the file that FD is open on? */
static bool
is_at (int fd, const char *path)
{
  struct stat a, b;
  return fstat (fd, &a) == 0 && lstat (path, &b) == 0 && im_stat_is_same (&a, &b);
}

static bool
lock (int fd)
{
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  return fcntl (fd, F_OFD_SETLK, &whole) == 0;
}

static bool
is_regular (int fd)
{
  struct stat st;
  return fstat (fd, &st) == 0 && S_ISREG (st.st_mode);
}

/* A locked descriptor; -1 and errno, with *RET_REAL_PATH where it was the lock. */
static int
open_locked (const char *path, char **ret_real_path)
{
  for (;;) {
    int fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
    if (fd < 0 || !is_regular (fd))
      return fd;
    *ret_real_path = realpath (path, NULL);
    if (!lock (fd)) {
      int failure = errno;
      close (fd);
      errno = failure;
      return -1;
    }
    /* Between the two its former owner may have removed it. */
    if (*ret_real_path && is_at (fd, *ret_real_path))
      return fd;
    close (fd);
    g_clear_pointer (ret_real_path, free);
  }
}

/* Nothing, or a number as such files have it: else it is somebody's file. */
static bool
check_content (int fd, const char *path, GError **error)
{
  char text[32];
  ssize_t n = pread (fd, text, sizeof text, 0);
  bool good = n >= 0 && n < (ssize_t)sizeof text;
  for (ssize_t i = 0; i < n && good; i++)
    good = g_ascii_isdigit (text[i]) || g_ascii_isspace (text[i]);
  if (!good)
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "--pid-file: %s: is there already, and is no pid file", path);
  return good;
}

static bool
write_number (int fd)
{
  g_autofree char *text = g_strdup_printf ("%ld\n", (long)getpid ());
  ssize_t length = (ssize_t)strlen (text);
  if (ftruncate (fd, 0) < 0 && errno != EINVAL)
    return false;
  ssize_t written = write (fd, text, (size_t)length);
  if (written >= 0 && written < length)
    errno = ENOSPC;
  return written == length;
}

ImPidFile *
im_pid_file_new (const char *path, GError **error)
{
  char *real_path = NULL;
  int fd = open_locked (path, &real_path);
  if (fd < 0) {
    if ((errno == EAGAIN || errno == EACCES) && real_path)
      g_set_error (error, IM_ERROR, IM_ERROR_LOCKED,
                   "--pid-file: %s: another server that runs has it", path);
    else
      im_set_errno (error, errno, "--pid-file: %s", path);
    free (real_path);
    return NULL;
  }
  g_autoptr (ImPidFile) file = g_new (ImPidFile, 1);
  *file = (ImPidFile){.fd = fd, .path = real_path};
  if (real_path && !check_content (fd, path, error)) {
    g_clear_pointer (&file->path, free); /* so it stays */
    return NULL;
  }
  if (write_number (fd))
    return g_steal_pointer (&file);
  im_set_errno (error, errno, "--pid-file: %s", path);
  return NULL;
}

void
im_pid_file_free (ImPidFile *file)
{
  if (!file)
    return;
  if (file->path && is_at (file->fd, file->path))
    unlink (file->path);
  close (file->fd);
  free (file->path);
  g_free (file);
}
