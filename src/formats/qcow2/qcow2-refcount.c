/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the allocator: refcount blocks, and who is given what they count. */
#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "formats/qcow2/qcow2-writer.h"
#include <errno.h>
#include <inttypes.h>

static uint64_t
cluster_of (const Qcow2Image *image, uint64_t at)
{
  return at >> image->geometry.cluster_bits;
}

enum { LOOKED_AT = 4096 }; /* slots, to make room for one block */

void
qcow2_set_count_locked (Qcow2Image *image, Qcow2Counts *counts, uint64_t i,
                        uint64_t value)
{
  unsigned order = image->header.refcount_order;
  size_t byte = (size_t)((i << order) / 8);

  qcow2_refcount_set (counts->bytes, i, order, value);
  qcow2_dirty_locked (&counts->state, image->writer->dirty_blocks, counts, byte,
                      order > 3 ? 1u << (order - 3) : 1);
}

/* Is it in no list and not being written, so that the file has the same? */
static bool
is_clean (const Qcow2Counts *counts)
{
  if (counts->state.listed || counts->state.fresh_writing)
    return false;
  for (unsigned i = 0; i < QCOW2_MAX_WORDS; i++)
    if (counts->state.writing[i])
      return false;
  return true;
}

/* Drops clean blocks until there is room for one more, going round; not all at once. */
static void
make_room_locked (Qcow2Image *image)
{
  Qcow2Writer *w = image->writer;
  uint64_t most = im_min (LOOKED_AT, w->refcount_entries);

  for (uint64_t i = 0; i < most; i++) {
    Qcow2Counts **slot = &w->blocks[w->block_hand++ % w->refcount_entries];

    if (w->block_bytes + qcow2_cluster_size (image) <= QCOW2_BLOCKS_BUDGET)
      return;
    if (!*slot || !is_clean (*slot))
      continue;
    g_clear_pointer (slot, g_free);
    w->block_bytes -= qcow2_cluster_size (image);
  }
}

static Qcow2Counts *
new_counts (Qcow2Image *image, uint64_t at)
{
  Qcow2Counts *counts =
      g_malloc0 (sizeof (Qcow2Counts) + (size_t)qcow2_cluster_size (image));

  counts->at = at;
  return counts;
}

bool
qcow2_refcount_block_check (const Qcow2Image *image, uint64_t index, uint64_t at,
                            GError **error)
{
  if (at % qcow2_cluster_size (image) == 0 &&
      im_range_fits (at, qcow2_cluster_size (image), im_file_size (image->file)))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "refcount table entry %" PRIu64 " is 0x%" PRIx64
               ": no place for a refcount block",
               index, at);
  return false;
}

/* Reads block INDEX, with the mutex released meanwhile; the caller looks again. */
static bool
load_block_locked (Qcow2Image *image, uint64_t index, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t at = w->refcounts[index] & QCOW2_REFCOUNT_OFFSET_MASK;
  g_autofree Qcow2Counts *counts = NULL;
  bool ok;

  if (!qcow2_loading_begin_locked (w, QCOW2_LOADING_COUNTS (index)))
    return true;
  pthread_mutex_unlock (&w->mutex);
  counts = new_counts (image, at);
  ok = qcow2_refcount_block_check (image, index, at, error) &&
       im_file_pread (image->file, counts->bytes, (size_t)qcow2_cluster_size (image), at,
                      error);
  pthread_mutex_lock (&w->mutex);
  qcow2_loading_end_locked (w, QCOW2_LOADING_COUNTS (index));
  if (ok) {
    make_room_locked (image);
    w->blocks[index] = g_steal_pointer (&counts);
    w->block_bytes += qcow2_cluster_size (image);
  }
  return ok;
}

/* The block that counts CLUSTER; *ret_counts is NULL where there is none. */
static bool
find_block_locked (Qcow2Image *image, uint64_t cluster, Qcow2Counts **ret_counts,
                   GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t index = cluster / qcow2_counted_by_block (image);

  *ret_counts = NULL;
  while (index < w->refcount_entries &&
         (w->refcounts[index] & QCOW2_REFCOUNT_OFFSET_MASK)) {
    *ret_counts = w->blocks[index];
    if (*ret_counts)
      break;
    if (!load_block_locked (image, index, error))
      return false;
  }
  return true;
}

