/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Background, readiness, signals. */
#include "base/process.h"
#include "base/error.h"
#include "base/log.h"
#include "base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* The child's end of the pipe to the waiting parent; -1 where there is none. */
static int ready_fd = -1;

/* Waits for the child's word and exits with its status. */
static _Noreturn void
wait_for_child (int fd, pid_t child)
{
  char byte;
  ssize_t n;
  do
    n = read (fd, &byte, 1);
  while (n < 0 && errno == EINTR);
  if (n == 1)
    _exit (EXIT_SUCCESS);

  /* The pipe closed without a word: the child has failed, and has said why itself. */
  int status;
  while (waitpid (child, &status, 0) < 0)
    if (errno != EINTR)
      _exit (EXIT_FAILURE);
  if (WIFSIGNALED (status))
    im_log_error ("the background process died of signal %d (%s)", WTERMSIG (status),
                  strsignal (WTERMSIG (status)));
  _exit (WIFEXITED (status) && WEXITSTATUS (status) != 0 ? WEXITSTATUS (status)
                                                         : EXIT_FAILURE);
}

bool
im_process_background (GError **error)
{
  int fds[2];
  if (pipe2 (fds, O_CLOEXEC) < 0) {
    im_set_errno (error, errno, "pipe");
    return false;
  }
  pid_t pid = fork ();
  if (pid < 0) {
    im_set_errno (error, errno, "fork");
    close (fds[0]);
    close (fds[1]);
    return false;
  }
  if (pid > 0) {
    close (fds[1]);
    wait_for_child (fds[0], pid);
  }
  close (fds[0]);
  ready_fd = fds[1];
  return true;
}

