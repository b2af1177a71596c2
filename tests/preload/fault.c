/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A broken disk for a running program, by LD_PRELOAD: calls on one file fail, do only a
 * part of their work, or take long.
 *
 *   FAULT_FILE   the file
 *   FAULT_RULES  a file of lines "CALL EVERY WHAT", read anew at each call, so that
 *                a test can change it.  One call in EVERY is hit.
 *                CALL: read write zero size sync
 *                WHAT: an errno's name, EIO ENOSPC EDQUOT; short; or delay, of a few ms
 *   FAULT_LOG    gets a line for each call that was hit
 *
 * A call that fails moves no byte; a short one moves about half, a whole number of
 * sectors. */
#undef _FILE_OFFSET_BITS /* it would give other names to what is defined here */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { RULES_MAX = 4096, PARTS_MAX = 1024, DELAY_MS = 5, SECTOR = 512 };

typedef struct {
  int error; /* not 0: fail so */
  bool is_short;
} Fault;

static const struct {
  const char *name;
  int number;
} errors[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}};

static bool
is_the_file (int fd)
{
  const char *path = getenv ("FAULT_FILE");
  struct stat wanted, have;

  return path && stat (path, &wanted) == 0 && fstat (fd, &have) == 0 &&
         wanted.st_ino == have.st_ino && wanted.st_dev == have.st_dev;
}

/* By system calls alone: read and write may be what is asked about. */
static void
read_rules (char *text)
{
  const char *path = getenv ("FAULT_RULES");
  int fd = path ? open (path, O_RDONLY | O_CLOEXEC) : -1;
  ssize_t n = fd < 0 ? 0 : syscall (SYS_pread64, fd, text, RULES_MAX - 1, 0);

  text[n < 0 ? 0 : n] = '\0';
  if (fd >= 0)
    close (fd);
}

static void
note (const char *call, const char *what)
{
  const char *path = getenv ("FAULT_LOG");
  int fd = path ? open (path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
  char line[64];
  int n = snprintf (line, sizeof line, "%s %s\n", call, what);

  if (fd < 0)
    return;
  syscall (SYS_write, fd, line, (size_t)n);
  close (fd);
}

static void
carry_out (const char *call, const char *what, Fault *ret)
{
  const struct timespec delay = {.tv_nsec = DELAY_MS * 1000000L};

  note (call, what);
  if (strcmp (what, "delay") == 0)
    nanosleep (&delay, NULL);
  else if (strcmp (what, "short") == 0)
    ret->is_short = true;
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    if (strcmp (what, errors[i].name) == 0)
      ret->error = errors[i].number;
}

/* What is to happen to this CALL on FD. */
static Fault
draw (const char *call, int fd)
{
  static atomic_uint count;
  char rules[RULES_MAX], *rest = rules, *line;
  Fault fault = {0};
  int before = errno;

  if (!is_the_file (fd))
    return fault;
  read_rules (rules);
  while ((line = strsep (&rest, "\n"))) {
    char which[16], what[16];
    unsigned every;

    if (sscanf (line, "%15s %u %15s", which, &every, what) == 3 && every > 0 &&
        strcmp (which, call) == 0 && atomic_fetch_add (&count, 1) % every == every - 1)
      carry_out (call, what, &fault);
  }
  errno = fault.error ? fault.error : before;
  return fault;
}

/* A part of IOV: half its bytes, in whole sectors where it has any; *COUNT is what
 * remains of it. */
static void
shorten (const struct iovec *iov, int *count, struct iovec *parts)
{
  size_t total = 0, left;
  int n = 0;

  for (int i = 0; i < *count; i++)
    total += iov[i].iov_len;
  left = total <= SECTOR      ? total
         : total / 2 < SECTOR ? SECTOR
                              : total / 2 / SECTOR * SECTOR;
  for (; n < *count && n < PARTS_MAX && left > 0; n++) {
    parts[n] = iov[n];
    if (parts[n].iov_len > left)
      parts[n].iov_len = left;
    left -= parts[n].iov_len;
  }
  *count = n;
}

typedef ssize_t Vectored (int, const struct iovec *, int, off_t, int);

static ssize_t
vectored (const char *call, const char *name, int fd, const struct iovec *iov, int count,
          off_t offset, int flags)
{
  Vectored *real = (Vectored *)dlsym (RTLD_NEXT, name);
  struct iovec parts[PARTS_MAX];
  Fault fault = draw (call, fd);

  if (fault.error)
    return -1;
  if (!fault.is_short)
    return real (fd, iov, count, offset, flags);
  shorten (iov, &count, parts);
  return real (fd, parts, count, offset, flags);
}

ssize_t
preadv2 (int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
  return vectored ("read", "preadv2", fd, iov, count, offset, flags);
}

ssize_t
pwritev2 (int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
  return vectored ("write", "pwritev2", fd, iov, count, offset, flags);
}

ssize_t
preadv (int fd, const struct iovec *iov, int count, off_t offset)
{
  return vectored ("read", "preadv2", fd, iov, count, offset, 0);
}

ssize_t
pwritev (int fd, const struct iovec *iov, int count, off_t offset)
{
  return vectored ("write", "pwritev2", fd, iov, count, offset, 0);
}

ssize_t
pread (int fd, void *buf, size_t len, off_t offset)
{
  const struct iovec iov = {.iov_base = buf, .iov_len = len};

  return vectored ("read", "preadv2", fd, &iov, 1, offset, 0);
}

ssize_t
pwrite (int fd, const void *buf, size_t len, off_t offset)
{
  const struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};

  return vectored ("write", "pwritev2", fd, &iov, 1, offset, 0);
}

int
fallocate (int fd, int mode, off_t offset, off_t len)
{
  int (*real) (int, int, off_t, off_t) =
      (int (*) (int, int, off_t, off_t))dlsym (RTLD_NEXT, "fallocate");

  return draw ("zero", fd).error ? -1 : real (fd, mode, offset, len);
}

int
ftruncate (int fd, off_t size)
{
  int (*real) (int, off_t) = (int (*) (int, off_t))dlsym (RTLD_NEXT, "ftruncate");

  return draw ("size", fd).error ? -1 : real (fd, size);
}

int
fdatasync (int fd)
{
  int (*real) (int) = (int (*) (int))dlsym (RTLD_NEXT, "fdatasync");

  return draw ("sync", fd).error ? -1 : real (fd);
}

/* The same under the names that programs with 64-bit offsets are linked to. */
ssize_t preadv64v2 (int, const struct iovec *, int, off_t, int)
    __attribute__ ((alias ("preadv2")));
ssize_t pwritev64v2 (int, const struct iovec *, int, off_t, int)
    __attribute__ ((alias ("pwritev2")));
ssize_t preadv64 (int, const struct iovec *, int, off_t)
    __attribute__ ((alias ("preadv")));
ssize_t pwritev64 (int, const struct iovec *, int, off_t)
    __attribute__ ((alias ("pwritev")));
ssize_t pread64 (int, void *, size_t, off_t) __attribute__ ((alias ("pread")));
ssize_t pwrite64 (int, const void *, size_t, off_t) __attribute__ ((alias ("pwrite")));
int fallocate64 (int, int, off_t, off_t) __attribute__ ((alias ("fallocate")));
int ftruncate64 (int, off_t) __attribute__ ((alias ("ftruncate")));
