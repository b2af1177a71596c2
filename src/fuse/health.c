/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether a mount is served, and by whom. */
#include "fuse/health.h"
#include "base/beacon.h"
#include "base/process.h"
#include "fuse/mount.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* After so long a mount counts as one that does not answer. */
#define PROBE_MS 3000

/* Asks the server of the mount at PATH for anything, as the user who mounted it: others,
 * root included, may get an answer of the kernel's own.  An errno, or 0. */
static int
ask (const char *path, uid_t user, gid_t group)
{
  struct statfs st;
  if (geteuid () == 0 &&
      (setresgid (group, group, group) < 0 || setresuid (user, user, user) < 0))
    return errno;
  return statfs (path, &st) < 0 ? errno : 0;
}

/* The child: it may outlive its parent, so it keeps nothing open of what that has. */
static _Noreturn void
ask_and_tell (int report, const char *path, uid_t user, gid_t group)
{
  dup2 (report, STDIN_FILENO);
  close_range (STDIN_FILENO + 1, ~0u, 0);
  int answer = ask (path, user, group);
  if (write (STDIN_FILENO, &answer, sizeof answer) < 0)
    _exit (1);
  _exit (0);
}

/* The errno that a request to the mount at PATH gives, 0 if all is well; ETIMEDOUT where
 * there is no answer. */
static int
probe (const char *path, uid_t user, gid_t group)
{
  int ends[2], answer = ETIMEDOUT;
  if (pipe2 (ends, O_CLOEXEC) < 0)
    return errno;
  pid_t child = fork ();
  if (child == 0)
    ask_and_tell (ends[1], path, user, group);
  close (ends[1]);
  struct pollfd poll_one = {.fd = ends[0], .events = POLLIN};
  if (child > 0 && TEMP_FAILURE_RETRY (poll (&poll_one, 1, PROBE_MS)) > 0) {
    if (read (ends[0], &answer, sizeof answer) != (ssize_t)sizeof answer)
      answer = ETIMEDOUT;
    waitpid (child, NULL, 0);
  }
  close (ends[0]);
  return answer;
}

ImServedState
im_fuse_health (GPtrArray *table, const ImMountEntry *entry, pid_t *ret_pid)
{
  unsigned user = 0, group = 0;
  im_mount_entry_user (entry, &user);
  im_mount_entry_group (entry, &group);
  g_autofree char *name = im_fuse_mount_beacon (entry->major, entry->minor);
  int process = im_beacon_find (name, user, ret_pid);
  if (process >= 0) {
    close (process);
    return im_process_is_dying (*ret_pid) ? IM_SERVED_DEAD : IM_SERVED;
  }
  *ret_pid = 0;
  /* Its path leads elsewhere where another mount covers it. */
  if (im_mount_table_at (table, entry->path) != entry)
    return IM_SERVED_UNKNOWN;
  switch (probe (entry->path, user, group)) {
  case 0:
    return IM_SERVED;
  case ENOTCONN:
  case ECONNABORTED:
  case ECONNREFUSED:
    return IM_SERVED_DEAD;
  default:
    return IM_SERVED_UNKNOWN;
  }
}
