/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the names of other files that stand in an image. */
#include "base/error.h"
#include "formats/qcow2/qcow2-image.h"
#include <string.h>

/* QEMU's rule: a colon before the first slash ends the name of a protocol. */
static size_t
protocol_length (const char *name)
{
  size_t len = strcspn (name, ":/");

  return name[len] == ':' ? len : 0;
}

char *
qcow2_name_resolve (const char *what, const char *name, GError **error)
{
  size_t protocol;

  if (g_str_has_prefix (name, "file:"))
    name += strlen ("file:");
  else if (g_str_has_prefix (name, "json:")) {
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "%s \"%s\" is a description in JSON: only file names are followed", what,
                 name);
    return NULL;
  } else if ((protocol = protocol_length (name)) > 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "%s \"%s\" names the protocol \"%.*s\": only file names are followed",
                 what, name, (int)protocol, name);
    return NULL;
  }
  if (name[0] == '\0') {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "%s is \"file:\" and no name", what);
    return NULL;
  }
  return g_strdup (name);
}
