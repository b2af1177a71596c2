/* SPDX-License-Identifier: GPL-2.0-or-later */
/* imgmount --nbd -d. */
#include "base/error.h"
#include "base/log.h"
#include "nbd/kernel-holder.h"
#include "nbd/kernel-use.h"
#include "nbd/kernel-way.h"
#include "nbd/kernel.h"
#include <errno.h>
#include <unistd.h>

/* How long the kernel may take to let go. */
#define FREE_SECONDS      5
#define LOOK_MILLISECONDS 10

static bool
refuse_if_used (unsigned index, GError **error)
{
  g_autofree char *use = im_nbd_use_find (index);
  if (!use)
    return true;
  g_set_error_literal (error, IM_ERROR, IM_ERROR_LOCKED, use);
  return false;
}

static bool
disconnect (unsigned index, bool only_ioctl, GError **error)
{
  for (const ImNbdWay *const *way = im_nbd_ways (only_ioctl); *way; way++) {
    g_autoptr (GError) failure = NULL;
    if ((*way)->disconnect (index, &failure))
      return true;
    if (!way[1] || !g_error_matches (failure, IM_ERROR, IM_ERROR_UNSUPPORTED)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return false;
    }
  }
  return false;
}

/* What is still there of a device that was detached, or NULL.  Caller frees. */
static char *
what_is_left (unsigned index)
{
  if (im_nbd_device_pid (index) != 0)
    return g_strdup ("a program has it open");
  im_nbd_device_forget_partitions (index);
  g_autoptr (GPtrArray) nodes = im_nbd_device_nodes (index);
  if (nodes->len <= 1)
    return NULL;
  return g_strdup_printf ("%s is still there",
                          ((const ImNbdNode *)nodes->pdata[1])->path);
}

static char *
wait_until_free (unsigned index)
{
  gint64 deadline = g_get_monotonic_time () + FREE_SECONDS * G_USEC_PER_SEC;
  char *left;
  while ((left = what_is_left (index)) && g_get_monotonic_time () < deadline) {
    g_free (left);
    g_usleep (LOOK_MILLISECONDS * 1000);
  }
  return left;
}

/* Every check, then the deed, and what it left behind. */
static bool
detach (unsigned index, const char *device, bool force, bool only_ioctl, GError **error)
{
  if (!force && !refuse_if_used (index, error))
    return false;
  /* A server that hangs would keep us here. */
  if (!force)
    im_nbd_device_flush (index);
  /* Those who use it are known, and would keep it from getting free. */
  g_autofree char *use = force ? im_nbd_use_find (index) : NULL;
  pid_t pid;
  int server = im_nbd_holder_watch (im_nbd_device_pid (index), &pid);
  bool ok = disconnect (index, only_ioctl, error);
  if (ok && server >= 0)
    im_nbd_holder_wait (server, pid, device, !force);
  if (server >= 0)
    close (server);
  if (!ok)
    return false;
  if (use) {
    im_log_warning ("%s: detached, though %s: free once that has ended", device, use);
    return true;
  }
  g_autofree char *left = wait_until_free (index);
  if (left)
    im_set_errno (error, EBUSY, "disconnected, but %s after %d seconds", left,
                  FREE_SECONDS);
  return !left;
}

bool
im_nbd_kernel_disconnect (const char *device, bool force, bool only_ioctl, GError **error)
{
  unsigned index;
  if (!im_nbd_device_find (device, &index, error))
    return false;
  bool ok = im_nbd_device_exists (index);
  if (!ok)
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "no such device");
  else if (im_nbd_device_pid (index) != 0)
    ok = detach (index, device, force, only_ioctl, error);
  else /* nobody may have looked since its server was killed */
    im_nbd_device_forget_partitions (index);
  if (ok)
    return true;
  g_prefix_error (error, "%s: ", device);
  return false;
}
