/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the table of internal snapshots. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-image.h"
#include <inttypes.h>

#define EXTRA_STATE_SIZE 8u  /* bytes of extra data that hold the 64-bit state size */
#define EXTRA_DISK_SIZE  16u /* …, and the disk's size too */

void
qcow2_snapshot_free (Qcow2Snapshot *snapshot)
{
  if (!snapshot)
    return;
  g_free (snapshot->id);
  g_free (snapshot->name);
  g_free (snapshot);
}

/* The fields of an entry that say how long it is. */
typedef struct {
  uint32_t id, name, extra;
} Lengths;

static Lengths
decode_fixed (ImCursor *c, Qcow2Snapshot *s)
{
  Lengths lengths;

  s->l1_offset = im_cursor_be64 (c);
  s->l1_entries = im_cursor_be32 (c);
  lengths.id = im_cursor_be16 (c);
  lengths.name = im_cursor_be16 (c);
  s->date_seconds = im_cursor_be32 (c);
  s->date_nanoseconds = im_cursor_be32 (c);
  s->clock_nanoseconds = im_cursor_be64 (c);
  s->vm_state_size = im_cursor_be32 (c);
  lengths.extra = im_cursor_be32 (c);
  return lengths;
}

bool
qcow2_snapshot_length (const uint8_t *bytes, size_t *ret_length, GError **error)
{
  ImCursor c = im_cursor (bytes, QCOW2_SNAPSHOT_FIXED);
  Qcow2Snapshot ignored;
  Lengths lengths = decode_fixed (&c, &ignored);

  if (lengths.extra > QCOW2_MAX_SNAPSHOT_EXTRA) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "extra data of %" PRIu32 " bytes is beyond the limit of %u",
                 lengths.extra, QCOW2_MAX_SNAPSHOT_EXTRA);
    return false;
  }
  *ret_length = (size_t)QCOW2_SNAPSHOT_FIXED + lengths.extra + lengths.id + lengths.name;
  return true;
}

static void
decode_extra (const uint8_t *extra, uint32_t len, Qcow2Snapshot *s)
{
  if (len >= EXTRA_STATE_SIZE)
    s->vm_state_size = im_get_be64 (extra);
  s->has_size = len >= EXTRA_DISK_SIZE;
  if (s->has_size)
    s->size = im_get_be64 (extra + 8);
}

Qcow2Snapshot *
qcow2_snapshot_decode (const uint8_t *bytes, size_t len, GError **error)
{
  g_autoptr (Qcow2Snapshot) s = g_new0 (Qcow2Snapshot, 1);
  ImCursor c = im_cursor (bytes, len);
  Lengths lengths = decode_fixed (&c, s);
  const uint8_t *extra = im_cursor_bytes (&c, lengths.extra);
  const uint8_t *id = im_cursor_bytes (&c, lengths.id);
  const uint8_t *name = im_cursor_bytes (&c, lengths.name);

  if (c.overrun) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "cut off after %zu bytes", len);
    return NULL;
  }
  s->stored = len;
  decode_extra (extra, lengths.extra, s);
  s->id = g_strndup ((const char *)id, lengths.id);
  s->name = g_strndup ((const char *)name, lengths.name);
  return g_steal_pointer (&s);
}

/* The entry at AT of a table that may run up to END, and how long it is. */
static Qcow2Snapshot *
read_entry (ImFile *file, uint64_t at, uint64_t end, size_t *ret_length, GError **error)
{
  uint8_t fixed[QCOW2_SNAPSHOT_FIXED];
  g_autofree uint8_t *entry = NULL;

  if (!im_range_fits (at, sizeof fixed, end)) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "at 0x%" PRIx64
                 ": runs past the end of the file or the limit of %" PRIu64 " bytes",
                 at, QCOW2_MAX_SNAPSHOT_BYTES);
    return NULL;
  }
  if (!im_file_pread (file, fixed, sizeof fixed, at, error) ||
      !qcow2_snapshot_length (fixed, ret_length, error))
    return NULL;
  if (!im_range_fits (at, *ret_length, end)) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "at 0x%" PRIx64
                 ", %zu bytes: runs past the end of the file or the limit of %" PRIu64
                 " bytes",
                 at, *ret_length, QCOW2_MAX_SNAPSHOT_BYTES);
    return NULL;
  }
  entry = g_malloc (*ret_length);
  if (!im_file_pread (file, entry, *ret_length, at, error))
    return NULL;
  return qcow2_snapshot_decode (entry, *ret_length, error);
}