Qcow2Counts *
qcow2_add_block_locked (Qcow2Image *image, uint64_t index, uint64_t at)
{
  Qcow2Writer *w = image->writer;
  Qcow2Counts *counts = new_counts (image, at);

  counts->state.fresh = counts->has_space = true;
  qcow2_dirty_locked (&counts->state, w->dirty_blocks, counts, 0,
                      (size_t)qcow2_cluster_size (image));
  w->blocks[index] = counts;
  w->block_bytes += qcow2_cluster_size (image);
  w->refcounts[index] = at;
  qcow2_bit_set (w->refcount_dirty, index / 64);
  return counts;
}

void
qcow2_note_used_locked (Qcow2Writer *w, uint64_t end)
{
  w->used_end = im_max (w->used_end, end);
  if (w->zero_from != UINT64_MAX)
    w->zero_from = im_max (w->zero_from, end);
}

void
qcow2_distrust_locked (Qcow2Image *image)
{
  Qcow2Writer *w = image->writer;

  if (w->distrusted)
    return;
  w->distrusted = true;
  w->cursor = im_max (w->used_end, im_div_up (w->first_size, qcow2_cluster_size (image)));
  im_log_warning ("%s: a cluster in use has the reference count 0: new data goes behind "
                  "the end of the file, and nothing is freed",
                  im_file_path (image->file));
}

/* Cluster I of COUNTS, which begins with cluster BASE: is it free? */
static bool
is_free_locked (const Qcow2Image *image, const Qcow2Counts *counts, uint64_t base,
                uint64_t i)
{
  return qcow2_refcount_get (counts->bytes, i, image->header.refcount_order) == 0 &&
         qcow2_held_get (&image->writer->held, base + i) == QCOW2_HELD_NOT;
}

/* Takes up to WANTED free clusters of COUNTS from the cursor on; *ret_n is 0 where none
 * is left, or the cursor has gone elsewhere. */
static void
take_run_locked (Qcow2Image *image, Qcow2Counts *counts, uint64_t wanted,
                 uint64_t *ret_first, uint64_t *ret_n)
{
  Qcow2Writer *w = image->writer;
  uint64_t size = qcow2_counted_by_block (image), base = w->cursor / size * size;
  uint64_t i = w->cursor - base, n = 0;

  while (i < size && !is_free_locked (image, counts, base, i)) {
    if (qcow2_refcount_get (counts->bytes, i, image->header.refcount_order) == 0)
      qcow2_distrust_locked (image);
    i++;
  }
  *ret_n = 0;
  if (w->cursor > base + i)
    return;
  while (n < wanted && i + n < size && is_free_locked (image, counts, base, i + n))
    qcow2_set_count_locked (image, counts, i + n++, 1);
  *ret_first = base + i;
  *ret_n = n;
  w->cursor = base + i + n;
  qcow2_hold_sole (&w->held, base + i, n);
}

bool
qcow2_occupy (Qcow2Image *image, uint64_t at, uint64_t length, GError **error)
{
  return im_file_extend (image->file, at + length, error) &&
         im_file_write_zeroes (image->file, at, length, false, false, error);
}

/* Space for block INDEX, which may lie in a hole, before counts are raised there.
 * Releases the mutex meanwhile; the caller looks again. */
static bool
make_space_locked (Qcow2Image *image, uint64_t index, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t at = w->refcounts[index] & QCOW2_REFCOUNT_OFFSET_MASK;
  bool ok;

  if (!qcow2_loading_begin_locked (w, QCOW2_LOADING_COUNTS (index)))
    return true;
  pthread_mutex_unlock (&w->mutex);
  ok = im_file_reserve (image->file, at, qcow2_cluster_size (image), error);
  pthread_mutex_lock (&w->mutex);
  qcow2_loading_end_locked (w, QCOW2_LOADING_COUNTS (index));
  if (ok && w->blocks[index])
    w->blocks[index]->has_space = true;
  return ok;
}

/* A new block INDEX, in the first cluster that it counts from the cursor on, unless that
 * is in use, and the cursor moves on.  Releases the mutex meanwhile, in which nobody can
 * be given a cluster that the block counts. */
