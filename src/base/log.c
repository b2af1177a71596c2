/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One line per message, whole, wherever messages go at the time. */
#include "base/log.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <syslog.h>
#include <unistd.h>

static atomic_int verbosity;   /* set once, from the command line */
static atomic_int log_fd = -1; /* --log; set once, before any thread */
static atomic_bool detached;   /* standard error is gone */

/* TEXT with control characters as \xNN, so that a name in an image cannot draw on the
 * terminal or forge a line.  Caller frees. */
static char *
escape_control (const char *text)
{
  GString *out = g_string_sized_new (128);
  for (const unsigned char *p = (const unsigned char *)text; *p; p++)
    if (*p < 0x20 || *p == 0x7f)
      g_string_append_printf (out, "\\x%02x", *p);
    else
      g_string_append_c (out, (char)*p);
  return g_string_free (out, FALSE);
}

static void
write_line (int fd, const char *prefix, const char *text)
{
  g_autofree char *line = g_strdup_printf ("imgmount: %s%s\n", prefix, text);
  /* One write, so that lines of several processes do not mix; nobody to tell if it fails.
   */
  if (write (fd, line, strlen (line)) < 0)
    return;
}

static void
emit (int priority, const char *prefix, const char *format, va_list args)
{
  g_autofree char *raw = g_strdup_vprintf (format, args);
  g_autofree char *text = escape_control (raw);
  if (!atomic_load (&detached))
    write_line (STDERR_FILENO, prefix, text);
  else if (atomic_load (&log_fd) >= 0)
    write_line (atomic_load (&log_fd), prefix, text);
  else
    syslog (priority, "%s%s", prefix, text);
}

#define EMIT(priority, prefix)                                                           \
  do {                                                                                   \
    va_list args;                                                                        \
    va_start (args, format);                                                             \
    emit (priority, prefix, format, args);                                               \
    va_end (args);                                                                       \
  } while (0)

void
im_log_error (const char *format, ...)
{
  EMIT (LOG_ERR, "");
}

void
im_log_warning (const char *format, ...)
{
  EMIT (LOG_WARNING, "warning: ");
}

void
im_log_hint (const char *format, ...)
{
  EMIT (LOG_NOTICE, "hint: ");
}

void
im_log_verbose (int level, const char *format, ...)
{
  if (atomic_load_explicit (&verbosity, memory_order_relaxed) >= level)
    EMIT (LOG_DEBUG, "");
}

void
im_log_set_verbosity (int level)
{
  atomic_store (&verbosity, level);
}

int
im_log_verbosity (void)
{
  return atomic_load (&verbosity);
}

bool
im_log_set_file (const char *path, GError **error)
{
  int fd = open (path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
  if (fd < 0) {
    im_set_errno (error, errno, "--log: %s", path);
    return false;
  }
  atomic_store (&log_fd, fd);
  return true;
}

void
im_log_detach (void)
{
  if (atomic_load (&log_fd) < 0)
    openlog ("imgmount", LOG_PID | LOG_NDELAY, LOG_DAEMON);
  atomic_store (&detached, true);
}
