/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Objects in JSON.  What they hold may be secret: it is not repeated in messages. */
#include "cli/object-json.h"
#include "base/error.h"
#include "base/key-value.h"

#include <jansson.h>
#include <string.h>

/* No property lies deeper than "rules.0.match". */
enum { DEPTH_MAX = 3 };

static bool
refuse (GError **error, const char *key, const char *what)
{
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "--object: \"%s\" %s", key, what);
  return false;
}

/* VALUE as text; NULL: it is nothing of that kind.  Caller frees. */
static char *
scalar_text (const json_t *value)
{
  if (json_is_string (value))
    return g_strdup (json_string_value (value));
  if (json_is_integer (value))
    return g_strdup_printf ("%" JSON_INTEGER_FORMAT, json_integer_value (value));
  if (json_is_boolean (value))
    return g_strdup (json_is_true (value) ? "on" : "off");
  return NULL;
}

static bool flatten (GPtrArray *pairs, const char *key, const json_t *value,
                     unsigned depth, GError **error);

static bool
flatten_members (GPtrArray *pairs, const char *key, const json_t *value, unsigned depth,
                 GError **error)
{
  const char *name;
  json_t *member;
  json_object_foreach ((json_t *)value, name, member)
  {
    g_autofree char *path = key ? g_strdup_printf ("%s.%s", key, name) : g_strdup (name);
    if (!flatten (pairs, path, member, depth + 1, error))
      return false;
  }
  return true;
}

static bool
flatten_items (GPtrArray *pairs, const char *key, const json_t *value, unsigned depth,
               GError **error)
{
  for (size_t i = 0; i < json_array_size (value); i++) {
    g_autofree char *path = g_strdup_printf ("%s.%zu", key, i);
    if (!flatten (pairs, path, json_array_get (value, i), depth + 1, error))
      return false;
  }
  return true;
}

static bool
flatten (GPtrArray *pairs, const char *key, const json_t *value, unsigned depth,
         GError **error)
{
  if (depth > DEPTH_MAX)
    return refuse (error, key, "is not known");
  if (json_is_object (value))
    return flatten_members (pairs, key, value, depth, error);
  if (json_is_array (value))
    return flatten_items (pairs, key, value, depth, error);
  char *text = scalar_text (value);
  if (!text)
    return refuse (error, key, "is neither text nor a whole number, true or false");
  im_key_values_add (pairs, key, text);
  return true;
}

/* Makes the pair of the type the first. */
static bool
put_type_first (GPtrArray *pairs, GError **error)
{
  for (guint i = 0; i < pairs->len; i++) {
    ImKeyValue *pair = pairs->pdata[i];
    if (strcmp (pair->key, "qom-type") != 0)
      continue;
    pairs->pdata[i] = pairs->pdata[0];
    pairs->pdata[0] = pair;
    return true;
  }
  return refuse (error, "qom-type", "is missing");
}

/* jansson gives its memory back as it is. */
static void
wipe_data (json_t *root)
{
  char *data = (char *)json_string_value (json_object_get (root, "data"));
  if (data)
    explicit_bzero (data, strlen (data));
}

GPtrArray *
im_object_json_parse (const char *text, GError **error)
{
  json_error_t at;
  json_auto_t *root = json_loads (text, JSON_REJECT_DUPLICATES, &at);
  if (!root) {
    /* Its text may quote what stands there. */
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "--object: no JSON at line %d, column %d", at.line, at.column);
    return NULL;
  }
  g_autoptr (GPtrArray) pairs = im_key_values_new ();
  bool ok = json_is_object (root) ? flatten_members (pairs, NULL, root, 0, error)
                                  : refuse (error, "", "is no object");
  wipe_data (root);
  return ok && put_type_first (pairs, error) ? g_steal_pointer (&pairs) : NULL;
}
