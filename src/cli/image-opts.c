/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From KEY=VALUE,… to what is said of each image of the chain. */
#include "cli/image-opts.h"
#include "base/error.h"
#include "base/key-value.h"
#include "base/parse.h"
#include "cli/object.h"

static bool refuse (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

static bool
refuse (GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "--image-opts: %s", text);
  return false;
}

/* What is being read: the node that a key is about, and the whole key for messages. */
typedef struct {
  ImNodeOptions *node;
  const char *key;
  bool *read_only; /* NULL: of a parent, which is never written */
} Place;

static bool
set_text (const Place *place, char **field, const char *value, GError **error)
{
  if (*field)
    return refuse (error, "%s is given more than once", place->key);
  *field = g_strdup (value);
  return true;
}

static bool
set_driver (const Place *place, const char *value, GError **error)
{
  /* A protocol in a format's place: its bytes as they are. */
  if (strcmp (value, "file") == 0 || strcmp (value, "host_device") == 0)
    value = "raw";
  return set_text (place, &place->node->driver, value, error);
}

static bool
set_filename (const Place *place, const char *value, GError **error)
{
  return set_text (place, &place->node->filename, value, error);
}

static bool
set_protocol (const Place *place, const char *value, GError **error)
{
  return strcmp (value, "file") == 0 || strcmp (value, "host_device") == 0 ||
         refuse (error, "%s: '%s' is neither file nor host_device", place->key, value);
}

static bool
set_offset (const Place *place, const char *value, GError **error)
{
  return im_parse_size (value, "--image-opts: offset", &place->node->offset, error);
}

static bool
set_size (const Place *place, const char *value, GError **error)
{
  return im_parse_size (value, "--image-opts: size", &place->node->size, error) &&
         (place->node->size > 0 || refuse (error, "%s: 0 is less than 1", place->key));
}

static bool
set_encrypt_format (const Place *place, const char *value, GError **error)
{
  if (strcmp (value, "luks") != 0 && strcmp (value, "aes") != 0)
    return refuse (error, "%s: '%s' is neither luks nor aes", place->key, value);
  return set_text (place, &place->node->encrypt_format, value, error);
}

static bool
set_key_secret (const Place *place, const char *value, GError **error)
{
  return set_text (place, &place->node->key_secret, value, error);
}

static bool
set_read_only (const Place *place, const char *value, GError **error)
{
  bool on;
  if (!im_object_parse_switch (value, &on))
    return refuse (error, "%s: '%s' is neither on nor off", place->key, value);
  if (place->read_only)
    *place->read_only = on;
  return true;
}

static const struct {
  const char *key;
  bool (*set) (const Place *place, const char *value, GError **error);
} keys[] = {
    {"driver", set_driver},
    {"filename", set_filename},
    {"file.filename", set_filename},
    {"file.driver", set_protocol},
    {"offset", set_offset},
    {"size", set_size},
    {"encrypt.format", set_encrypt_format},
    {"encrypt.key-secret", set_key_secret},
    {"key-secret", set_key_secret},
    {"read-only", set_read_only},
};

/* "backing." leads to the parent, as often as it stands there. */
static bool
apply (ImNodeOptions *node, const ImKeyValue *pair, bool *read_only, GError **error)
{
  const char *rest = pair->key;
  unsigned depth = 0;
  for (; g_str_has_prefix (rest, "backing."); rest += strlen ("backing.")) {
    if (++depth > IM_IMAGE_MAX_DEPTH)
      return refuse (error, "more than %d times 'backing.'", IM_IMAGE_MAX_DEPTH);
    if (!node->backing)
      node->backing = g_new0 (ImNodeOptions, 1);
    node = node->backing;
  }
  Place place = {node, pair->key, depth == 0 ? read_only : NULL};
  for (size_t i = 0; i < G_N_ELEMENTS (keys); i++) {
    if (strcmp (keys[i].key, rest) != 0)
      continue;
    /* QEMU's short form of a switch that is on. */
    if (!pair->value && keys[i].set != set_read_only)
      return refuse (error, "'%s' needs a value", pair->key);
    return keys[i].set (&place, pair->value ? pair->value : "on", error);
  }
  return refuse (error, "key '%s' is not known", pair->key);
}

/* What one node's keys say together. */
static bool
check_node (const ImNodeOptions *node, GError **error)
{
  const char *driver = node->driver;
  if (driver && strcmp (driver, "raw") != 0 && (node->offset || node->size))
    return refuse (error, "offset and size are for raw, not for %s", driver);
  if (driver && strcmp (driver, "raw") == 0 && node->key_secret)
    return refuse (error, "a key secret is for qcow2 and luks, not for raw");
  return !node->backing || check_node (node->backing, error);
}

ImNodeOptions *
im_image_opts_parse (const char *text, bool *ret_read_only, GError **error)
{
  g_autoptr (GPtrArray) pairs = im_key_values_parse (text);
  g_autoptr (ImNodeOptions) node = g_new0 (ImNodeOptions, 1);
  for (guint i = 0; i < pairs->len; i++)
    if (!apply (node, pairs->pdata[i], ret_read_only, error))
      return NULL;
  if (!node->filename) {
    refuse (error, "no file: file.filename= names it");
    return NULL;
  }
  return check_node (node, error) ? g_steal_pointer (&node) : NULL;
}
