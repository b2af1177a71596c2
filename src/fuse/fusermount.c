/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fusermount3, the setuid program through which ordinary users mount and unmount. */
#include "fuse/fusermount.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM       "fusermount3"
#define COMM_VARIABLE "_FUSE_COMMFD" /* where it finds its end of the socket */
#define COMPLAINT_MAX 1024u          /* bytes of its standard error that are kept */

typedef struct {
  pid_t pid;
  int complaints; /* the reading end of its standard error */
} Child;

/* A server's blocked signals and ignored SIGPIPE are no business of the program. */
static void
restore_signals (posix_spawnattr_t *attributes)
{
  sigset_t none, all;
  sigemptyset (&none);
  sigfillset (&all);
  posix_spawnattr_setsigmask (attributes, &none);
  posix_spawnattr_setsigdefault (attributes, &all);
  posix_spawnattr_setflags (attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

/* INHERITED: a descriptor that it gets under the same number, or -1. */
static bool
start (const char *const *argv, int inherited, Child *ret_child, GError **error)
{
  int ends[2];
  if (pipe2 (ends, O_CLOEXEC) < 0) {
    im_set_errno (error, errno, "pipe");
    return false;
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init (&actions);
  posix_spawnattr_init (&attributes);
  restore_signals (&attributes);
  posix_spawn_file_actions_adddup2 (&actions, ends[1], STDERR_FILENO);
  g_auto (GStrv) environment = g_get_environ ();
  if (inherited >= 0) {
    g_autofree char *number = g_strdup_printf ("%d", inherited);
    environment = g_environ_setenv (environment, COMM_VARIABLE, number, TRUE);
    posix_spawn_file_actions_adddup2 (&actions, inherited, inherited);
  }
  int failed = posix_spawnp (&ret_child->pid, PROGRAM, &actions, &attributes,
                             (char *const *)argv, environment);
  posix_spawnattr_destroy (&attributes);
  posix_spawn_file_actions_destroy (&actions);
  close (ends[1]);
  if (failed != 0) {
    close (ends[0]);
    im_set_errno (error, failed, "cannot run " PROGRAM);
    return false;
  }
  ret_child->complaints = ends[0];
  return true;
}

/* Reads what CHILD has to say until it closes its standard error: the first line, without
 * the program's name.  Caller frees. */
static char *
read_complaint (Child *child)
{
  char text[COMPLAINT_MAX + 1];
  size_t n = 0;
  ssize_t got;
  while ((got = TEMP_FAILURE_RETRY (
              read (child->complaints, text + n, COMPLAINT_MAX - n))) > 0)
    n += (size_t)got;
  text[n] = '\0';
  text[strcspn (text, "\n")] = '\0';
  const char *plain = text;
  if (g_str_has_prefix (plain, PROGRAM ": "))
    plain += strlen (PROGRAM ": ");
  return g_strdup (plain[0] ? plain : "no reason given");
}

/* True when it ended well. */
static bool
finish (Child *child)
{
  int status;
  close (child->complaints);
  return TEMP_FAILURE_RETRY (waitpid (child->pid, &status, 0)) == child->pid &&
         WIFEXITED (status) && WEXITSTATUS (status) == 0;
}

/* The descriptor that comes over SOCKET, or -1 when the other end closes it instead. */
static int
receive_descriptor (int socket)
{
  char byte;
  struct iovec iov = {.iov_base = &byte, .iov_len = 1};
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE (sizeof (int))];
  } control;
  struct msghdr message = {.msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
  if (TEMP_FAILURE_RETRY (recvmsg (socket, &message, MSG_CMSG_CLOEXEC)) <= 0)
    return -1;
  struct cmsghdr *header = CMSG_FIRSTHDR (&message);
  if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN (sizeof (int)))
    return -1;
  int fd;
  memcpy (&fd, CMSG_DATA (header), sizeof fd);
  return fd;
}

int
im_fusermount_mount (const char *path, const char *options, bool keep, int *ret_keeper,
                     GError **error)
{
  const char *const argv[] = {PROGRAM, "-o", options, "--", path, NULL};
  int ends[2];
  Child child;
  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    im_set_errno (error, errno, "socketpair");
    return -1;
  }
  bool started = start (argv, ends[1], &child, error);
  close (ends[1]);
  int fd = started ? receive_descriptor (ends[0]) : -1;
  *ret_keeper = fd >= 0 && keep ? ends[0] : -1;
  if (*ret_keeper < 0)
    close (ends[0]);
  if (!started)
    return -1;
  if (fd < 0) {
    g_autofree char *complaint = read_complaint (&child);
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, PROGRAM ": %s", complaint);
  }
  if (*ret_keeper < 0)
    finish (&child);
  else
    close (child.complaints);
  return fd;
}

bool
im_fusermount_unmount (const char *path, bool lazy, GError **error)
{
  const char *const argv[] = {PROGRAM, lazy ? "-uz" : "-u", "--", path, NULL};
  Child child;
  if (!start (argv, -1, &child, error))
    return false;
  g_autofree char *complaint = read_complaint (&child);
  if (finish (&child))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, PROGRAM ": %s", complaint);
  return false;
}
