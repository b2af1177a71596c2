/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NBD form. */
#include "base/error.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/forms.h"
#include "cli/pipeline.h"
#include "cli/run-command.h"
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if HAVE_NBD
#include "cli/pid-file.h"
#include "cli/tls.h"
#include "nbd/kernel.h"
#include "nbd/listing.h"

/* What serves: sockets, and with -c the kernel's device. */
typedef struct {
  ImNbdServer *server;
  ImNbdKernel *kernel;
  ImRunCommand *command; /* --run's, while it is there */
} Serving;

static void
serving_clear (Serving *serving)
{
  im_nbd_kernel_free (serving->kernel);
  im_nbd_server_free (serving->server);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Serving, serving_clear)

/* The device goes first, and takes the server with it. */
static void
stop_serving (void *data, int signal)
{
  const Serving *serving = data;
  if (serving->command)
    im_run_command_stop (serving->command);
  if (serving->kernel)
    im_nbd_kernel_stop (serving->kernel);
  else
    im_nbd_server_stop (serving->server);
}

/* --run's command has ended. */
static void
command_ended (void *data)
{
  im_nbd_server_stop (data);
}

/* -c: attaches the device. */
static bool
attach (Serving *serving, const ImPipeline *pipeline, const ImOptions *options,
        GError **error)
{
  ImNbdKernelOptions kernel = {.device = options->connect,
                               .only_ioctl = options->ioctl,
                               .timeout = (unsigned)options->timeout,
                               .block_size = (uint32_t)options->block_size,
                               .sector_size = pipeline->table->sector_size};
  serving->kernel = im_nbd_kernel_attach (serving->server, pipeline->set, &kernel, error);
  return serving->kernel != NULL;
}

static bool
print_device (const Serving *serving, GError **error)
{
  if (printf ("%s\n", im_nbd_kernel_device (serving->kernel)) < 0 ||
      fflush (stdout) != 0) {
    im_set_errno (error, errno, "cannot print the device");
    return false;
  }
  return true;
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
  bool tls = options->tls_creds || options->tls_psk;
  if (!options->connect && !options->socket && !options->inherited && !tls &&
      !is_loopback (options->bind))
    im_log_warning ("listening on %s port %u without TLS: whoever reaches it can %s "
                    "the image",
                    options->bind, (unsigned)options->port,
                    read_only ? "read" : "read and change");
}

/* What the server runs for, and its end; *RET_STATUS: COMMAND's. */
static bool
run_server (Serving *serving, const ImOptions *options, int *ret_status, GError **error)
{
  if (options->run) {
    serving->command = im_run_command_start (
        options->run, options->socket, options->export_name,
        options->tls_creds || options->tls_psk, command_ended, serving->server, error);
    if (!serving->command)
      return false;
  }
  im_process_watch_signals (stop_serving, serving);
  im_process_ready ();
  bool ok = im_nbd_server_run (serving->server, error);
  if (serving->command && !ok)
    im_run_command_stop (serving->command);
  /* The command may outlive the server, and signals are for it then. */
  if (serving->command)
    im_run_command_wait (serving->command);
  im_process_unwatch_signals ();
  if (serving->command)
    *ret_status = im_run_command_finish (g_steal_pointer (&serving->command));
  return ok;
}

static bool
serve (ImPipeline *pipeline, const ImNbdTls *tls, const ImOptions *options,
       int *ret_status, GError **error)
{
  g_autofree char *port = g_strdup_printf ("%u", (unsigned)options->port);
  ImNbdOptions nbd = {
      .no_listener = options->connect && !options->socket,
      .inherited = options->inherited,
      .socket_path = options->socket,
      .selinux_label = options->selinux_label,
      .bind = options->bind,
      .port = port,
      .export_name = options->export_name,
      .description = options->description,
      .max_clients = (unsigned)options->shared,
      .persistent = options->persistent || options->run,
      .handshake_limit = (unsigned)options->handshake_limit,
      .tls = tls,
  };
  g_auto (Serving) serving = {
      .server = im_nbd_server_new (pipeline->set, pipeline->shared, &nbd, error)};
  if (!serving.server ||
      (options->connect && !attach (&serving, pipeline, options, error)))
    return false;
  warn_of_open_port (options, pipeline->set->read_only);
  g_autoptr (ImPidFile) pid_file =
      options->pid_file ? im_pid_file_new (options->pid_file, error) : NULL;
  if (options->pid_file && !pid_file)
    return false;
  if (serving.kernel && !print_device (&serving, error))
    return false;
  return run_server (&serving, options, ret_status, error);
}

static void
hint_for_device (const ImOptions *options, const GError *error)
{
  if (g_error_matches (error, IM_ERROR, IM_ERROR_NOT_FOUND))
    im_log_hint ("modprobe nbd");
  else if (options->disconnect && g_error_matches (error, IM_ERROR, IM_ERROR_LOCKED))
    im_log_hint ("--force takes it away all the same");
}

