/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking --object apart. */
#include "cli/object.h"
#include "base/error.h"
#include "base/key-value.h"
#include "cli/object-json.h"

#include <string.h>

static const struct {
  const char *name;
  bool for_nbd;
} types[] = {
    {"secret", false},      {"tls-creds-x509", true}, {"tls-creds-psk", true},
    {"authz-simple", true}, {"authz-list", true},     {"authz-list-file", true},
};

void
im_object_free (void *data)
{
  ImObject *object = data;
  if (!object)
    return;
  g_free (object->id);
  g_clear_pointer (&object->pairs, g_ptr_array_unref);
  g_free (object);
}

/* TYPE,…, or qom-type=TYPE,… */
static const char *
find_type (const GPtrArray *pairs, GError **error)
{
  const ImKeyValue *first = pairs->len > 0 ? pairs->pdata[0] : NULL;
  const char *type = first ? first->key : "";
  if (first && first->value && strcmp (first->key, "qom-type") == 0)
    type = first->value;
  g_autoptr (GString) known = g_string_new (NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (types); i++) {
    if (strcmp (types[i].name, type) == 0)
      return types[i].name;
    g_string_append_printf (known, "%s%s", i ? ", " : "", types[i].name);
  }
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "--object: '%s' is none of %s", type,
               known->str);
  return NULL;
}

/* Of an argument of this process, all that follows "data="; of JSON, all. */
static void
hide_data (char *text)
{
  if (*text == '{')
    memset (text, '*', strlen (text));
  char *data = strstr (text, ",data=");
  if (data)
    memset (data + strlen (",data="), '*', strlen (data + strlen (",data=")));
}

ImObject *
im_object_parse (char *text, GError **error)
{
  ImObject *object = g_new0 (ImObject, 1);
  object->pairs =
      *text == '{' ? im_object_json_parse (text, error) : im_key_values_parse (text);
  object->type = object->pairs ? find_type (object->pairs, error) : NULL;
  hide_data (text);
  if (!object->type) {
    im_object_free (object);
    return NULL;
  }
  for (guint i = 1; i < object->pairs->len; i++) {
    const ImKeyValue *pair = object->pairs->pdata[i];
    if (strcmp (pair->key, "id") != 0)
      continue;
    g_free (object->id);
    object->id = g_strdup (pair->value ? pair->value : "");
  }
  if (object->id && *object->id)
    return object;
  im_object_refuse (object, error, "id= is missing");
  im_object_free (object);
  return NULL;
}

const ImObject *
im_object_find (const GPtrArray *objects, const char *id)
{
  for (guint i = 0; i < objects->len; i++) {
    const ImObject *object = objects->pdata[i];
    if (strcmp (object->id, id) == 0)
      return object;
  }
  return NULL;
}

bool
im_object_add (GPtrArray *objects, ImObject *object, GError **error)
{
  if (im_object_find (objects, object->id)) {
    im_object_refuse (object, error, "this id was given before");
    im_object_free (object);
    return false;
  }
  g_ptr_array_add (objects, object);
  return true;
}

bool
im_object_is (const ImObject *object, const char *type)
{
  return strcmp (object->type, type) == 0;
}

bool
im_object_is_for_nbd (const ImObject *object)
{
  for (size_t i = 0; i < G_N_ELEMENTS (types); i++)
    if (strcmp (types[i].name, object->type) == 0)
      return types[i].for_nbd;
  return false;
}

static const char **
find_place (const char *key, const ImObjectProperty *properties, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (strcmp (properties[i].key, key) == 0)
      return properties[i].value;
  return NULL;
}

bool
im_object_read (const ImObject *object, const ImObjectProperty *properties, size_t n,
                GError **error)
{
  for (guint i = 1; i < object->pairs->len; i++) {
    const ImKeyValue *pair = object->pairs->pdata[i];
    const char **place = find_place (pair->key, properties, n);
    if (place) {
      *place = pair->value ? pair->value : "";
    } else if (strcmp (pair->key, "id") != 0) {
      g_autoptr (GString) known = g_string_new ("id");
      for (size_t j = 0; j < n; j++)
        g_string_append_printf (known, "%s%s", j + 1 < n ? ", " : " and ",
                                properties[j].key);
      return im_object_refuse (object, error, "'%s' is not known, only %s are", pair->key,
                               known->str);
    }
  }
  return true;
}

bool
im_object_parse_switch (const char *value, bool *ret_on)
{
  static const char *const on[] = {"on", "yes", "true", "y", NULL};
  static const char *const off[] = {"off", "no", "false", "n", NULL};
  *ret_on = g_strv_contains (on, value);
  return *ret_on || g_strv_contains (off, value);
}

bool
im_object_refuse (const ImObject *object, GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "--object %s,id=%s: %s", object->type,
               object->id ? object->id : "", text);
  return false;
}
