/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mount form, and --unmount. */
#include "base/error.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/forms.h"
#include "cli/pipeline.h"
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#if HAVE_FUSE
#include "fuse/fuse.h"

static void
stop_session (void *data, int signal)
{
  im_fuse_session_stop (data);
}

static void
say_ready (void *data)
{
  im_process_ready ();
}

/* Serves what PIPELINE holds until it is unmounted. */
static bool
serve (ImPipeline *pipeline, const ImOptions *options, const char *mountpoint,
       GError **error)
{
  ImFuseOptions fuse = {.mountpoint = mountpoint, .options = options->mount_options};
  g_autoptr (ImFuseSession) session = im_fuse_session_new (pipeline->set, &fuse, error);
  if (!session)
    return false;
  im_process_watch_signals (stop_session, session);
  bool ok = im_fuse_session_run (session, say_ready, NULL, error);
  im_process_unwatch_signals ();
  return ok;
}

/* All of the work, in the process that will serve. */
static int
open_and_serve (const ImOptions *options, const char *mountpoint)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImPipeline) pipeline = im_pipeline_open (options, &error);
  if (!pipeline || !im_pipeline_build_exports (pipeline, options, &error))
    return im_form_fail (options->image, error);
  im_form_say_read_only (pipeline->image);
  if (!serve (pipeline, options, mountpoint, &error)) {
    im_log_error ("%s: %s", options->mountpoint, error->message);
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}

int
im_form_mount (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  if (options->log && !im_log_set_file (options->log, &error)) {
    im_log_error ("%s", error->message);
    return EXIT_FAILURE;
  }
  g_autofree char *mountpoint = realpath (options->mountpoint, NULL);
  if (!mountpoint) {
    im_log_error ("%s: %s", options->mountpoint, g_strerror (errno));
    return EXIT_FAILURE;
  }
  im_process_block_signals ();
  if (!options->foreground && !im_process_background (&error)) {
    im_log_error ("%s", error->message);
    return EXIT_FAILURE;
  }
  im_process_raise_file_limit ();
  return open_and_serve (options, mountpoint);
}

int
im_form_unmount (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  if (im_fuse_unmount (options->mountpoint, &error))
    return EXIT_SUCCESS;
  return im_form_fail (options->mountpoint, error);
}

#else

int
im_form_mount (const ImOptions *options)
{
  im_log_error ("this build cannot mount: it was made without libfuse3");
  return EXIT_FAILURE;
}

int
im_form_unmount (const ImOptions *options)
{
  return im_form_mount (options);
}

#endif
