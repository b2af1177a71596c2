/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Members of the JSON object that is being built; nobody outside src/report includes it.
 */
#pragma once

#include "report/report.h"

#include <json-glib/json-glib.h>

/* VALUE NULL becomes null; bytes that are no UTF-8 become U+FFFD. */
void im_json_add_string (JsonBuilder *json, const char *key, const char *value);
/* json-glib's integers are signed; what is larger can only be nonsense from a damaged
 * table, and becomes a floating-point number. */
void im_json_add_number (JsonBuilder *json, const char *key, uint64_t value);
void im_json_add_boolean (JsonBuilder *json, const char *key, bool value);
void im_json_add_strings (JsonBuilder *json, const char *key, const char *const *values,
                          size_t n);

/* The member "partitiontable"; TABLE may be NULL. */
void im_json_add_table (JsonBuilder *json, const char *device,
                        const ImPartitionTable *table);

/* The member "damage", null where nobody looks for any: what lies in SIZE bytes of the
 * disk from OFFSET on.  IN_FILE: places in a copy of these are told too. */
void im_json_add_damage (JsonBuilder *json, const ImReport *report, uint64_t offset,
                         uint64_t size, bool in_file);
