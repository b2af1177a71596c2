/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: what is looked at once, before the first change: all metadata that the image
 * names, so that nothing of it is overwritten, given out or freed.
 *
 * What a reader needs not to agree on, such as a snapshot table, a writer must: where
 * metadata overlaps metadata, or its place is not known, nothing is written at all. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-writer.h"
#include <inttypes.h>

/* Bytes of snapshots' L1 tables, and of bitmaps' tables, that are looked at; what goes
 * beyond is believed to be counted. */
#define SNAPSHOTS_MAX (UINT64_C (64) << 20)
#define BITMAPS_MAX   (UINT64_C (64) << 20)
#define CRYPT_MAX     (UINT64_C (64) << 20) /* key slots, of 2 MiB at the usual size */

#define L1_PIECE 8192u /* entries of a snapshot's L1 table read at once */

/* The clusters of [AT, AT + BYTES), as far as the file has them, are metadata: WHAT. */
static bool
note (Qcow2Image *image, const char *what, uint64_t at, uint64_t bytes, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t size = qcow2_cluster_size (image);

  if (bytes == 0 || at >= w->first_size)
    return true;
  bytes = im_min (bytes, w->first_size - at);
  if (qcow2_hold_sole (&w->held, at / size, (at + bytes - 1) / size - at / size + 1))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "%s at 0x%" PRIx64 ", %" PRIu64
               " bytes, overlaps other metadata of the image, which is not written",
               what, at, bytes);
  return false;
}

static bool
note_refcounts (Qcow2Image *image, GError **error)
{
  const Qcow2Writer *w = image->writer;

  if (w->uncounted)
    return true;
  if (!note (image, "header: refcount table", w->refcount_at, w->refcount_entries * 8,
             error))
    return false;
  for (uint64_t i = 0; i < w->refcount_entries; i++) {
    uint64_t at = w->refcounts[i] & QCOW2_REFCOUNT_OFFSET_MASK;
    g_autofree char *what = NULL;

    if (at == 0)
      continue;
    what = g_strdup_printf ("refcount block %" PRIu64, i);
    if (!qcow2_refcount_block_check (image, i, at, error) ||
        !note (image, what, at, qcow2_cluster_size (image), error))
      return false;
  }
  return true;
}

static bool
note_snapshots (Qcow2Image *image, const GPtrArray *snapshots, GError **error)
{
  uint64_t table = 0, total = 0;

  for (guint i = 0; i < snapshots->len; i++) {
    const Qcow2Snapshot *s = g_ptr_array_index (snapshots, i);
    g_autofree char *what = g_strdup_printf ("snapshot table, entry %u: L1 table", i);
    uint64_t bytes = im_min (s->l1_entries, QCOW2_MAX_L1_BYTES / 8) * 8;

    table += (s->stored + 7) / 8 * 8;
    total += bytes;
    if (total <= SNAPSHOTS_MAX && !note (image, what, s->l1_offset, bytes, error))
      return false;
  }
  return note (image, "header: snapshot table", image->header.snapshot_offset, table,
               error);
}

static bool
note_crypt (Qcow2Image *image, GError **error)
{
  const Qcow2Extensions *e = &image->extensions;

  return !e->has_crypt || note (image, "encryption header", e->crypt_offset,
                                im_min (e->crypt_size, CRYPT_MAX), error);
}

