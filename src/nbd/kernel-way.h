/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two ways of talking to the kernel's NBD client, as a table. */
#pragma once

#include "config.h"
#include "nbd/kernel-device.h"

/* What the kernel is told of a disk. */
typedef struct {
  const int *sockets; /* its ends; the kernel keeps references of its own */
  unsigned n_sockets;
  uint64_t size; /* a multiple of block_size, not 0 */
  uint32_t block_size;
  uint16_t flags; /* the protocol's transmission flags */
  unsigned timeout;
  const char *backend; /* what /sys is to say of it, where it can; or NULL */
} ImNbdSetup;

typedef struct {
  const char *name;
  unsigned max_sockets;
  /* Attaches device *INDEX, or where ANY a free one, whose number it sets.  *ret_state is
   * for end.  IM_ERROR_UNSUPPORTED: this kernel has no such way, and nothing was done;
   * IM_ERROR_LOCKED: the device is in use. */
  bool (*attach) (const ImNbdSetup *setup, bool any, unsigned *index, void **ret_state,
                  GError **error);
  /* Detaches what was attached, unless that has happened already, and frees STATE.  Any
   * thread, once. */
  void (*end) (void *state, unsigned index);
  /* Detaches a device that another process attached, in whichever way, so that its
   * connections have ended on return.  UNSUPPORTED as above. */
  bool (*disconnect) (unsigned index, GError **error);
} ImNbdWay;

#if HAVE_NETLINK
extern const ImNbdWay im_nbd_way_netlink;
#endif
extern const ImNbdWay im_nbd_way_ioctl;

/* In the order in which they are tried, NULL at the end.  ONLY_IOCTL: that alone. */
const ImNbdWay *const *im_nbd_ways (bool only_ioctl);

/* How what /sys says of our devices begins; the image's path follows. */
#define IM_NBD_BACKEND_PREFIX "imgmount:"

/* That text, or NULL for a path that is too long for it.  Caller frees. */
char *im_nbd_backend_new (const char *image_path);

/* IM_ERROR_LOCKED, with who has attached device INDEX or, where nobody has, that it is
 * open. */
void im_nbd_set_busy (GError **error, unsigned index);
