/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device is ready once its partitions can be opened. */
#include "nbd/kernel-ready.h"
#include "base/log.h"
#include "nbd/kernel-device.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* For programs that make nodes, udev among them. */
#define NODES_SECONDS     5
#define LOOK_MILLISECONDS 10

unsigned
im_nbd_ready_number (const ImExport *export)
{
  unsigned number;
  int end = 0;
  if (export->kind != IM_EXPORT_PARTITION ||
      sscanf (export->name, "p%u%n", &number, &end) != 1 || export->name[end] != '\0')
    return 0;
  return number;
}

/* The names of the partitions whose nodes are not there, or NULL.  Caller frees. */
static char *
missing_partitions (unsigned index, const ImExportSet *set)
{
  g_autoptr (GString) names = g_string_new (NULL);
  for (guint i = 0; i < set->blocks->len; i++) {
    const ImExport *export = set->blocks->pdata[i];
    unsigned number = im_nbd_ready_number (export);
    if (number != 0 && !im_nbd_device_has_partition (index, number))
      g_string_append_printf (names, "%s%s", names->len ? ", " : "", export->name);
  }
  return names->len ? g_strdup (names->str) : NULL;
}

static bool
has_partitions (const ImExportSet *set)
{
  for (guint i = 0; i < set->blocks->len; i++)
    if (im_nbd_ready_number (set->blocks->pdata[i]) != 0)
      return true;
  return false;
}

/* Has the kernel look at the table where it has not done so by itself, as with
 * max_part=0. False: it never will. */
static bool
read_table (unsigned index, int fd, const ImExportSet *set)
{
  g_autofree char *missing = missing_partitions (index, set);
  return !missing || im_nbd_device_read_table (fd) || errno != EINVAL;
}

/* Why the kernel will not show the table's partitions, whatever is done; or NULL.  Caller
 * frees. */
static char *
no_hope (unsigned index, int fd, const ImExportSet *set,
         const ImNbdKernelOptions *options)
{
  if (options->sector_size != options->block_size)
    return g_strdup_printf ("the table counts in sectors of %u bytes: attach it with "
                            "--block-size %u",
                            options->sector_size, options->sector_size);
  if (!im_nbd_device_shows_partitions (index) || !read_table (index, fd, set))
    return g_strdup ("the nbd module was loaded with max_part=0; load it with "
                     "modprobe nbd max_part=16");
  return NULL;
}

static void
wait_for_nodes (unsigned index, const char *path, const ImExportSet *set)
{
  gint64 deadline = g_get_monotonic_time () + NODES_SECONDS * G_USEC_PER_SEC;
  g_autofree char *missing = missing_partitions (index, set);
  while (missing && g_get_monotonic_time () < deadline) {
    g_usleep (LOOK_MILLISECONDS * 1000);
    g_free (missing);
    missing = missing_partitions (index, set);
  }
  if (missing)
    im_log_warning ("%s: no nodes after %d seconds for %s", path, NODES_SECONDS, missing);
}

void
im_nbd_ready_wait (unsigned index, const char *path, const ImExportSet *set,
                   const ImNbdKernelOptions *options)
{
  int fd = im_nbd_device_open (index, 0);
  if (fd < 0) {
    im_log_warning ("%s: attached, but it cannot be opened: %s", path,
                    g_strerror (errno));
    return;
  }
  if (has_partitions (set)) {
    g_autofree char *reason = no_hope (index, fd, set, options);
    if (reason)
      im_log_warning ("%s: no partitions: %s", path, reason);
    else
      wait_for_nodes (index, path, set);
  }
  close (fd);
}
