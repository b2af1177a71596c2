/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON, member by member. */
#include "report/json-build.h"

void
im_json_add_string (JsonBuilder *json, const char *key, const char *value)
{
  json_builder_set_member_name (json, key);
  if (!value) {
    json_builder_add_null_value (json);
    return;
  }
  g_autofree char *valid = g_utf8_make_valid (value, -1);
  json_builder_add_string_value (json, valid);
}

void
im_json_add_number (JsonBuilder *json, const char *key, uint64_t value)
{
  json_builder_set_member_name (json, key);
  if (value <= G_MAXINT64)
    json_builder_add_int_value (json, (gint64)value);
  else
    json_builder_add_double_value (json, (double)value);
}

void
im_json_add_boolean (JsonBuilder *json, const char *key, bool value)
{
  json_builder_set_member_name (json, key);
  json_builder_add_boolean_value (json, value);
}

void
im_json_add_strings (JsonBuilder *json, const char *key, const char *const *values,
                     size_t n)
{
  json_builder_set_member_name (json, key);
  json_builder_begin_array (json);
  for (size_t i = 0; i < n; i++)
    json_builder_add_string_value (json, values[i]);
  json_builder_end_array (json);
}

static void
add_range (JsonBuilder *json, const ImDamageRange *range, uint64_t offset, bool in_file)
{
  json_builder_begin_object (json);
  im_json_add_number (json, "offset", range->offset);
  if (in_file)
    im_json_add_number (json, "file-offset", range->offset - offset);
  im_json_add_number (json, "bytes", range->length);
  im_json_add_string (json, "reason", range->reason);
  json_builder_end_object (json);
}

void
im_json_add_damage (JsonBuilder *json, const ImReport *report, uint64_t offset,
                    uint64_t size, bool in_file)
{
  uint64_t unlisted, bytes = 0;
  json_builder_set_member_name (json, "damage");
  if (!report->damage) {
    json_builder_add_null_value (json);
    return;
  }
  g_autoptr (GArray) ranges = im_damage_list (report->damage, offset, size, &unlisted);
  json_builder_begin_object (json);
  im_json_add_string (json, "reads-as", report->disk->fills_damage ? "zero" : "eio");
  json_builder_set_member_name (json, "ranges");
  json_builder_begin_array (json);
  for (guint i = 0; i < ranges->len; i++) {
    const ImDamageRange *range = &g_array_index (ranges, ImDamageRange, i);
    bytes += range->length;
    add_range (json, range, offset, in_file);
  }
  json_builder_end_array (json);
  im_json_add_number (json, "bytes", bytes);
  im_json_add_number (json, "unlisted-bytes", unlisted);
  json_builder_end_object (json);
}
