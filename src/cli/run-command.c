/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command, what it is told, and its end. */
#include "cli/run-command.h"
#include "base/error.h"
#include "base/process.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct ImRunCommand {
  pid_t pid;
  pthread_t waiter;
  void (*ended) (void *data);
  void *data;
};

/* The environment with what tells where the server is.  Caller frees. */
static char **
make_environment (const char *socket_path, const char *export_name, bool tls)
{
  g_autofree char *name = g_uri_escape_string (export_name, "", FALSE);
  g_autofree char *path = g_uri_escape_string (socket_path, "/", FALSE);
  g_autofree char *uri =
      g_strdup_printf ("nbd%s+unix:///%s?socket=%s", tls ? "s" : "", name, path);
  g_autofree char *nbd = g_strdup_printf (
      "nbd:unix:%s%s%s", socket_path, export_name[0] ? ":exportname=" : "", export_name);
  char **environment = g_get_environ ();
  environment = g_environ_setenv (environment, "uri", uri, TRUE);
  environment = g_environ_setenv (environment, "nbd", nbd, TRUE);
  environment = g_environ_setenv (environment, "unixsocket", socket_path, TRUE);
  return g_environ_setenv (environment, "exportname", export_name, TRUE);
}

/* The process stays, so that its number is nobody else's, until it is reaped. */
static void *
wait_for_end (void *data)
{
  ImRunCommand *command = data;
  siginfo_t info;
  while (waitid (P_PID, (id_t)command->pid, &info, WEXITED | WNOWAIT) < 0)
    if (errno != EINTR)
      break;
  command->ended (command->data);
  return NULL;
}

ImRunCommand *
im_run_command_start (const char *text, const char *socket_path, const char *export_name,
                      bool tls, void (*ended) (void *data), void *data, GError **error)
{
  g_auto (GStrv) environment = make_environment (socket_path, export_name, tls);
  char *const words[] = {(char *)"sh", (char *)"-c", (char *)text, NULL};
  pid_t pid = fork ();
  if (pid < 0) {
    im_set_errno (error, errno, "--run: fork");
    return NULL;
  }
  if (pid == 0) {
    /* Other threads are gone with whatever they held: nothing but system calls. */
    im_process_restore_signals ();
    execve ("/bin/sh", words, environment);
    _exit (127);
  }
  ImRunCommand *command = g_new0 (ImRunCommand, 1);
  *command = (ImRunCommand){.pid = pid, .ended = ended, .data = data};
  int errnum = im_process_start_thread (&command->waiter, wait_for_end, command);
  if (errnum == 0)
    return command;
  im_set_errno (error, errnum, "--run: thread");
  kill (pid, SIGTERM);
  waitpid (pid, NULL, 0);
  g_free (command);
  return NULL;
}

void
im_run_command_stop (ImRunCommand *command)
{
  kill (command->pid, SIGTERM);
}

void
im_run_command_wait (ImRunCommand *command)
{
  pthread_join (command->waiter, NULL);
}

int
im_run_command_finish (ImRunCommand *command)
{
  int status = 0;
  while (waitpid (command->pid, &status, 0) < 0 && errno == EINTR)
    ;
  g_free (command);
  return WIFSIGNALED (status) ? 128 + WTERMSIG (status) : WEXITSTATUS (status);
}
