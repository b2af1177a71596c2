/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Processes, by /proc. */
#include "nbd/kernel-holder.h"
#include "base/log.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* After so long the user is told what is waited for. */
#define PATIENCE_MS 5000

static char *
read_name (const char *process)
{
  g_autofree char *path = g_build_filename ("/proc", process, "comm", NULL);
  char *name = NULL;
  return g_file_get_contents (path, &name, NULL, NULL) ? g_strchomp (name) : NULL;
}

pid_t
im_nbd_holder_find (pid_t thread, char **ret_name)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/status", (int)thread);
  g_autofree char *status = NULL;
  if (!g_file_get_contents (path, &status, NULL, NULL))
    return 0;
  const char *field = strstr (status, "\nTgid:");
  pid_t pid = field ? (pid_t)strtol (field + strlen ("\nTgid:"), NULL, 10) : 0;
  g_autofree char *number = g_strdup_printf ("%d", (int)pid);
  *ret_name = pid > 0 ? read_name (number) : NULL;
  return *ret_name ? pid : 0;
}

bool
im_nbd_holder_is_ours (const char *name)
{
  g_autofree char *own = read_name ("self");
  return g_strcmp0 (own, name) == 0;
}

int
im_nbd_holder_watch (pid_t thread, pid_t *ret_pid)
{
  g_autofree char *name = NULL;
  *ret_pid = im_nbd_holder_find (thread, &name);
  if (*ret_pid == 0 || !im_nbd_holder_is_ours (name))
    return -1;
  return (int)syscall (SYS_pidfd_open, *ret_pid, 0);
}

void
im_nbd_holder_wait (int process, pid_t pid, const char *device, bool patiently)
{
  struct pollfd poll_one = {.fd = process, .events = POLLIN};
  int timeout = PATIENCE_MS;
  for (;;) {
    int n = poll (&poll_one, 1, timeout);
    if (n > 0 || (n < 0 && errno != EINTR))
      return;
    if (n < 0)
      continue;
    im_log_warning ("%s: detached; process %d has not ended yet%s", device, (int)pid,
                    patiently ? ", and is waited for" : "");
    if (!patiently)
      return;
    timeout = -1;
  }
}
