/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: a longer refcount table where one is full.
 *
 *   what was counted so far, and perhaps more   start
 *   +-------------------------------- // -------+------------+---------------+
 *   |                                           | new blocks | the new table |
 *   +-------------------------------- // -------+------------+---------------+
 *
 * The new blocks count themselves and the new table. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-writer.h"
#include <errno.h>
#include <inttypes.h>

/* Where all of it is to be, in clusters. */
typedef struct {
  uint64_t start;
  uint64_t first, blocks;  /* of the new blocks: the first one's index, and how many */
  uint64_t table, entries; /* the table's clusters, and its entries */
} Growth;

static uint64_t
count_clusters (const Growth *g)
{
  return g->blocks + g->table;
}

/* As many blocks from START on as it takes to count themselves and a table that has place
 * for them, and half as many again as before. */
static void
plan_at (const Qcow2Image *image, uint64_t start, Growth *ret)
{
  uint64_t counted = qcow2_counted_by_block (image),
           old = image->writer->refcount_entries;
  uint64_t per_cluster = qcow2_cluster_size (image) / 8, needed = 1;
  Growth g = {.start = start, .first = start / counted};

  do {
    g.blocks = needed;
    g.entries = im_max (old + old / 2 + per_cluster, g.first + g.blocks);
    g.table = im_div_up (g.entries, per_cluster);
    g.entries = g.table * per_cluster;
    needed = (start + count_clusters (&g) - 1) / counted - g.first + 1;
  } while (needed > g.blocks);
  *ret = g;
}

/* The last cluster there that is in use, whatever its count; or false. */
static bool
meets_held_locked (const Qcow2Image *image, const Growth *g, uint64_t *ret_cluster)
{
  for (uint64_t n = count_clusters (g); n > 0; n--)
    if (qcow2_held_get (&image->writer->held, g->start + n - 1) != QCOW2_HELD_NOT) {
      *ret_cluster = g->start + n - 1;
      return true;
    }
  return false;
}

static bool
plan_locked (Qcow2Image *image, Growth *ret, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t held;

  plan_at (image, w->cursor, ret);
  while (meets_held_locked (image, ret, &held)) {
    qcow2_distrust_locked (image);
    plan_at (image, im_max (w->cursor, held + 1), ret);
  }
  if (ret->entries * 8 <= QCOW2_MAX_REFCOUNT_TABLE_BYTES &&
      ((ret->start + count_clusters (ret)) << image->geometry.cluster_bits) <=
          QCOW2_ENTRY_OFFSET_MASK)
    return true;
  im_set_errno (error, EFBIG,
                "the refcount table would be longer than the limit of %u bytes",
                QCOW2_MAX_REFCOUNT_TABLE_BYTES);
  return false;
}

/* Replaces the table in memory by one of ENTRIES. */
static void
enlarge_locked (Qcow2Writer *w, uint64_t entries)
{
  w->refcounts = g_renew (uint64_t, w->refcounts, entries);
  w->blocks = g_renew (Qcow2Counts *, w->blocks, entries);
  for (uint64_t i = w->refcount_entries; i < entries; i++) {
    w->refcounts[i] = 0;
    w->blocks[i] = NULL;
  }
  g_free (w->refcount_dirty);
  g_free (w->refcount_writing);
  w->refcount_dirty = g_new0 (uint64_t, entries / 64 / 64 + 1);
  w->refcount_writing = g_new0 (uint64_t, entries / 64 / 64 + 1);
  w->refcount_entries = entries;
}

static void
add_blocks_locked (Qcow2Image *image, const Growth *g)
{
  uint64_t counted = qcow2_counted_by_block (image), end = g->start + count_clusters (g);

  for (uint64_t i = 0; i < g->blocks; i++) {
    uint64_t base = (g->first + i) * counted;
    Qcow2Counts *counts = qcow2_add_block_locked (
        image, g->first + i, (g->start + i) << image->geometry.cluster_bits);

    for (uint64_t c = im_max (base, g->start); c < im_min (base + counted, end); c++)
      qcow2_set_count_locked (image, counts, c - base, 1);
  }
}

static void
grow_locked (Qcow2Image *image, const Growth *g)
{
  Qcow2Writer *w = image->writer;
  uint64_t old_at = w->refcount_at, old_entries = w->refcount_entries;
  uint64_t end = g->start + count_clusters (g);

  enlarge_locked (w, g->entries);
  add_blocks_locked (image, g);
  w->refcount_at = (g->start + g->blocks) << image->geometry.cluster_bits;
  w->refcount_moved = w->refcount_fresh = true;
  if (w->cursor == g->start)
    w->cursor = end;
  qcow2_hold_sole (&w->held, g->start, count_clusters (g));
  qcow2_note_used_locked (w, end);
  im_quarantine_add (&w->quarantine, old_at, old_entries * 8, false);
}

bool
qcow2_grow_counts_locked (Qcow2Image *image, GError **error)
{
  Qcow2Writer *w = image->writer;
  unsigned bits = image->geometry.cluster_bits;
  uint64_t what = QCOW2_LOADING_COUNTS (w->refcount_entries), held;
  Growth g;

  if (!plan_locked (image, &g, error))
    return false;
  if (!qcow2_loading_begin_locked (w, what))
    return true;
  /* What no block counts is given to nobody meanwhile, but may turn out to be in use. */
  pthread_mutex_unlock (&w->mutex);
  bool ok = qcow2_occupy (image, g.start << bits, count_clusters (&g) << bits, error);
  pthread_mutex_lock (&w->mutex);
  qcow2_loading_end_locked (w, what);
  if (ok && !meets_held_locked (image, &g, &held))
    grow_locked (image, &g);
  return ok;
}
