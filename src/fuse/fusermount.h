/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fusermount3, the setuid program through which ordinary users mount and unmount. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Has fusermount3 mount at PATH.  The kernel's descriptor, or -1.  With KEEP the program
 * stays to unmount when *ret_keeper, a descriptor, is closed, be it by our death;
 * otherwise *ret_keeper is -1. */
int im_fusermount_mount (const char *path, const char *options, bool keep,
                         int *ret_keeper, GError **error);

/* Has fusermount3 unmount PATH; LAZY: also where it is busy. */
bool im_fusermount_unmount (const char *path, bool lazy, GError **error);
