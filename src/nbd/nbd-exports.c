/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The export set as NBD clients see it. */
#include "nbd/nbd-exports.h"
#include "base/error.h"

/* The least that is worth asking for: a page. */
#define PREFERRED_MIN 4096u

static void
nbd_export_free (gpointer data)
{
  ImNbdExport *export = data;
  g_free (export->name);
  g_free (export->description);
  g_free (export);
}

static uint32_t
preferred_size (const ImBlock *block)
{
  uint32_t size = PREFERRED_MIN;
  while (size < block->preferred && size < IM_NBD_MAX_BYTES)
    size *= 2;
  return size;
}

static bool
check_string (const char *what, const char *text, GError **error)
{
  if (strlen (text) <= IM_NBD_STRING_MAX && g_utf8_validate (text, -1, NULL))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "%s: not valid UTF-8 of at most %u bytes",
               what, IM_NBD_STRING_MAX);
  return false;
}

static bool
add_export (ImNbdExports *exports, const ImExport *from, bool writable, const char *name,
            const char *description, GError **error)
{
  if (!check_string ("export name", name, error) ||
      (description && !check_string ("export description", description, error)))
    return false;
  if (g_hash_table_contains (exports->by_name, name)) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "export name \"%s\" is also the name of a partition", name);
    return false;
  }
  ImNbdExport *export = g_new0 (ImNbdExport, 1);
  export->name = g_strdup (name);
  export->description = g_strdup (description);
  export->block = from->block;
  export->preferred_size = preferred_size (from->block);
  export->start = from->offset;
  export->writable = writable;
  g_ptr_array_add (exports->list, export);
  g_hash_table_insert (exports->by_name, export->name, export);
  return true;
}

ImNbdExports *
im_nbd_exports_new (const ImExportSet *set, const char *name, const char *description,
                    bool multi, GError **error)
{
  g_autoptr (ImNbdExports) exports = g_new0 (ImNbdExports, 1);
  exports->list = g_ptr_array_new_with_free_func (nbd_export_free);
  exports->by_name = g_hash_table_new (g_str_hash, g_str_equal);
  exports->multi = multi;
  if (!im_nbd_contexts_init (&exports->contexts, set, error))
    return NULL;
  for (guint i = 0; i < set->blocks->len; i++) {
    const ImExport *from = g_ptr_array_index (set->blocks, i);
    bool disk = from->kind == IM_EXPORT_DISK;
    bool writable = !set->read_only && im_block_is_writable (from->block);
    if (!add_export (exports, from, writable, disk ? name : from->name,
                     disk && description ? description : from->description, error))
      return NULL;
  }
  return g_steal_pointer (&exports);
}

void
im_nbd_exports_free (ImNbdExports *exports)
{
  if (!exports)
    return;
  im_nbd_contexts_clear (&exports->contexts);
  g_hash_table_unref (exports->by_name);
  g_ptr_array_unref (exports->list);
  g_free (exports);
}

const ImNbdExport *
im_nbd_exports_find (const ImNbdExports *exports, const char *name, size_t length)
{
  g_autofree char *terminated = g_strndup (name, length);
  return g_hash_table_lookup (exports->by_name, terminated);
}

uint16_t
im_nbd_exports_flags (const ImNbdExports *exports, const ImNbdExport *export,
                      ImNbdMode mode, uint32_t contexts)
{
  unsigned flags = IM_NBD_FLAG_HAS_FLAGS | IM_NBD_FLAG_SEND_FLUSH | IM_NBD_FLAG_SEND_FUA |
                   IM_NBD_FLAG_SEND_CACHE;
  flags |= export->writable ? IM_NBD_FLAG_SEND_TRIM | IM_NBD_FLAG_SEND_WRITE_ZEROES |
                                  IM_NBD_FLAG_SEND_FAST_ZERO
                            : IM_NBD_FLAG_READ_ONLY;
  /* A flush covers the writes of all connections. */
  if (exports->multi)
    flags |= IM_NBD_FLAG_CAN_MULTI_CONN;
  if (mode != IM_NBD_MODE_SIMPLE)
    flags |= IM_NBD_FLAG_SEND_DF;
  if (mode == IM_NBD_MODE_EXTENDED && contexts != 0)
    flags |= IM_NBD_FLAG_BLOCK_STATUS_PAYLOAD;
  return (uint16_t)flags;
}
