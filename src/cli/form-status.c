/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --status. */
#include "base/log.h"
#include "base/served.h"
#include "cli/forms.h"
#include "config.h"
#include "report/report.h"

#include <stdlib.h>

#if HAVE_FUSE
#include "fuse/fuse.h"
#endif
#if HAVE_NBD
#include "nbd/kernel.h"
#endif

/* Fills both, of ImServed. */
static bool
find_served (GPtrArray *mounts, GPtrArray *devices, GError **error)
{
#if HAVE_NBD
  im_nbd_kernel_list (devices);
#endif
#if HAVE_FUSE
  return im_fuse_list (mounts, error);
#else
  return true;
#endif
}

/* What to do about those in LIST that are dead. */
static void
hint_for_dead (const GPtrArray *list, const char *remedy)
{
  for (guint i = 0; i < list->len; i++) {
    const ImServed *served = list->pdata[i];
    if (served->state == IM_SERVED_DEAD)
      im_log_hint ("the server of %s has ended: imgmount %s %s clears it", served->where,
                   remedy, served->where);
  }
}

int
im_form_status (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) mounts = g_ptr_array_new_with_free_func (im_served_free);
  g_autoptr (GPtrArray) devices = g_ptr_array_new_with_free_func (im_served_free);
  g_autofree char *text = NULL;
  if (find_served (mounts, devices, &error))
    text = options->json ? im_report_status_json (mounts, devices, &error)
                         : im_report_status (mounts, devices);
  if (!text) {
    im_log_error ("--status: %s", error->message);
    return EXIT_FAILURE;
  }
  int status = im_form_print (text);
  if (!options->json) {
    hint_for_dead (mounts, "--unmount");
    hint_for_dead (devices, "--nbd -d");
  }
  return status;
}
