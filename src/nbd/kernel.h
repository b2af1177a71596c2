/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's NBD client: a served disk becomes /dev/nbdX.
 *
 *     attach ──► sockets given to the kernel, size set ──► partitions' nodes there
 *                        │
 *     server's connections, requests at once             one thread, the keeper
 *                        │                                        │
 *     run ◄── ends with the last of them ◄── detach ◄── stop, once nobody uses it     */
#pragma once

#include "nbd/nbd.h"

/* The device stands for "one that is free". */
#define IM_NBD_KERNEL_AUTO "auto"

typedef struct {
  const char *device;   /* "/dev/nbd1", or IM_NBD_KERNEL_AUTO */
  bool only_ioctl;      /* leave netlink alone */
  unsigned timeout;     /* seconds that a request may take; 0: any */
  uint32_t block_size;  /* a power of two from 512 to a page */
  uint32_t sector_size; /* that the disk's partition table counts in */
} ImNbdKernelOptions;

typedef struct ImNbdKernel ImNbdKernel;

/* Attaches the disk of SERVER, which does not run yet, and whose partitions are those of
 * SET.  Returns when the device and its partitions can be opened; warns where partitions
 * do not appear.  IM_ERROR_NOT_FOUND: the kernel has no such device, or no NBD at all;
 * IM_ERROR_LOCKED: it is in use.  Both are borrowed, and SERVER outlives it. */
ImNbdKernel *im_nbd_kernel_attach (ImNbdServer *server, const ImExportSet *set,
                                   const ImNbdKernelOptions *options, GError **error);

/* Its path. */
const char *im_nbd_kernel_device (const ImNbdKernel *kernel);

/* Flushes and detaches it, and so ends the server: once nobody uses it, or when asked a
 * second time at once.  Returns before that is done.  Any thread. */
void im_nbd_kernel_stop (ImNbdKernel *kernel);

/* After the server's end: detaches it if it is still attached, and removes the nodes of
 * its partitions. */
void im_nbd_kernel_free (ImNbdKernel *kernel);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNbdKernel, im_nbd_kernel_free)

/* Adds the devices that this program has attached for the calling user to LIST, of
 * ImServed; all for root. */
void im_nbd_kernel_list (GPtrArray *list);

/* Detaches DEVICE, whoever serves it, and waits until it is free, its partitions gone and
 * its server, if one of ours, ended.  One that is in use is IM_ERROR_LOCKED unless FORCE;
 * one that is free stays so.  Errors as above. */
bool im_nbd_kernel_disconnect (const char *device, bool force, bool only_ioctl,
                               GError **error);
