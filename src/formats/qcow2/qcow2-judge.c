/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: is an L2 table to be believed?
 *
 * Asked once for each table, before it is changed for the first time since the image was
 * opened.  Nothing in the table is ours yet, so whatever it points at must be held by
 * nobody else: not by metadata, not by the tables judged before, and not by what has been
 * given out since.  An entry that fails this is read as ever but not changed, and what it
 * points at is not freed.  A flag that says "mine alone" against the count is taken away.
 *
 * Tables not judged yet may still hold something of a judged one; that shows when they
 * are.  Until then their flags mean nothing: no cluster is overwritten through them. */
#include "base/bytes.h"
#include "formats/qcow2/qcow2-writer.h"

/* Entries that are judged under one hold of the mutex. */
enum { AT_ONCE = 1024 };

/* An entry that points at a whole cluster, at all. */
static bool
is_standard (uint64_t entry)
{
  return !(entry & QCOW2_ENTRY_COMPRESSED) && qcow2_entry_host (entry) != 0;
}

static uint64_t
word_at (const Qcow2Image *image, const Qcow2Table *t, uint64_t i)
{
  return atomic_load_explicit (&t->words[i * image->geometry.entry_words],
                               memory_order_relaxed);
}

static void
refuse (const Qcow2Image *image, Qcow2Table *t, uint64_t i)
{
  if (!t->refused)
    t->refused = g_new0 (uint64_t, im_div_up (qcow2_table_entries (image), 64));
  qcow2_bit_set (t->refused, i);
}

/* COUNT is that of the cluster that standard entry I points at. */
static void
judge_count_locked (Qcow2Image *image, Qcow2Table *t, uint64_t i, uint64_t count,
                    bool *ret_mended)
{
  uint64_t entry = word_at (image, t, i);
  bool outside = qcow2_entry_host (entry) >= image->writer->first_size;

  if (outside && (count == 0 || !(entry & QCOW2_ENTRY_ZERO))) {
    refuse (image, t, i);
  } else if (count == 0) {
    qcow2_distrust_locked (image);
  } else if (count > 1 && (entry & QCOW2_ENTRY_COPIED)) {
    atomic_store_explicit (&t->words[i * image->geometry.entry_words],
                           entry & ~QCOW2_ENTRY_COPIED, memory_order_relaxed);
    *ret_mended = true;
  }
}

bool
qcow2_judge_counts (Qcow2Image *image, Qcow2Table *t, bool *ret_mended, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t n = qcow2_table_entries (image);
  bool ok = true;

  if (image->geometry.external)
    return true;
  for (uint64_t i = 0; i < n && ok; i += AT_ONCE) {
    pthread_mutex_lock (&w->mutex);
    for (uint64_t k = i; k < im_min (n, i + AT_ONCE) && ok; k++) {
      uint64_t entry = word_at (image, t, k), count = 0;

      if (!is_standard (entry))
        continue;
      ok = qcow2_count_locked (image, qcow2_entry_host (entry), &count, error);
      if (ok)
        judge_count_locked (image, t, k, count, ret_mended);
    }
    pthread_mutex_unlock (&w->mutex);
  }
  return ok;
}

/* Holds the clusters in which the stream of compressed entry I lies. */
static bool
hold_compressed_locked (Qcow2Image *image, uint64_t entry)
{
  Qcow2Geometry g = image->geometry;
  Qcow2Cluster cluster;
  const uint64_t words[2] = {entry, 0};
  uint64_t first;

  g.file_size = image->writer->first_size;
  qcow2_l2_decode (&g, words, 0, 0, &cluster);
  if (cluster.kind != QCOW2_COMPRESSED)
    return false;
  first = cluster.at >> g.cluster_bits;
  return qcow2_hold_shared (&image->writer->held, first,
                            ((cluster.at + cluster.stored - 1) >> g.cluster_bits) -
                                first + 1);
}

static bool
hold_entry_locked (Qcow2Image *image, uint64_t entry)
{
  Qcow2HeldMap *held = &image->writer->held;
  uint64_t cluster = qcow2_entry_host (entry) >> image->geometry.cluster_bits;

  if (entry & QCOW2_ENTRY_COMPRESSED)
    return hold_compressed_locked (image, entry);
  if (!is_standard (entry))
    return true;
  return entry & QCOW2_ENTRY_COPIED ? qcow2_hold_sole (held, cluster, 1)
                                    : qcow2_hold_shared (held, cluster, 1);
}

/* Others have a table of the same entries, and nobody counted that. */
static void
keep_all_locked (Qcow2Image *image, const Qcow2Table *t)
{
  for (uint64_t i = 0; i < qcow2_table_entries (image); i++)
    if (is_standard (word_at (image, t, i)))
      qcow2_hold_sole (
          &image->writer->held,
          qcow2_entry_host (word_at (image, t, i)) >> image->geometry.cluster_bits, 1);
}

void
qcow2_judge_locked (Qcow2Image *image, Qcow2Table *t)
{
  Qcow2Writer *w = image->writer;

  for (uint64_t i = 0; i < qcow2_table_entries (image) && !image->geometry.external; i++)
    if (!qcow2_table_refuses (t, i) && !hold_entry_locked (image, word_at (image, t, i)))
      refuse (image, t, i);
  if (t->disputed)
    keep_all_locked (image, t);
  atomic_store (&w->l1_state[t->index], QCOW2_L1_JUDGED);
  if (!t->refused)
    return;
  t->pins++; /* for good: its refusals are nowhere else */
  w->refused_bytes += qcow2_cluster_size (image);
  if (w->refused_bytes > QCOW2_REFUSED_MAX)
    qcow2_refuse_locked (image, "too many of its tables have wrong entries (qemu-img "
                                "check -r all may repair it)");
}
