/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams are written without blocking in the kernel: signals are blocked in all threads
 * but one, and could not end that. */
#include "job/stream.h"
#include "base/error.h"
#include "job/cancel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long it takes at most to see that there is to be an end. */
enum { LOOK_EVERY_MS = 50 };

#define FLAGS (O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

int
im_stream_open (const char *path, const atomic_bool *cancel, GError **error)
{
  int fd;
  /* That is how the kernel says that nobody reads. */
  while ((fd = open (path, FLAGS)) < 0 && errno == ENXIO) {
    struct stat st;
    if (stat (path, &st) == 0 && !S_ISFIFO (st.st_mode)) {
      errno = ENXIO;
      break;
    }
    if (!im_check_cancelled (cancel, error))
      return -1;
    g_usleep (LOOK_EVERY_MS * 1000);
  }
  if (fd < 0)
    im_set_errno (error, errno, "cannot open");
  return fd;
}

int
im_stream_open_stdout (void)
{
  struct stat st;
  int flags = fcntl (STDOUT_FILENO, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || fstat (STDOUT_FILENO, &st) < 0 ||
      !(S_ISFIFO (st.st_mode) || S_ISCHR (st.st_mode)))
    return STDOUT_FILENO;
  int fd = open ("/proc/self/fd/1", FLAGS);
  return fd < 0 ? STDOUT_FILENO : fd;
}

bool
im_stream_write (int fd, const uint8_t *data, uint64_t length, const atomic_bool *cancel,
                 GError **error)
{
  while (length > 0) {
    ssize_t n = write (fd, data, length);
    if (n < 0 && errno == EAGAIN) {
      if (!im_check_cancelled (cancel, error))
        return false;
      poll (&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, LOOK_EVERY_MS);
      continue;
    }
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      im_set_errno (error, n < 0 ? errno : ENOSPC, "cannot write");
      return false;
    }
    data += n;
    length -= (uint64_t)n;
  }
  return true;
}
