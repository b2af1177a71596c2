/* SPDX-License-Identifier: GPL-2.0-or-later */
/* imgmount --unmount. */
#include "base/error.h"
#include "base/log.h"
#include "base/mount-table.h"
#include "fuse/beacon.h"
#include "fuse/fuse.h"
#include "fuse/mount.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* After so long the user is told what is waited for. */
#define PATIENCE_MS 5000

/* The entry on top at PATH where that is a mount of ours. */
static const ImMountEntry *
ours_at (GPtrArray *table, const char *path)
{
  const ImMountEntry *entry = path ? im_mount_table_at (table, path) : NULL;
  return entry && g_str_equal (entry->type, IM_FUSE_TYPE) ? entry : NULL;
}

/* Finds MOUNTPOINT in TABLE, itself untouched as long as possible: the server of what is
 * mounted there may hang. */
static const ImMountEntry *
find_mount (GPtrArray *table, const char *mountpoint)
{
  g_autofree char *literal = g_canonicalize_filename (mountpoint, NULL);
  const ImMountEntry *entry = ours_at (table, literal);
  if (entry)
    return entry;
  g_autofree char *directory = g_path_get_dirname (literal);
  g_autofree char *base = g_path_get_basename (literal);
  g_autofree char *real_directory = realpath (directory, NULL);
  if (real_directory) {
    g_autofree char *path = g_build_filename (real_directory, base, NULL);
    entry = ours_at (table, path);
  }
  if (entry)
    return entry;
  g_autofree char *real = realpath (literal, NULL);
  return ours_at (table, real);
}

static void
wait_for_end (int process, pid_t pid, const char *mountpoint)
{
  struct pollfd poll_one = {.fd = process, .events = POLLIN};
  int timeout = PATIENCE_MS;
  for (;;) {
    int n = poll (&poll_one, 1, timeout);
    if (n > 0 || (n < 0 && errno != EINTR))
      return;
    if (n < 0)
      continue;
    im_log_warning ("%s: unmounted here, but still in use elsewhere; waiting for "
                    "process %d to end",
                    mountpoint, (int)pid);
    timeout = -1;
  }
}

static bool
unmount_entry (const ImMountEntry *entry, const char *mountpoint, GError **error)
{
  unsigned owner = 0;
  pid_t pid;
  im_mount_entry_user (entry, &owner);
  int process = im_fuse_beacon_find (entry->major, entry->minor, owner, &pid);
  bool unmounted = im_fuse_mount_detach_path (entry->path, false, error);
  if (unmounted && process >= 0)
    wait_for_end (process, pid, mountpoint);
  if (process >= 0)
    close (process);
  return unmounted;
}

bool
im_fuse_unmount (const char *mountpoint, GError **error)
{
  g_autoptr (GPtrArray) table = im_mount_table_read (error);
  if (!table)
    return false;
  const ImMountEntry *entry = find_mount (table, mountpoint);
  if (entry)
    return unmount_entry (entry, mountpoint, error);
  g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND, "no image is mounted there");
  return false;
}
