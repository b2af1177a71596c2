/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking for a passphrase on the terminal. */
#include "base/bytes.h"
#include "base/error.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

enum { LINE_ROOM = 4096 }; /* a terminal's line has no more */

/* The terminal while it is asked on.  Signals that would end the process are taken here,
 * so that they cannot leave it without its echo. */
typedef struct {
  int fd, signals;
  struct termios saved;
  sigset_t old_mask;
} Terminal;

static bool
silence (Terminal *terminal, GError **error)
{
  struct termios quiet;
  if (tcgetattr (terminal->fd, &terminal->saved) < 0) {
    im_set_errno (error, errno, "/dev/tty");
    return false;
  }
  quiet = terminal->saved;
  quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
  quiet.c_lflag |= ECHONL | ICANON | ISIG;
  if (tcsetattr (terminal->fd, TCSAFLUSH, &quiet) == 0)
    return true;
  im_set_errno (error, errno, "/dev/tty");
  return false;
}

static void
watch_signals (Terminal *terminal)
{
  sigset_t set;
  sigemptyset (&set);
  sigaddset (&set, SIGINT);
  sigaddset (&set, SIGTERM);
  sigaddset (&set, SIGHUP);
  sigaddset (&set, SIGQUIT);
  pthread_sigmask (SIG_BLOCK, &set, &terminal->old_mask);
  terminal->signals = signalfd (-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* A line, without its end; -1 where there is none: *ERROR tells why. */
static ssize_t
read_line (const Terminal *terminal, char *line, GError **error)
{
  struct pollfd polls[] = {{.fd = terminal->fd, .events = POLLIN},
                           {.fd = terminal->signals, .events = POLLIN}};
  while (poll (polls, G_N_ELEMENTS (polls), -1) < 0)
    if (errno != EINTR)
      break;
  struct signalfd_siginfo info;
  if (polls[1].revents && read (terminal->signals, &info, sizeof info) > 0) {
    im_set_errno (error, EINTR, "asking for the passphrase");
    return -1;
  }
  ssize_t n = read (terminal->fd, line, LINE_ROOM);
  if (n > 0)
    return line[n - 1] == '\n' ? n - 1 : n;
  im_set_errno (error, n < 0 ? errno : ECANCELED, "asking for the passphrase");
  return -1;
}

/* Names come from images: nothing in them may steer the terminal. */
static void
print_prompt (const Terminal *terminal, const char *prompt)
{
  g_autofree char *valid = g_utf8_make_valid (prompt, -1);
  g_autoptr (GString) text = g_string_new (NULL);
  for (const char *p = valid; *p; p = g_utf8_next_char (p))
    g_string_append_unichar (
        text, g_unichar_iscntrl (g_utf8_get_char (p)) ? '?' : g_utf8_get_char (p));
  dprintf (terminal->fd, "%s", text->str);
}

static ImSecret *
ask (const Terminal *terminal, const char *prompt, GError **error)
{
  g_autoptr (ImSecret) line = im_secret_new (NULL, LINE_ROOM);
  print_prompt (terminal, prompt);
  ssize_t length = read_line (terminal, (char *)line->bytes, error);
  return length < 0 ? NULL : im_secret_new (line->bytes, (size_t)length);
}

ImSecret *
im_secret_ask (const char *prompt, GError **error)
{
  Terminal terminal = {.fd = open ("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)};
  ImSecret *secret = NULL;
  if (terminal.fd < 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED, "there is no terminal to ask on");
    return NULL;
  }
  watch_signals (&terminal);
  if (silence (&terminal, error)) {
    secret = ask (&terminal, prompt, error);
    tcsetattr (terminal.fd, TCSAFLUSH, &terminal.saved);
  }
  if (!secret)
    dprintf (terminal.fd, "\n");
  close (terminal.signals);
  close (terminal.fd);
  pthread_sigmask (SIG_SETMASK, &terminal.old_mask, NULL);
  return secret;
}
