/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Members of JSON objects that are being built; nobody outside src/report includes it.
 *
 * Whatever is added belongs to where it was added.  Without memory the program ends, as
 * with GLib: what would be printed then lacked members and did not say so. */
#pragma once

#include "report/report.h"

#include <jansson.h>

G_NORETURN void im_json_no_memory (void);

/* These take VALUE over. */
void im_json_add (json_t *object, const char *key, json_t *value);
void im_json_append (json_t *array, json_t *value);

/* An empty one, borrowed: fill it. */
json_t *im_json_add_object (json_t *object, const char *key);
json_t *im_json_add_array (json_t *object, const char *key);
json_t *im_json_append_object (json_t *array);

/* VALUE NULL becomes null; bytes that are no UTF-8 become U+FFFD. */
void im_json_add_string (json_t *object, const char *key, const char *value);
/* Jansson's integers are signed; what is larger can only be nonsense from a damaged
 * table, and becomes a floating-point number. */
void im_json_add_number (json_t *object, const char *key, uint64_t value);
void im_json_add_boolean (json_t *object, const char *key, bool value);
void im_json_add_strings (json_t *object, const char *key, const char *const *values,
                          size_t n);
/* What ImBlockOps.describe gives, with all that is inside. */
void im_json_add_variant (json_t *object, const char *key, GVariant *value);

/* The member "partitiontable"; TABLE may be NULL. */
void im_json_add_table (json_t *object, const char *device,
                        const ImPartitionTable *table);

/* The member "damage", null where nobody looks for any: what lies in SIZE bytes of the
 * disk from OFFSET on.  IN_FILE: places in a copy of these are told too. */
void im_json_add_damage (json_t *object, const ImReport *report, uint64_t offset,
                         uint64_t size, bool in_file);
