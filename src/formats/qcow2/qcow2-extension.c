/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: what follows the header in the first cluster: the header extensions with the
 * feature name table, and the parent's name. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-layout.h"
#include <inttypes.h>

#define FEATURE_ENTRY_SIZE 48u
#define FEATURE_NAME_SIZE  46u
/* Three words of 64 feature bits cannot have more names than this. */
#define FEATURE_ENTRIES_MAX 192u

void
qcow2_extensions_clear (Qcow2Extensions *extensions)
{
  g_clear_pointer (&extensions->backing_format, g_free);
  g_clear_pointer (&extensions->data_file, g_free);
  g_clear_pointer (&extensions->feature_names, g_free);
  extensions->feature_count = 0;
}

/* Replaces *NAME; an empty string stays NULL. */
static bool
decode_string (const char *what, const uint8_t *data, uint32_t len, uint32_t most,
               char **name, GError **error)
{
  if (len > most) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "header extension: %s of %" PRIu32
                 " bytes is longer than the limit of %" PRIu32,
                 what, len, most);
    return false;
  }
  g_free (*name);
  *name = len > 0 && data[0] != 0 ? g_strndup ((const char *)data, len) : NULL;
  return true;
}

static void
decode_feature_names (Qcow2Extensions *e, const uint8_t *data, uint32_t len)
{
  size_t count = im_min (len / FEATURE_ENTRY_SIZE, FEATURE_ENTRIES_MAX);

  g_free (e->feature_names);
  e->feature_names = g_memdup2 (data, count * FEATURE_ENTRY_SIZE);
  e->feature_count = count;
}

static bool
decode_bitmaps (Qcow2Extensions *e, const uint8_t *data, uint32_t len, GError **error)
{
  ImCursor c = im_cursor (data, len);

  e->bitmap_count = im_cursor_be32 (&c);
  (void)im_cursor_be32 (&c);
  e->directory_size = im_cursor_be64 (&c);
  e->directory_offset = im_cursor_be64 (&c);
  if (c.overrun) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header extension: bitmaps: length %" PRIu32 " is less than 24", len);
    return false;
  }
  e->has_bitmaps = true;
  return true;
}

static bool
decode_one (Qcow2Extensions *e, uint32_t type, const uint8_t *data, uint32_t len,
            GError **error)
{
  switch (type) {
  case QCOW2_EXTENSION_BACKING_FORMAT:
    return decode_string ("backing format", data, len, QCOW2_MAX_FORMAT_NAME,
                          &e->backing_format, error);
  case QCOW2_EXTENSION_DATA_FILE:
    return decode_string ("data file name", data, len, QCOW2_MAX_DATA_FILE_NAME,
                          &e->data_file, error);
  case QCOW2_EXTENSION_FEATURE_NAMES:
    decode_feature_names (e, data, len);
    return true;
  case QCOW2_EXTENSION_BITMAPS:
    return decode_bitmaps (e, data, len, error);
  default:
    return true; /* the format lets unknown ones be skipped */
  }
}

bool
qcow2_extensions_decode (const Qcow2Header *header, const uint8_t *area, size_t area_len,
                         Qcow2Extensions *ret_extensions, GError **error)
{
  g_auto (Qcow2Extensions) e = {0};
  uint64_t end = header->backing_offset ? header->backing_offset : area_len;
  size_t at = header->header_length;

  end = im_min (end, area_len);
  while (at < end && end - at >= 8) {
    uint32_t type = im_get_be32 (area + at), len = im_get_be32 (area + at + 4);
    uint64_t padded = (uint64_t)len + (8 - len % 8) % 8;

    if (type == QCOW2_EXTENSION_END)
      break;
    if (len > end - at - 8) {
      g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                   "header extension 0x%08" PRIx32 " at 0x%zx: length %" PRIu32
                   " runs past the end of the extensions (0x%" PRIx64 ")",
                   type, at, len, end);
      return false;
    }
    if (!decode_one (&e, type, area + at + 8, len, error))
      return false;
    at += (size_t)im_min (8 + padded, end - at);
  }
  *ret_extensions = e;
  e = (Qcow2Extensions){0};
  return true;
}

bool
qcow2_backing_name_decode (const Qcow2Header *header, const uint8_t *area,
                           size_t area_len, char **ret_name, GError **error)
{
  *ret_name = NULL;
  if (header->backing_offset == 0)
    return true;
  if (header->backing_length > QCOW2_MAX_BACKING_NAME) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "header: backing file name of %" PRIu32
                 " bytes is longer than the limit of %u",
                 header->backing_length, QCOW2_MAX_BACKING_NAME);
    return false;
  }
  if (!im_range_fits (header->backing_offset, header->backing_length, area_len)) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: backing file name at 0x%" PRIx64 ", %" PRIu32
                 " bytes, runs past the first cluster (%zu bytes)",
                 header->backing_offset, header->backing_length, area_len);
    return false;
  }
  if (header->backing_length > 0 && area[header->backing_offset] != 0)
    *ret_name =
        g_strndup ((const char *)area + header->backing_offset, header->backing_length);
  return true;
}

static const char *
known_feature (Qcow2FeatureKind kind, unsigned bit)
{
  static const char *const names[3][5] = {
      [QCOW2_FEATURE_INCOMPATIBLE] = {"dirty", "corrupt", "data-file", "compression-type",
                                      "extended-l2"},
      [QCOW2_FEATURE_COMPATIBLE] = {"lazy-refcounts"},
      [QCOW2_FEATURE_AUTOCLEAR] = {"bitmaps", "data-file-raw"},
  };

  return bit < G_N_ELEMENTS (names[kind]) ? names[kind][bit] : NULL;
}

char *
qcow2_feature_name (const Qcow2Extensions *extensions, Qcow2FeatureKind kind,
                    unsigned bit)
{
  const char *known = known_feature (kind, bit);

  if (known)
    return g_strdup (known);
  for (size_t i = 0; i < extensions->feature_count; i++) {
    const uint8_t *entry = extensions->feature_names + i * FEATURE_ENTRY_SIZE;
    const char *name = (const char *)entry + 2;
    size_t len = strnlen (name, FEATURE_NAME_SIZE);

    if (entry[0] == kind && entry[1] == bit && len > 0)
      return g_utf8_make_valid (name, (gssize)len);
  }
  return g_strdup_printf ("bit %u", bit);
}

bool
qcow2_features_check (const Qcow2Header *header, const Qcow2Extensions *extensions,
                      GError **error)
{
  uint64_t unknown = header->incompatible & ~QCOW2_INCOMPATIBLE_KNOWN;
  g_autoptr (GString) names = NULL;

  if (unknown == 0)
    return true;
  names = g_string_new (NULL);
  for (unsigned bit = 0; bit < 64; bit++) {
    g_autofree char *name = NULL;

    if (!(unknown >> bit & 1))
      continue;
    name = qcow2_feature_name (extensions, QCOW2_FEATURE_INCOMPATIBLE, bit);
    g_string_append_printf (names, "%s%s", names->len > 0 ? ", " : "", name);
  }
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "header: incompatible features 0x%" PRIx64 " are not supported: %s",
               unknown, names->str);
  return false;
}
