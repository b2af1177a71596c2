/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON, member by member. */
#include "report/json-build.h"

void
im_json_no_memory (void)
{
  g_error ("no memory for JSON");
}

void
im_json_add (json_t *object, const char *key, json_t *value)
{
  if (json_object_set_new (object, key, value) < 0)
    im_json_no_memory ();
}

void
im_json_append (json_t *array, json_t *value)
{
  if (json_array_append_new (array, value) < 0)
    im_json_no_memory ();
}

json_t *
im_json_add_object (json_t *object, const char *key)
{
  json_t *added = json_object ();
  im_json_add (object, key, added);
  return added;
}

json_t *
im_json_add_array (json_t *object, const char *key)
{
  json_t *added = json_array ();
  im_json_add (object, key, added);
  return added;
}

json_t *
im_json_append_object (json_t *array)
{
  json_t *added = json_object ();
  im_json_append (array, added);
  return added;
}

static json_t *
string_of (const char *text)
{
  if (!text)
    return json_null ();
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  return json_string (valid);
}

static json_t *
number_of (uint64_t value)
{
  return value <= G_MAXINT64 ? json_integer ((json_int_t)value)
                             : json_real ((double)value);
}

void
im_json_add_string (json_t *object, const char *key, const char *value)
{
  im_json_add (object, key, string_of (value));
}

void
im_json_add_number (json_t *object, const char *key, uint64_t value)
{
  im_json_add (object, key, number_of (value));
}

void
im_json_add_boolean (json_t *object, const char *key, bool value)
{
  im_json_add (object, key, json_boolean (value));
}

void
im_json_add_strings (json_t *object, const char *key, const char *const *values, size_t n)
{
  json_t *array = im_json_add_array (object, key);
  for (size_t i = 0; i < n; i++)
    im_json_append (array, string_of (values[i]));
}

/* As --info prints kinds of facts that it does not know. */
static json_t *
printed (GVariant *value)
{
  g_autofree char *text = g_variant_print (value, FALSE);
  return string_of (text);
}

static json_t *value_of (GVariant *value);

static json_t *
object_of (GVariant *dictionary)
{
  json_t *object = json_object ();
  GVariantIter iter;
  const char *key;
  GVariant *value;
  g_variant_iter_init (&iter, dictionary);
  while (g_variant_iter_next (&iter, "{&sv}", &key, &value)) {
    im_json_add (object, key, value_of (value));
    g_variant_unref (value);
  }
  return object;
}

static json_t *
array_of (GVariant *list)
{
  json_t *array = json_array ();
  for (gsize i = 0; i < g_variant_n_children (list); i++) {
    g_autoptr (GVariant) child = g_variant_get_child_value (list, i);
    im_json_append (array, value_of (child));
  }
  return array;
}

static json_t *
value_of (GVariant *value)
{
  if (g_variant_is_of_type (value, G_VARIANT_TYPE_VARDICT))
    return object_of (value);
  switch (g_variant_classify (value)) {
  case G_VARIANT_CLASS_ARRAY:
    return array_of (value);
  case G_VARIANT_CLASS_STRING:
    return string_of (g_variant_get_string (value, NULL));
  case G_VARIANT_CLASS_BOOLEAN:
    return json_boolean (g_variant_get_boolean (value));
  case G_VARIANT_CLASS_UINT32:
    return number_of (g_variant_get_uint32 (value));
  case G_VARIANT_CLASS_UINT64:
    return number_of (g_variant_get_uint64 (value));
  default:
    return printed (value);
  }
}

void
im_json_add_variant (json_t *object, const char *key, GVariant *value)
{
  im_json_add (object, key, value_of (value));
}

static void
add_range (json_t *ranges, const ImDamageRange *range, uint64_t offset, bool in_file)
{
  json_t *json = im_json_append_object (ranges);
  im_json_add_number (json, "offset", range->offset);
  if (in_file)
    im_json_add_number (json, "file-offset", range->offset - offset);
  im_json_add_number (json, "bytes", range->length);
  im_json_add_string (json, "reason", range->reason);
}

void
im_json_add_damage (json_t *object, const ImReport *report, uint64_t offset,
                    uint64_t size, bool in_file)
{
  uint64_t unlisted, bytes = 0;
  if (!report->damage) {
    im_json_add (object, "damage", json_null ());
    return;
  }
  g_autoptr (GArray) ranges = im_damage_list (report->damage, offset, size, &unlisted);
  json_t *json = im_json_add_object (object, "damage");
  im_json_add_string (json, "reads-as", report->disk->fills_damage ? "zero" : "eio");
  json_t *array = im_json_add_array (json, "ranges");
  for (guint i = 0; i < ranges->len; i++) {
    const ImDamageRange *range = &g_array_index (ranges, ImDamageRange, i);
    bytes += range->length;
    add_range (array, range, offset, in_file);
  }
  im_json_add_number (json, "bytes", bytes);
  im_json_add_number (json, "unlisted-bytes", unlisted);
}
