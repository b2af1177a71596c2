/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the directory of persistent bitmaps. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-image.h"
#include <inttypes.h>

#define ENTRY_FIXED          24u /* bytes of an entry before what varies */
#define GRANULARITY_BITS_MAX 63u

void
qcow2_bitmap_free (Qcow2Bitmap *bitmap)
{
  if (!bitmap)
    return;
  g_free (bitmap->name);
  g_free (bitmap);
}

static Qcow2Bitmap *
decode_entry (ImCursor *c, GError **error)
{
  g_autoptr (Qcow2Bitmap) b = g_new0 (Qcow2Bitmap, 1);
  uint16_t name_length;
  const uint8_t *name;

  b->table_offset = im_cursor_be64 (c);
  b->table_entries = im_cursor_be32 (c);
  b->flags = im_cursor_be32 (c);
  b->type = im_cursor_u8 (c);
  b->granularity_bits = im_cursor_u8 (c);
  name_length = im_cursor_be16 (c);
  b->extra_length = im_cursor_be32 (c);
  im_cursor_bytes (c, b->extra_length);
  name = im_cursor_bytes (c, name_length);
  im_cursor_bytes (c, (8 - c->at % 8) % 8);
  if (c->overrun) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "runs past the end of the directory (%zu bytes)", c->length);
    return NULL;
  }
  if (b->granularity_bits > GRANULARITY_BITS_MAX) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "granularity bits %u are greater than %u", b->granularity_bits,
                 GRANULARITY_BITS_MAX);
    return NULL;
  }
  b->name = g_strndup ((const char *)name, name_length);
  return g_steal_pointer (&b);
}

GPtrArray *
qcow2_bitmaps_decode (const uint8_t *bytes, size_t len, uint32_t count, GError **error)
{
  g_autoptr (GPtrArray) all =
      g_ptr_array_new_with_free_func ((GDestroyNotify)qcow2_bitmap_free);
  ImCursor c = im_cursor (bytes, len);

  for (uint32_t i = 0; i < count; i++) {
    Qcow2Bitmap *b = decode_entry (&c, error);

    if (!b) {
      g_prefix_error (error, "bitmap directory, entry %" PRIu32 ": ", i);
      return NULL;
    }
    g_ptr_array_add (all, b);
  }
  return g_steal_pointer (&all);
}

static bool
check_directory (const Qcow2Extensions *e, uint64_t file_size, GError **error)
{
  if (e->bitmap_count > QCOW2_MAX_BITMAPS) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "header extension: %" PRIu32 " bitmaps are beyond the limit of %u",
                 e->bitmap_count, QCOW2_MAX_BITMAPS);
    return false;
  }
  if (e->directory_size > QCOW2_MAX_DIRECTORY_BYTES) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "header extension: bitmap directory of %" PRIu64
                 " bytes is beyond the limit of %" PRIu64,
                 e->directory_size, QCOW2_MAX_DIRECTORY_BYTES);
    return false;
  }
  if (!im_range_fits (e->directory_offset, e->directory_size, file_size)) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header extension: bitmap directory at 0x%" PRIx64 ", %" PRIu64
                 " bytes, runs past the end of the file (%" PRIu64 " bytes)",
                 e->directory_offset, e->directory_size, file_size);
    return false;
  }
  return true;
}

GPtrArray *
qcow2_bitmaps_read (Qcow2Image *image, GError **error)
{
  const Qcow2Extensions *e = &image->extensions;
  g_autofree uint8_t *bytes = NULL;

  if (!check_directory (e, im_file_size (image->file), error))
    return NULL;
  bytes = g_try_malloc (e->directory_size);
  if (!bytes && e->directory_size > 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "no memory for a bitmap directory of %" PRIu64 " bytes",
                 e->directory_size);
    return NULL;
  }
  if (!im_file_pread (image->file, bytes, e->directory_size, e->directory_offset, error))
    return NULL;
  return qcow2_bitmaps_decode (bytes, e->directory_size, e->bitmap_count, error);
}
