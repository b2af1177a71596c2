/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KEY=VALUE,KEY=VALUE… as QEMU writes it: a comma in a value is doubled. */
#pragma once

#include <glib.h>

typedef struct {
  char *key;
  char *value; /* NULL: the key stood alone */
} ImKeyValue;

/* The pairs of TEXT in their order, as a GPtrArray of ImKeyValue.  What is in them is
 * wiped when they are freed. */
GPtrArray *im_key_values_parse (const char *text);

/* None yet, and one more: KEY is copied, VALUE taken. */
GPtrArray *im_key_values_new (void);
void im_key_values_add (GPtrArray *pairs, const char *key, char *value);
