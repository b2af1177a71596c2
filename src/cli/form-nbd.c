/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NBD form. */
#include "base/error.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/forms.h"
#include "cli/pipeline.h"
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if HAVE_NBD
#include "nbd/nbd.h"

/* Writes this process's number to PATH, for --pid-file. */
static bool
write_pid_file (const char *path, GError **error)
{
  g_autofree char *text = g_strdup_printf ("%ld\n", (long)getpid ());
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0644);
  if (fd < 0) {
    im_set_errno (error, errno, "--pid-file: %s", path);
    return false;
  }
  ssize_t written = write (fd, text, strlen (text));
  int failure = written == (ssize_t)strlen (text) ? 0 : written < 0 ? errno : ENOSPC;
  close (fd);
  if (failure != 0)
    im_set_errno (error, failure, "--pid-file: %s", path);
  return failure == 0;
}

static void
stop_server (void *data, int signal)
{
  im_nbd_server_stop (data);
}

static bool
is_loopback (const char *bind)
{
  return g_str_has_prefix (bind, "127.") || strcmp (bind, "::1") == 0 ||
         strcmp (bind, "localhost") == 0;
}

static void
warn_of_open_port (const ImOptions *options, bool read_only)
{
  if (!options->socket && !is_loopback (options->bind))
    im_log_warning ("listening on %s port %u without TLS: whoever reaches it can %s "
                    "the image",
                    options->bind, (unsigned)options->port,
                    read_only ? "read" : "read and change");
}

static bool
serve (ImPipeline *pipeline, const ImOptions *options, GError **error)
{
  g_autofree char *port = g_strdup_printf ("%u", (unsigned)options->port);
  ImNbdOptions nbd = {
      .socket_path = options->socket,
      .bind = options->bind,
      .port = port,
      .export_name = options->export_name,
      .description = options->description,
      .max_clients = (unsigned)options->shared,
      .persistent = options->persistent,
      .handshake_limit = (unsigned)options->handshake_limit,
  };
  g_autoptr (ImNbdServer) server =
      im_nbd_server_new (pipeline->set, pipeline->shared, &nbd, error);
  if (!server)
    return false;
  warn_of_open_port (options, pipeline->set->read_only);
  if (options->pid_file && !write_pid_file (options->pid_file, error))
    return false;
  im_process_watch_signals (stop_server, server);
  im_process_ready ();
  bool ok = im_nbd_server_run (server, error);
  im_process_unwatch_signals ();
  if (options->pid_file)
    unlink (options->pid_file);
  return ok;
}

static int
open_and_serve (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImPipeline) pipeline = im_pipeline_open (options, &error);
  if (!pipeline || !im_pipeline_build_exports (pipeline, options, &error))
    return im_form_fail (options->image, error);
  im_form_say_read_only (pipeline->image);
  bool ok = serve (pipeline, options, &error);
  if (!ok)
    im_log_error ("%s", error->message);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
im_form_nbd (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  if (options->log && !im_log_set_file (options->log, &error)) {
    im_log_error ("%s", error->message);
    return EXIT_FAILURE;
  }
  /* Resolved now, since the background's working directory is another. */
  g_autofree char *pid_file =
      options->pid_file ? g_canonicalize_filename (options->pid_file, NULL) : NULL;
  ImOptions resolved = *options;
  resolved.pid_file = pid_file;
  im_process_block_signals ();
  if (options->fork && !im_process_background (&error)) {
    im_log_error ("%s", error->message);
    return EXIT_FAILURE;
  }
  im_process_raise_file_limit ();
  return open_and_serve (&resolved);
}

#else

int
im_form_nbd (const ImOptions *options)
{
  im_log_error ("this build has no NBD exporter");
  return EXIT_FAILURE;
}

#endif
