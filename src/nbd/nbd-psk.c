/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading keys.psk. */
#include "nbd/nbd-psk.h"
#include "base/error.h"

#include <stdint.h>
#include <string.h>

/* As long as GnuTLS takes them. */
enum { NAME_MAX_BYTES = 65535, KEY_MAX_BYTES = 512 };

struct ImNbdPskKeys {
  GHashTable *by_name; /* GBytes → GBytes */
};

static void
wipe_key (void *bytes)
{
  gsize length;
  void *data = g_bytes_unref_to_data (bytes, &length);
  explicit_bzero (data, length);
  g_free (data);
}

/* NULL: this is no hexadecimal number of whole bytes. */
static GBytes *
decode_hex (const char *text, size_t length)
{
  if (length == 0 || length % 2 != 0)
    return NULL;
  uint8_t *bytes = g_malloc (length / 2);
  for (size_t i = 0; i < length; i++) {
    int digit = g_ascii_xdigit_value (text[i]);
    if (digit < 0) {
      explicit_bzero (bytes, length / 2);
      g_free (bytes);
      return NULL;
    }
    bytes[i / 2] = (uint8_t)(i % 2 ? bytes[i / 2] << 4 | digit : digit);
  }
  return g_bytes_new_take (bytes, length / 2);
}

/* What is wrong with the line, or NULL; the first line of a name counts. */
static const char *
take_line (ImNbdPskKeys *keys, const char *line, size_t length)
{
  const char *colon = memchr (line, ':', length);
  if (!colon)
    return "it is not NAME:KEY";
  size_t name_length = (size_t)(colon - line), key_length = length - name_length - 1;
  g_autoptr (GBytes) name = *line == '#' ? decode_hex (line + 1, name_length - 1)
                                         : g_bytes_new (line, name_length);
  if (!name || g_bytes_get_size (name) == 0 || g_bytes_get_size (name) > NAME_MAX_BYTES)
    return "that is no name";
  GBytes *key =
      key_length <= 2 * KEY_MAX_BYTES ? decode_hex (colon + 1, key_length) : NULL;
  if (!key)
    return "the key is not a hexadecimal number of 1 to 512 bytes";
  if (g_hash_table_contains (keys->by_name, name))
    wipe_key (key);
  else
    g_hash_table_insert (keys->by_name, g_steal_pointer (&name), key);
  return NULL;
}

ImNbdPskKeys *
im_nbd_psk_parse (const char *text, size_t length, GError **error)
{
  g_autoptr (ImNbdPskKeys) keys = g_new0 (ImNbdPskKeys, 1);
  const char *wrong = NULL;
  unsigned number = 0;
  keys->by_name = g_hash_table_new_full (g_bytes_hash, g_bytes_equal,
                                         (GDestroyNotify)g_bytes_unref, wipe_key);
  while (length > 0 && !wrong) {
    const char *end = memchr (text, '\n', length);
    size_t n = end ? (size_t)(end - text) : length, left = length - n - (end != NULL);
    size_t line = n - (n > 0 && text[n - 1] == '\r');
    number++;
    if (line > 0)
      wrong = take_line (keys, text, line);
    text += length - left;
    length = left;
  }
  if (wrong) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "line %u: %s", number, wrong);
    return NULL;
  }
  if (g_hash_table_size (keys->by_name) == 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "there is no key in it");
    return NULL;
  }
  return g_steal_pointer (&keys);
}

void
im_nbd_psk_free (ImNbdPskKeys *keys)
{
  if (!keys)
    return;
  g_hash_table_unref (keys->by_name);
  g_free (keys);
}

GBytes *
im_nbd_psk_find (const ImNbdPskKeys *keys, const void *name, size_t length)
{
  g_autoptr (GBytes) wanted = g_bytes_new_static (name, length);
  return g_hash_table_lookup (keys->by_name, wanted);
}
