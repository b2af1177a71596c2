/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking for users of a device. */
#include "nbd/kernel-use.h"
#include "base/mount-table.h"
#include "nbd/kernel-device.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

char *
im_nbd_use_by_mounts (const GPtrArray *mounts, const GPtrArray *nodes)
{
  for (guint i = 0; i < mounts->len; i++) {
    const ImMountEntry *mount = mounts->pdata[i];
    for (guint j = 0; j < nodes->len; j++) {
      const ImNbdNode *node = nodes->pdata[j];
      /* File systems on several devices have a number that is none of theirs. */
      if ((mount->major == node->major && mount->minor == node->minor) ||
          strcmp (mount->source, node->path) == 0)
        return g_strdup_printf ("%s is mounted on %s", node->path, mount->path);
    }
  }
  return NULL;
}

char *
im_nbd_use_by_swaps (const char *swaps, const GPtrArray *nodes)
{
  g_auto (GStrv) lines = g_strsplit (swaps, "\n", -1);
  for (char **line = lines; *line; line++) {
    size_t length = strcspn (*line, " \t");
    for (guint i = 0; i < nodes->len; i++) {
      const ImNbdNode *node = nodes->pdata[i];
      if (strlen (node->path) == length && strncmp (*line, node->path, length) == 0)
        return g_strdup_printf ("%s is used for swap", node->path);
    }
  }
  return NULL;
}

/* Device mapper, RAID and their like. */
static char *
use_by_holders (const GPtrArray *nodes)
{
  for (guint i = 0; i < nodes->len; i++) {
    const ImNbdNode *node = nodes->pdata[i];
    g_autofree char *path =
        g_strdup_printf ("/sys/dev/block/%u:%u/holders", node->major, node->minor);
    GDir *dir = g_dir_open (path, 0, NULL);
    const char *holder = dir ? g_dir_read_name (dir) : NULL;
    char *use =
        holder ? g_strdup_printf ("%s is part of /dev/%s", node->path, holder) : NULL;
    if (dir)
      g_dir_close (dir);
    if (use)
      return use;
  }
  return NULL;
}

/* Whoever mounts or builds upon a device, or a partition of it, has claimed it, in
 * whatever namespace. */
static char *
use_by_claim (unsigned index)
{
  int fd = im_nbd_device_open (index, O_EXCL);
  if (fd >= 0)
    close (fd);
  return fd < 0 && errno == EBUSY
             ? g_strdup ("a program, or a mount in another namespace, has claimed it")
             : NULL;
}

char *
im_nbd_use_find (unsigned index)
{
  g_autoptr (GPtrArray) nodes = im_nbd_device_nodes (index);
  g_autoptr (GPtrArray) mounts = im_mount_table_read (NULL);
  g_autofree char *swaps = NULL;
  g_file_get_contents ("/proc/swaps", &swaps, NULL, NULL);
  char *use = mounts ? im_nbd_use_by_mounts (mounts, nodes) : NULL;
  if (!use && swaps)
    use = im_nbd_use_by_swaps (swaps, nodes);
  if (!use)
    use = use_by_holders (nodes);
  return use ? use : use_by_claim (index);
}
