/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which bytes on the medium a name leads to, through loop devices and partitions. */
#include "block/file.h"

#include <stdio.h>
#include <sys/sysmacros.h>

/* Loop devices can lie above one another. */
enum { DEPTH_MAX = 8 };

/* What /sys says in NAME of block device DEVICE, without the end of the line; NULL where
 * it has no such thing.  Caller frees. */
static char *
read_property (dev_t device, const char *name)
{
  g_autofree char *path =
      g_strdup_printf ("/sys/dev/block/%u:%u/%s", major (device), minor (device), name);
  char *text = NULL;
  if (!g_file_get_contents (path, &text, NULL, NULL))
    return NULL;
  text[strcspn (text, "\n")] = '\0';
  return text;
}

/* The disk whose partition DEVICE is; else DEVICE. */
static dev_t
whole_disk (dev_t device)
{
  g_autofree char *number = read_property (device, "partition");
  /* A partition's directory is in that of its disk. */
  g_autofree char *disk = number ? read_property (device, "../dev") : NULL;
  unsigned high, low;
  return disk && sscanf (disk, "%u:%u", &high, &low) == 2 ? makedev (high, low) : device;
}

/* Replaces ST by what it is made of, as long as that can be found out. */
static void
descend (struct stat *st)
{
  for (int depth = 0; S_ISBLK (st->st_mode) && depth < DEPTH_MAX; depth++) {
    st->st_rdev = whole_disk (st->st_rdev);
    g_autofree char *file = read_property (st->st_rdev, "loop/backing_file");
    struct stat below;
    if (!file || stat (file, &below) < 0)
      return;
    *st = below;
  }
}

bool
im_file_shares_medium (const ImFile *file, const struct stat *st)
{
  struct stat ours = *im_file_stat (file), theirs = *st;
  descend (&ours);
  descend (&theirs);
  return im_stat_is_same (&ours, &theirs);
}