void
im_process_hold_standard_streams (void)
{
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
    if (fcntl (fd, F_GETFD) >= 0)
      continue;
    /* For the wrong direction: whoever uses it gets EBADF, as before. */
    if (open ("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
      _exit (EXIT_FAILURE);
  }
}

void
im_process_ready (void)
{
  if (ready_fd < 0)
    return;
  setsid ();
  if (chdir ("/") < 0)
    im_log_warning ("cannot change to /: %s", g_strerror (errno));
  im_log_detach ();
  int null = open ("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
    dup2 (null, fd);
  if (null > STDERR_FILENO)
    close (null);
  /* A parent that was killed meanwhile has nobody to tell. */
  if (write (ready_fd, "", 1) < 0)
    im_log_verbose (1, "the command that started this has gone");
  close (ready_fd);
  ready_fd = -1;
}

static void
handled_signals (sigset_t *set)
{
  sigemptyset (set);
  sigaddset (set, SIGTERM);
  sigaddset (set, SIGINT);
  sigaddset (set, SIGHUP);
}

void
im_process_block_signals (void)
{
  sigset_t set;
  handled_signals (&set);
  pthread_sigmask (SIG_BLOCK, &set, NULL);
  signal (SIGPIPE, SIG_IGN);
}

void
im_process_restore_signals (void)
{
  sigset_t set;
  handled_signals (&set);
  pthread_sigmask (SIG_UNBLOCK, &set, NULL);
  signal (SIGPIPE, SIG_DFL);
}

/* The thread that takes signals; the main thread starts and ends it. */
static struct {
  bool running;
  pthread_t thread;
  int end_fd; /* an eventfd: readable when the thread is to end */
  void (*stop) (void *data, int signal);
  void *data;
} watcher;

static void *
watch_signals (void *unused)
{
  sigset_t set;
  handled_signals (&set);
  int fd = signalfd (-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  struct pollfd polls[] = {{.fd = fd, .events = POLLIN},
                           {.fd = watcher.end_fd, .events = POLLIN}};
  while (fd >= 0) {
    if (poll (polls, G_N_ELEMENTS (polls), -1) < 0)
      continue;
    if (polls[1].revents)
      break;
    struct signalfd_siginfo info;
    if (read (fd, &info, sizeof info) == (ssize_t)sizeof info)
      watcher.stop (watcher.data, (int)info.ssi_signo);
  }
  if (fd >= 0)
    close (fd);
  return NULL;
}

void
im_process_watch_signals (void (*stop) (void *data, int signal), void *data)
{
  watcher.stop = stop;
  watcher.data = data;
  watcher.end_fd = eventfd (0, EFD_CLOEXEC);
  watcher.running = watcher.end_fd >= 0 &&
                    pthread_create (&watcher.thread, NULL, watch_signals, NULL) == 0;
  if (!watcher.running)
    g_error ("cannot create the signal thread");
}

void
im_process_unwatch_signals (void)
{
  if (!watcher.running)
    return;
  eventfd_write (watcher.end_fd, 1);
  pthread_join (watcher.thread, NULL);
  close (watcher.end_fd);
  watcher.running = false;
}

int
im_process_start_thread (pthread_t *ret_thread, void *(*run) (void *data), void *data)
{
  sigset_t all, before;
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  int errnum = pthread_create (ret_thread, NULL, run, data);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  return errnum;
}

#define ACTIVATION_FIRST 3
#define ACTIVATION_MAX   1024u

int
im_process_take_activation (void)
{
  const char *pid_text = g_getenv ("LISTEN_PID"), *n_text = g_getenv ("LISTEN_FDS");
  uint64_t pid = 0, n = 0;
  bool ours =
      pid_text && n_text && im_parse_number (pid_text, "", INT32_MAX, &pid, NULL) &&
      im_parse_number (n_text, "", ACTIVATION_MAX, &n, NULL) && (pid_t)pid == getpid ();
  if (!ours)
    return 0;
  g_unsetenv ("LISTEN_PID");
  g_unsetenv ("LISTEN_FDS");
  g_unsetenv ("LISTEN_FDNAMES");
  for (int i = 0; i < (int)n; i++)
    fcntl (ACTIVATION_FIRST + i, F_SETFD, FD_CLOEXEC);
  return (int)n;
}

bool
im_process_end_with_parent (GError **error)
{
  pid_t parent = getppid ();
  if (prctl (PR_SET_PDEATHSIG, SIGTERM) < 0) {
    im_set_errno (error, errno, "--exit-with-parent");
    return false;
  }
  if (getppid () == parent)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "--exit-with-parent: the parent has gone already");
  return false;
}

/* What follows NAME, with its colon, on a line of a process's STATUS; or "". */
static const char *
find_status (const char *status, const char *name)
{
  g_autofree char *key = g_strconcat ("\n", name, "\t", NULL);
  const char *line = strstr (status, key);
  return line ? line + strlen (key) : "";
}

static bool
has_kill_pending (const char *status, const char *name)
{
  return g_ascii_strtoull (find_status (status, name), NULL, 16) >> (SIGKILL - 1) & 1;
}

bool
im_process_is_dying (pid_t pid)
{
  g_autofree char *path = g_strdup_printf ("/proc/%d/status", (int)pid);
  g_autofree char *status = NULL;
  if (!g_file_get_contents (path, &status, NULL, NULL))
    return true;
  const char *state = find_status (status, "State:");
  return *state == 'Z' || *state == 'X' || has_kill_pending (status, "SigPnd:") ||
         has_kill_pending (status, "ShdPnd:");
}

void
im_process_raise_file_limit (void)
{
  struct rlimit limit;
  if (getrlimit (RLIMIT_NOFILE, &limit) < 0)
    return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit (RLIMIT_NOFILE, &limit);
}

void
im_process_serve_kernel (void)
{
  struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  if (prctl (PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
    im_log_verbose (1, "PR_SET_IO_FLUSHER: %s", g_strerror (errno));
  /* Under a limit later allocations would fail, which is worse than waiting. */
  if (setrlimit (RLIMIT_MEMLOCK, &unlimited) < 0 ||
      mlockall (MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
    im_log_verbose (1, "memory is not locked: %s", g_strerror (errno));
}
