/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Byte locks that QEMU understands, and honours. */
#include "block/lock.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>

enum { BASE_USED = 100, BASE_DENIED = 200, PERMISSIONS = 4 };

static const char *const permission_names[PERMISSIONS] = {"read", "write", "write-same",
                                                          "resize"};

/* Takes a shared lock on one byte.  False where the file system knows no such locks, or
 * another kind of program holds the byte exclusively. */
static bool
lock_byte (int fd, off_t at)
{
  struct flock lock = {
      .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
  return fcntl (fd, F_OFD_SETLK, &lock) == 0;
}

/* Does anybody else hold a lock on that byte? */
static bool
others_hold (int fd, off_t at)
{
  struct flock lock = {
      .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
  return fcntl (fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool
refuse (const char *what, unsigned permission, GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_LOCKED, "is in use: another process %s \"%s\"",
               what, permission_names[permission]);
  return false;
}

bool
im_lock_image (int fd, unsigned used, unsigned denied, GError **error)
{
  for (unsigned i = 0; i < PERMISSIONS; i++) {
    bool taken = !((used >> i & 1) && !lock_byte (fd, BASE_USED + i)) &&
                 !((denied >> i & 1) && !lock_byte (fd, BASE_DENIED + i));
    if (taken)
      continue;
    if (errno == EAGAIN || errno == EACCES)
      return refuse ("holds exclusively", i, error);
    return true;
  }
  for (unsigned i = 0; i < PERMISSIONS; i++) {
    if ((used >> i & 1) && others_hold (fd, BASE_DENIED + i))
      return refuse ("does not share", i, error);
    if ((denied >> i & 1) && others_hold (fd, BASE_USED + i))
      return refuse ("has opened it for", i, error);
  }
  return true;
}
