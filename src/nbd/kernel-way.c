/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What both ways share. */
#include "nbd/kernel-way.h"
#include "base/error.h"
#include "nbd/kernel-holder.h"

static const ImNbdWay *const ways[] = {
#if HAVE_NETLINK
    &im_nbd_way_netlink, /* several connections, and no thread that waits */
#endif
    &im_nbd_way_ioctl, /* kernels before 4.12, and other network namespaces */
    NULL,
};

const ImNbdWay *const *
im_nbd_ways (bool only_ioctl)
{
  return only_ioctl ? &ways[G_N_ELEMENTS (ways) - 2] : ways;
}

void
im_nbd_set_busy (GError **error, unsigned index)
{
  pid_t thread = im_nbd_device_pid (index);
  if (thread == 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_LOCKED, "in use: another program has it open");
    return;
  }
  g_autofree char *name = NULL;
  pid_t pid = im_nbd_holder_find (thread, &name);
  if (pid != 0)
    g_set_error (error, IM_ERROR, IM_ERROR_LOCKED,
                 "in use: process %d (%s) has attached it", (int)pid, name);
  else
    g_set_error (error, IM_ERROR, IM_ERROR_LOCKED,
                 "in use: attached by a process that has gone, %d", (int)thread);
}
