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

/* Replaces a loop device by what it is above, as long as that can be found out. */
static void
descend (struct stat *st)
{
  for (int depth = 0; S_ISBLK (st->st_mode) && depth < DEPTH_MAX; depth++) {
    g_autofree char *file = read_property (st->st_rdev, "loop/backing_file");
    struct stat below;
    if (!file || stat (file, &below) < 0)
      return;
    *st = below;
  }
}

/* Replaces a partition by its disk, or what that is above. */
static void
widen (struct stat *st)
{
  g_autofree char *number =
      S_ISBLK (st->st_mode) ? read_property (st->st_rdev, "partition") : NULL;
  /* A partition's directory is in that of its disk. */
  g_autofree char *disk = number ? read_property (st->st_rdev, "../dev") : NULL;
  unsigned high, low;
  if (!disk || sscanf (disk, "%u:%u", &high, &low) != 2)
    return;
  st->st_rdev = makedev (high, low);
  descend (st);
}

bool
im_file_shares_medium (const ImFile *file, const struct stat *st)
{
  struct stat ours = *im_file_stat (file), theirs = *st;
  descend (&ours);
  descend (&theirs);
  struct stat our_disk = ours, their_disk = theirs;
  widen (&our_disk);
  widen (&their_disk);
  /* Two partitions of one disk have nothing in common. */
  return im_stat_is_same (&ours, &theirs) || im_stat_is_same (&our_disk, &theirs) ||
         im_stat_is_same (&ours, &their_disk);
}
