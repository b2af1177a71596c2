/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options → form → exit status. */
#include "base/error.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/forms.h"
#include "cli/help.h"
#include "cli/mount-options.h"
#include "config.h"
#include "formats/format.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

int
im_form_fail (const char *image, const GError *error)
{
  im_log_error ("%s: %s", image, error->message);
  return EXIT_FAILURE;
}

int
im_form_print (const char *text)
{
  if (fputs (text, stdout) >= 0 && fflush (stdout) == 0)
    return EXIT_SUCCESS;
  im_log_error ("standard output: %s", g_strerror (errno));
  return EXIT_FAILURE;
}

void
im_form_say_read_only (const ImImage *image)
{
  if (image->read_only_because)
    im_log_warning ("%s: exported read-only: %s", image->path, image->read_only_because);
}

static int
print_help (void)
{
  g_autofree char *text = im_help_text ();
  return im_form_print (text);
}

static int
print_version (void)
{
  static const struct {
    const char *name;
    bool built;
  } parts[] = {
      {"fuse", HAVE_FUSE},
      {"nbd", HAVE_NBD},
      {"netlink", HAVE_NETLINK},
      {"gnutls", HAVE_GNUTLS},
      {"libdeflate", HAVE_LIBDEFLATE},
      {"zstd", HAVE_ZSTD},
      {"libgcrypt", HAVE_GCRYPT},
      {"io_uring", HAVE_IO_URING},
      {"libaio", HAVE_LIBAIO},
      {"json", HAVE_JSON},
  };
  g_autoptr (GString) text = g_string_new ("imgmount " IMGMOUNT_VERSION " (");
  for (size_t i = 0; i < G_N_ELEMENTS (parts); i++)
    g_string_append_printf (text, "%s%s %s", i ? ", " : "", parts[i].name,
                            parts[i].built ? "yes" : "no");
  g_string_append (text, ")\n");
  return im_form_print (text->str);
}

static int
print_formats (void)
{
  g_autoptr (GString) text = g_string_new (NULL);
  for (const ImFormat *const *f = im_formats (); *f; f++)
    g_string_append_printf (text, "%-8s %s\n", (*f)->name, (*f)->description);
  return im_form_print (text->str);
}

static int
run (const ImOptions *options)
{
  switch (options->form) {
  case IM_FORM_MOUNT:
    return im_form_mount (options);
  case IM_FORM_NBD:
    return im_form_nbd (options);
  case IM_FORM_LIST:
    return im_form_list (options);
  case IM_FORM_INFO:
    return im_form_info (options);
  case IM_FORM_EXTRACT:
    return im_form_extract (options);
  case IM_FORM_VERIFY:
    return im_form_verify (options);
  case IM_FORM_STATUS:
    return im_form_status (options);
  case IM_FORM_UNMOUNT:
    return im_form_unmount (options);
  case IM_FORM_HELP:
    return print_help ();
  case IM_FORM_VERSION:
    return print_version ();
  case IM_FORM_FORMATS:
    return print_formats ();
  }
  return EXIT_FAILURE;
}

/* What GLib sets up at the first error of all, and what the domains are to it, is there
 * before there are threads: it does so without a lock that sanitizers could see. */
static void
prepare_errors (void)
{
  g_error_free (g_error_new_literal (IM_ERROR, IM_ERROR_USAGE, ""));
  g_error_free (g_error_new_literal (IM_ERRNO, EIO, ""));
}

int
main (int argc, char **argv)
{
  im_process_hold_standard_streams ();
  prepare_errors ();
  setlocale (LC_ALL, "");
  g_autoptr (GError) error = NULL;
  g_autoptr (ImOptions) options = im_options_parse (argv[0], argc, argv, &error);
  if (!options ||
      (options->form == IM_FORM_MOUNT && !im_mount_options_apply (options, &error))) {
    im_log_error ("%s", error->message);
    im_log_hint ("imgmount --help lists the options");
    return EXIT_FAILURE;
  }
  im_log_set_verbosity ((int)MIN (options->verbosity, 9));
  return run (options);
}