static int
open_and_serve (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImNbdTls) tls = NULL;
  if (!im_tls_open (options, &tls, &error)) {
    im_log_error ("%s", error->message);
    return EXIT_FAILURE;
  }
  g_autoptr (ImPipeline) pipeline = im_pipeline_open (options, &error);
  if (!pipeline || !im_pipeline_build_exports (pipeline, options, &error))
    return im_form_fail (options->image, error);
  im_form_say_read_only (pipeline->image);
  int status = EXIT_SUCCESS;
  if (serve (pipeline, tls, options, &status, &error))
    return status;
  im_log_error ("%s", error->message);
  hint_for_device (options, error);
  return EXIT_FAILURE;
}

/* -d. */
static int
disconnect (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  if (im_nbd_kernel_disconnect (options->device, options->force, options->ioctl, &error))
    return printf ("%s disconnected\n", options->device) < 0 ? EXIT_FAILURE
                                                             : EXIT_SUCCESS;
  im_log_error ("%s", error->message);
  hint_for_device (options, error);
  return EXIT_FAILURE;
}

/* -L. */
static int
list_exports (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *port = g_strdup_printf ("%u", (unsigned)options->port);
  g_autoptr (ImNbdTls) tls = NULL;
  bool ready = im_tls_open (options, &tls, &error);
  ImNbdOptions nbd = {.socket_path = options->socket,
                      .bind = options->bind,
                      .port = port,
                      .handshake_limit = (unsigned)options->handshake_limit,
                      .tls = tls,
                      .tls_hostname = options->tls_hostname};
  g_autoptr (ImNbdListing) listing = ready ? im_nbd_list (&nbd, &error) : NULL;
  if (!listing) {
    im_log_error ("%s", error->message);
    if (ready && !tls && g_error_matches (error, IM_ERROR, IM_ERROR_NOT_FOUND))
      im_log_hint (
          "--object tls-creds-x509,id=ID,endpoint=client,dir=DIR --tls-creds ID");
    return EXIT_FAILURE;
  }
  g_autofree char *text = im_nbd_listing_text (listing);
  int status = im_form_print (text);
  return listing->incomplete ? EXIT_FAILURE : status;
}

/* -c stays only where it is told to, or has much to say. */
static bool
goes_to_background (const ImOptions *options)
{
  return options->fork ||
         (options->connect && !options->foreground && options->verbosity == 0);
}

/* --run without --socket: serves in a folder of its own, which goes afterwards. */
static int
serve_in_folder (ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = g_dir_make_tmp ("imgmount-XXXXXX", &error);
  if (!folder) {
    im_log_error ("--run: %s", error->message);
    return EXIT_FAILURE;
  }
  g_autofree char *socket = g_build_filename (folder, "nbd", NULL);
  options->socket = socket;
  int status = open_and_serve (options);
  rmdir (folder);
  return status;
}

/* Sockets from the service manager; where to listen is then not to be said twice. */
static bool
take_activation (ImOptions *options, GError **error)
{
  options->inherited = im_process_take_activation ();
  if (options->inherited == 0 || !(options->names_place || options->list_exports))
    return true;
  g_set_error_literal (error, IM_ERROR, IM_ERROR_USAGE,
                       "with socket activation (LISTEN_FDS) there is no --port, --bind, "
                       "--socket, --connect, --run or -L");
  return false;
}

/* What has to happen before any fork. */
static bool
prepare (ImOptions *options, GError **error)
{
  if (options->trace)
    im_log_warning ("--trace: there are no trace points here; --verbose says more");
  return take_activation (options, error) &&
         (!options->exit_with_parent || im_process_end_with_parent (error)) &&
         (!options->log || im_log_set_file (options->log, error));
}

int
im_form_nbd (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  if (options->disconnect)
    return disconnect (options);
  ImOptions resolved = *options;
  if (!prepare (&resolved, &error)) {
    im_log_error ("%s", error->message);
    return EXIT_FAILURE;
  }
  if (options->list_exports)
    return list_exports (options);
  im_process_block_signals ();
  /* Resolved now, since the background's working directory is another. */
  g_autofree char *pid_file =
      options->pid_file ? g_canonicalize_filename (options->pid_file, NULL) : NULL;
  resolved.pid_file = pid_file;
  if (goes_to_background (options) && !im_process_background (&error)) {
    im_log_error ("%s", error->message);
    return EXIT_FAILURE;
  }
  if (options->connect)
    im_process_serve_kernel ();
  im_process_raise_file_limit ();
  return resolved.run && !resolved.socket ? serve_in_folder (&resolved)
                                          : open_and_serve (&resolved);
}

#else

int
im_form_nbd (const ImOptions *options)
{
  im_log_error ("this build has no NBD exporter");
  return EXIT_FAILURE;
}

#endif
