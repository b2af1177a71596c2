/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The terminal: what it can show, and asking for a passphrase on it. */
#include "base/terminal.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/secret.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
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
        text, im_text_is_hidden (g_utf8_get_char (p)) ? '?' : g_utf8_get_char (p));
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

/* NO_COLOR counts where it is not empty, as https://no-color.org has it. */
static bool
wants_colours (void)
{
  const char *refused = g_getenv ("NO_COLOR"), *term = g_getenv ("TERM");
  return !(refused && *refused) && term && *term && strcmp (term, "dumb") != 0;
}

bool
im_terminal_look (int fd, ImTerminal *ret_terminal)
{
  struct winsize size;
  if (!isatty (fd))
    return false;
  bool said = ioctl (fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  *ret_terminal = (ImTerminal){.columns = said ? size.ws_col : IM_TERMINAL_COLUMNS,
                               .utf8 = strcmp (nl_langinfo (CODESET), "UTF-8") == 0,
                               .colours = wants_colours ()};
  return true;
}