/* Bitmaps are no reason to refuse: they are given up by the first change. */
static void
note_bitmaps (Qcow2Image *image)
{
  const Qcow2Extensions *e = &image->extensions;
  g_autoptr (GPtrArray) bitmaps = NULL;
  uint64_t total = 0;

  if (!e->has_bitmaps || !(image->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
    return;
  bitmaps = qcow2_bitmaps_read (image, NULL);
  if (!bitmaps)
    return;
  note (image, "bitmap directory", e->directory_offset, e->directory_size, NULL);
  for (guint i = 0; i < bitmaps->len; i++) {
    const Qcow2Bitmap *b = g_ptr_array_index (bitmaps, i);

    total += (uint64_t)b->table_entries * 8;
    if (total <= BITMAPS_MAX)
      note (image, "bitmap table", b->table_offset, (uint64_t)b->table_entries * 8, NULL);
  }
}

/* What becomes of the cluster of an L2 table of a snapshot. */
typedef void (*TableUse) (Qcow2HeldMap *held, uint64_t cluster);

static void
use_shared (Qcow2HeldMap *held, uint64_t cluster)
{
  qcow2_hold_shared (held, cluster, 1);
}

static bool
each_table_of (Qcow2Image *image, const Qcow2Snapshot *s, TableUse use, uint8_t *piece,
               GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t n = im_min (s->l1_entries, QCOW2_MAX_L1_BYTES / 8);

  for (uint64_t done = 0; done < n; done += L1_PIECE) {
    uint64_t now = im_min (L1_PIECE, n - done);

    if (!im_file_pread (image->file, piece, (size_t)now * 8, s->l1_offset + done * 8,
                        error))
      return false;
    for (uint64_t i = 0; i < now; i++) {
      uint64_t at = im_get_be64 (piece + i * 8) & QCOW2_ENTRY_OFFSET_MASK;

      if (at != 0 && at < w->first_size)
        use (&w->held, at >> image->geometry.cluster_bits);
    }
  }
  return true;
}

static bool
each_table (Qcow2Image *image, const GPtrArray *snapshots, TableUse use, GError **error)
{
  g_autofree uint8_t *piece = g_malloc (L1_PIECE * 8);
  uint64_t total = 0;

  for (guint i = 0; i < snapshots->len; i++) {
    const Qcow2Snapshot *s = g_ptr_array_index (snapshots, i);

    total += im_min (s->l1_entries, QCOW2_MAX_L1_BYTES / 8) * 8;
    if (total <= SNAPSHOTS_MAX && !each_table_of (image, s, use, piece, error))
      return false;
  }
  return true;
}

/* The active L1 table's entries that say they are the only pointer, or those that do not.
 * One that is contradicted is never changed. */
static void
note_tables (Qcow2Image *image, bool copied)
{
  Qcow2Writer *w = image->writer;

  for (uint64_t i = 0; i < image->l1_entries; i++) {
    uint64_t entry = qcow2_l1_entry (image, i);
    uint64_t at = entry & QCOW2_ENTRY_OFFSET_MASK, cluster;
    Qcow2Held before;

    if (at == 0 || copied != ((entry & QCOW2_ENTRY_COPIED) != 0))
      continue;
    cluster = at >> image->geometry.cluster_bits;
    before = qcow2_held_get (&w->held, cluster);
    if (at >= w->first_size || before >= QCOW2_HELD_SOLE)
      atomic_store (&w->l1_state[i], QCOW2_L1_REFUSED);
    /* One that turns out to be shared is copied, like those that say so. */
    if (at < w->first_size)
      copied ? qcow2_hold_sole (&w->held, cluster, 1)
             : qcow2_hold_shared (&w->held, cluster, 1);
  }
}

/* No cluster of data may lie in a table. */
static void
close_tables (Qcow2Image *image)
{
  for (uint64_t i = 0; i < image->l1_entries; i++) {
    uint64_t at = qcow2_l1_entry (image, i) & QCOW2_ENTRY_OFFSET_MASK;

    qcow2_hold_no_more (&image->writer->held, at >> image->geometry.cluster_bits);
  }
}

static bool
prepare (Qcow2Image *image, GError **error)
{
  const Qcow2Header *h = &image->header;
  g_autoptr (GPtrArray) snapshots = qcow2_snapshots_read (image->file, h, error);

  if (!snapshots || !note (image, "header", 0, qcow2_cluster_size (image), error) ||
      !note (image, "header: L1 table", h->l1_offset, (uint64_t)h->l1_entries * 8,
             error) ||
      !note_refcounts (image, error) || !note_crypt (image, error) ||
      !note_snapshots (image, snapshots, error))
    return false;
  note_bitmaps (image);
  if (!each_table (image, snapshots, use_shared, error))
    return false;
  note_tables (image, false);
  note_tables (image, true);
  close_tables (image);
  return each_table (image, snapshots, qcow2_hold_no_more, error);
}

bool
qcow2_prepare (Qcow2Image *image, GError **error)
{
  Qcow2Writer *w = image->writer;
  g_autoptr (GError) failure = NULL;
  bool ok = true;

  if (atomic_load_explicit (&w->prepared, memory_order_acquire))
    return true;
  pthread_mutex_lock (&w->mutex);
  while (!atomic_load (&w->prepared) && !w->refusal &&
         !qcow2_loading_begin_locked (w, QCOW2_LOADING_ALL))
    ;
  if (!atomic_load (&w->prepared) && !w->refusal) {
    pthread_mutex_unlock (&w->mutex);
    ok = prepare (image, &failure);
    pthread_mutex_lock (&w->mutex);
    qcow2_loading_end_locked (w, QCOW2_LOADING_ALL);
    if (!ok)
      qcow2_held_clear (&w->held);
    if (failure && failure->domain == IM_ERROR)
      w->refusal = g_error_copy (failure);
    atomic_store (&w->prepared, ok);
  } else if (w->refusal) {
    failure = g_error_copy (w->refusal);
  }
  pthread_mutex_unlock (&w->mutex);
  if (failure)
    g_propagate_error (error, g_steal_pointer (&failure));
  return failure == NULL && ok;
}

void
qcow2_refuse_locked (Qcow2Image *image, const char *why)
{
  Qcow2Writer *w = image->writer;

  if (!w->refusal)
    w->refusal = g_error_new_literal (IM_ERROR, IM_ERROR_CORRUPT, why);
  atomic_store (&w->prepared, false);
}
