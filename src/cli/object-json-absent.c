/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Objects in JSON, in a build that cannot read it. */
#include "base/error.h"
#include "cli/object-json.h"

GPtrArray *
im_object_json_parse (const char *text, GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "--object: this build lacks JSON (it was made without jansson)");
  return NULL;
}