static bool
begin_block_locked (Qcow2Image *image, uint64_t index, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t cluster = w->cursor, at = cluster << image->geometry.cluster_bits;
  uint64_t entry_at = w->refcount_at + index * 8;
  bool ok = true;

  if (qcow2_held_get (&w->held, cluster) == QCOW2_HELD_NOT) {
    if (!qcow2_loading_begin_locked (w, QCOW2_LOADING_COUNTS (index)))
      return true;
    pthread_mutex_unlock (&w->mutex);
    ok = qcow2_occupy (image, at, qcow2_cluster_size (image), error) &&
         im_file_reserve (image->file, entry_at, 8, error);
    pthread_mutex_lock (&w->mutex);
    qcow2_loading_end_locked (w, QCOW2_LOADING_COUNTS (index));
  }
  if (qcow2_held_get (&w->held, cluster) != QCOW2_HELD_NOT) {
    w->cursor = im_max (w->cursor, cluster + 1);
    qcow2_distrust_locked (image);
  } else if (ok) {
    qcow2_set_count_locked (image, qcow2_add_block_locked (image, index, at),
                            cluster % qcow2_counted_by_block (image), 1);
    qcow2_hold_sole (&w->held, cluster, 1);
    qcow2_note_used_locked (w, cluster + 1);
  }
  return ok;
}

/* Where no counts are kept: whatever comes next, behind all that there is. */
static void
take_uncounted_locked (Qcow2Image *image, uint64_t wanted, uint64_t *ret_first,
                       uint64_t *ret_n)
{
  Qcow2Writer *w = image->writer;

  *ret_first = w->cursor;
  *ret_n = wanted;
  w->cursor += wanted;
  qcow2_hold_sole (&w->held, *ret_first, wanted);
}

bool
qcow2_allocate_locked (Qcow2Image *image, uint64_t wanted, uint64_t *ret_at,
                       uint64_t *ret_n, bool *ret_zeroed, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t n = 0, first = 0;

  while (n == 0) {
    uint64_t cursor = w->cursor, index = cursor / qcow2_counted_by_block (image);
    Qcow2Counts *counts;

    if ((cursor << image->geometry.cluster_bits) > QCOW2_ENTRY_OFFSET_MASK) {
      im_set_errno (error, EFBIG, "no cluster beyond number %" PRIu64, cursor);
      return false;
    }
    if (w->uncounted) {
      take_uncounted_locked (image, wanted, &first, &n);
      break;
    }
    if (index >= w->refcount_entries) {
      if (!qcow2_grow_counts_locked (image, error))
        return false;
      continue;
    }
    if (!find_block_locked (image, cursor, &counts, error))
      return false;
    if (w->cursor != cursor)
      continue;
    if (counts && counts->has_space)
      take_run_locked (image, counts, wanted, &first, &n);
    else if (counts ? !make_space_locked (image, index, error)
                    : !begin_block_locked (image, index, error))
      return false;
  }
  *ret_zeroed = first >= w->zero_from;
  qcow2_note_used_locked (w, first + n);
  *ret_at = first << image->geometry.cluster_bits;
  *ret_n = n;
  return true;
}

bool
qcow2_lower_locked (Qcow2Image *image, uint64_t at, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t cluster = cluster_of (image, at), i = cluster % qcow2_counted_by_block (image),
           count;
  Qcow2Counts *counts;

  if (!find_block_locked (image, cluster, &counts, error))
    return false;
  count =
      counts ? qcow2_refcount_get (counts->bytes, i, image->header.refcount_order) : 0;
  if (count <= 1)
    qcow2_held_forget (&w->held, cluster);
  if (count == 0)
    return true; /* the image counts it as free already, which is no reason to stop */
  qcow2_set_count_locked (image, counts, i, count - 1);
  if (count == 1 && !w->distrusted)
    w->cursor = im_min (w->cursor, cluster);
  return true;
}

bool
qcow2_count_locked (Qcow2Image *image, uint64_t at, uint64_t *ret_count, GError **error)
{
  uint64_t cluster = cluster_of (image, at);
  Qcow2Counts *counts;

  if (image->writer->uncounted) {
    *ret_count = at < image->writer->first_size;
    return true;
  }
  if (!find_block_locked (image, cluster, &counts, error))
    return false;
  *ret_count = counts ? qcow2_refcount_get (counts->bytes,
                                            cluster % qcow2_counted_by_block (image),
                                            image->header.refcount_order)
                      : 0;
  return true;
}
