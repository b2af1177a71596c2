/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of who may connect in files, in a build that cannot read JSON. */
#include "base/error.h"
#include "nbd/nbd-authz.h"

ImNbdAuthz *
im_nbd_authz_read (int folder, const char *name, GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "%s: this build lacks JSON (it was made without jansson)", name);
  return NULL;
}
