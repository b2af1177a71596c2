/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking KEY=VALUE lists apart. */
#include "base/key-value.h"

#include <string.h>

static void
wipe (char *text)
{
  if (text)
    explicit_bzero (text, strlen (text));
  g_free (text);
}

static void
key_value_free (void *data)
{
  ImKeyValue *pair = data;
  wipe (pair->key);
  wipe (pair->value);
  g_free (pair);
}

/* Copies from *TEXT up to a single comma or the end, and moves *TEXT behind that. */
static char *
take_value (const char **text)
{
  char *value = g_malloc (strlen (*text) + 1), *to = value;
  const char *from = *text;
  while (*from && (from[0] != ',' || from[1] == ',')) {
    from += from[0] == ',';
    *to++ = *from++;
  }
  *to = '\0';
  *text = from + (*from == ',');
  return value;
}

static ImKeyValue *
take_pair (const char **text)
{
  ImKeyValue *pair = g_new0 (ImKeyValue, 1);
  size_t n = strcspn (*text, "=,");
  pair->key = g_strndup (*text, n);
  *text += n;
  if (**text == '=') {
    (*text)++;
    pair->value = take_value (text);
  } else if (**text == ',') {
    (*text)++;
  }
  return pair;
}

GPtrArray *
im_key_values_new (void)
{
  return g_ptr_array_new_with_free_func (key_value_free);
}

void
im_key_values_add (GPtrArray *pairs, const char *key, char *value)
{
  ImKeyValue *pair = g_new (ImKeyValue, 1);
  *pair = (ImKeyValue){.key = g_strdup (key), .value = value};
  g_ptr_array_add (pairs, pair);
}

GPtrArray *
im_key_values_parse (const char *text)
{
  GPtrArray *pairs = im_key_values_new ();
  while (*text)
    g_ptr_array_add (pairs, take_pair (&text));
  return pairs;
}
