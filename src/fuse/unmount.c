/* SPDX-License-Identifier: GPL-2.0-or-later */
/* imgmount --unmount. */
#include "base/beacon.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mount-table.h"
#include "fuse/fuse.h"
#include "fuse/health.h"
#include "fuse/mount.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* After so long the user is told what is waited for. */
#define PATIENCE_MS 5000

/* The entry on top at PATH, or NULL. */
static const ImMountEntry *
entry_at (GPtrArray *table, const char *path)
{
  return path ? im_mount_table_at (table, path) : NULL;
}

/* Finds MOUNTPOINT in TABLE, itself untouched as long as possible: the server of what is
 * mounted there may hang. */
static const ImMountEntry *
find_mount (GPtrArray *table, const char *mountpoint)
{
  g_autofree char *literal = g_canonicalize_filename (mountpoint, NULL);
  const ImMountEntry *entry = entry_at (table, literal);
  if (entry)
    return entry;
  g_autofree char *directory = g_path_get_dirname (literal);
  g_autofree char *base = g_path_get_basename (literal);
  g_autofree char *real_directory = realpath (directory, NULL);
  if (real_directory) {
    g_autofree char *path = g_build_filename (real_directory, base, NULL);
    entry = entry_at (table, path);
  }
  if (entry)
    return entry;
  g_autofree char *real = realpath (literal, NULL);
  return entry_at (table, real);
}

/* Says so once where that takes long; who was KILLED is not waited for any longer then.
 */
static void
wait_for_end (int process, pid_t pid, bool killed, const char *mountpoint)
{
  struct pollfd poll_one = {.fd = process, .events = POLLIN};
  int timeout = PATIENCE_MS;
  for (;;) {
    int n = poll (&poll_one, 1, timeout);
    if (n > 0 || (n < 0 && errno != EINTR))
      return;
    if (n < 0)
      continue;
    if (killed)
      im_log_warning ("%s: unmounted, but process %d, which was killed, has not ended",
                      mountpoint, (int)pid);
    else
      im_log_warning ("%s: unmounted here, but still in use elsewhere; waiting for "
                      "process %d to end",
                      mountpoint, (int)pid);
    if (killed)
      return;
    timeout = -1;
  }
}

/* Unmounts ENTRY of TABLE; *RET_KILLED: whatever used it, since its server had died. */
static bool
detach (GPtrArray *table, const ImMountEntry *entry, bool *ret_killed, GError **error)
{
  g_autoptr (GError) refusal = NULL;
  pid_t pid;
  *ret_killed = false;
  if (im_fuse_mount_detach_path (entry->path, false, &refusal))
    return true;
  *ret_killed = im_fuse_health (table, entry, &pid) == IM_SERVED_DEAD;
  if (*ret_killed)
    return im_fuse_mount_remove_dead (entry, error);
  g_propagate_error (error, g_steal_pointer (&refusal));
  return false;
}

static bool
unmount_entry (GPtrArray *table, const ImMountEntry *entry, unsigned owner,
               const char *mountpoint, GError **error)
{
  pid_t pid;
  bool killed;
  g_autofree char *name = im_fuse_mount_beacon (entry->major, entry->minor);
  int process = im_beacon_find (name, owner, &pid);
  bool unmounted = detach (table, entry, &killed, error);
  if (unmounted && process >= 0)
    wait_for_end (process, pid, killed, mountpoint);
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
  unsigned owner = 0;
  if (!entry) {
    g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND, "no image is mounted there");
    return false;
  }
  if (!g_str_equal (entry->type, IM_FUSE_TYPE)) {
    g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND,
                 "a file system of the type %s is mounted there, and no image",
                 entry->type);
    return false;
  }
  im_mount_entry_user (entry, &owner);
  if (geteuid () == 0 || owner == getuid ())
    return unmount_entry (table, entry, owner, mountpoint, error);
  g_set_error (
      error, IM_ERROR, IM_ERROR_USAGE,
      "only the user with the number %u, who mounted it, and root can unmount it", owner);
  return false;
}