static bool
check_table (const Qcow2Header *h, uint64_t file_size, GError **error)
{
  if (h->snapshot_count > QCOW2_MAX_SNAPSHOTS) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "header: %" PRIu32 " snapshots are beyond the limit of %u",
                 h->snapshot_count, QCOW2_MAX_SNAPSHOTS);
    return false;
  }
  if (h->snapshot_offset % (UINT64_C (1) << h->cluster_bits) != 0 ||
      h->snapshot_offset >= file_size) {
    g_set_error (
        error, IM_ERROR, IM_ERROR_CORRUPT,
        "header: snapshot table offset 0x%" PRIx64
        " is not aligned to the cluster size or past the end of the file (%" PRIu64
        " bytes)",
        h->snapshot_offset, file_size);
    return false;
  }
  return true;
}

GPtrArray *
qcow2_snapshots_read (ImFile *file, const Qcow2Header *header, GError **error)
{
  g_autoptr (GPtrArray) all =
      g_ptr_array_new_with_free_func ((GDestroyNotify)qcow2_snapshot_free);
  uint64_t file_size = im_file_size (file), at = header->snapshot_offset, end;

  if (header->snapshot_count == 0)
    return g_steal_pointer (&all);
  if (!check_table (header, file_size, error))
    return NULL;
  end = at + im_min (QCOW2_MAX_SNAPSHOT_BYTES, file_size - at);
  for (uint32_t i = 0; i < header->snapshot_count; i++) {
    size_t length = 0;
    Qcow2Snapshot *s = read_entry (file, at, end, &length, error);

    if (!s) {
      g_prefix_error (error, "snapshot table, entry %" PRIu32 ": ", i);
      return NULL;
    }
    g_ptr_array_add (all, s);
    at += (length + 7) / 8 * 8;
  }
  return g_steal_pointer (&all);
}

/* The first in ALL whose id and name are those given, NULL being any. */
static bool
find (const GPtrArray *all, const char *id, const char *name, guint *ret_index)
{
  for (guint i = 0; i < all->len; i++) {
    const Qcow2Snapshot *s = g_ptr_array_index (all, i);

    if ((!id || strcmp (s->id, id) == 0) && (!name || strcmp (s->name, name) == 0)) {
      *ret_index = i;
      return true;
    }
  }
  return false;
}

static void
set_not_found (const ImOpenContext *x, guint count, GError **error)
{
  g_autoptr (GString) wanted = g_string_new (NULL);

  if (x->snapshot_any)
    g_string_append_printf (wanted, "the id or name \"%s\"", x->snapshot_any);
  if (x->snapshot_id)
    g_string_append_printf (wanted, "the id \"%s\"", x->snapshot_id);
  if (x->snapshot_name)
    g_string_append_printf (wanted, "%sthe name \"%s\"", x->snapshot_id ? " and " : "",
                            x->snapshot_name);
  g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND, "none of its %u snapshots has %s",
               count, wanted->str);
}

bool
qcow2_snapshot_choose (ImFile *file, const Qcow2Header *header,
                       const ImOpenContext *context, Qcow2Snapshot **ret_snapshot,
                       GError **error)
{
  const ImOpenContext *x = context;
  g_autoptr (GPtrArray) all = NULL;
  guint i = 0;
  bool found;

  *ret_snapshot = NULL;
  if (!x->snapshot_id && !x->snapshot_name && !x->snapshot_any)
    return true;
  all = qcow2_snapshots_read (file, header, error);
  if (!all)
    return false;
  if (x->snapshot_any)
    found =
        find (all, x->snapshot_any, NULL, &i) || find (all, NULL, x->snapshot_any, &i);
  else
    found = find (all, x->snapshot_id, x->snapshot_name, &i);
  if (!found) {
    set_not_found (x, all->len, error);
    return false;
  }
  *ret_snapshot = g_ptr_array_steal_index (all, i);
  return true;
}
