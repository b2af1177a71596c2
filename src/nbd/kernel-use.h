/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who uses a device, so that it is not torn away from under them. */
#pragma once

#include <glib.h>

/* Each returns a phrase such as "/dev/nbd1p1 is mounted on /mnt", or NULL.  Caller frees.
 * NODES: of ImNbdNode. */

/* MOUNTS: of ImMountEntry. */
char *im_nbd_use_by_mounts (const GPtrArray *mounts, const GPtrArray *nodes);

/* SWAPS: the text of /proc/swaps. */
char *im_nbd_use_by_swaps (const char *swaps, const GPtrArray *nodes);

/* All that can be found out about device INDEX: mounts, swaps, devices built on it, and
 * whether anybody has claimed it or a partition for himself. */
char *im_nbd_use_find (unsigned index);
