/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image locks, compatible with QEMU's: open file description locks on single bytes, at
 * 100 + n for a permission in use and at 200 + n for one that others are denied.  A
 * process that uses n holds a shared lock on 100 + n and tests 200 + n for others;
 * one that denies n holds a shared lock on 200 + n and tests 100 + n. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
  IM_LOCK_READ = 0,       /* reads consistent contents */
  IM_LOCK_WRITE = 1,      /* writes */
  IM_LOCK_WRITE_SAME = 2, /* writes what changes nothing that others see */
  IM_LOCK_RESIZE = 3,     /* changes the size */
} ImLockPermission;

/* Takes on FD the locks that USED and DENIED (bits 1 << ImLockPermission) ask for, or
 * fails with IM_ERROR_LOCKED that tells what the other side holds.  They last until the
 * last copy of FD is closed.  True also where the file system has no such locks. */
bool im_lock_image (int fd, unsigned used, unsigned denied, GError **error);
