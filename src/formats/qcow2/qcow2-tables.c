/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the L2 tables that are kept in memory, since they are to change.
 *
 *   load ──► judge, the first time ──► copy where it is shared ──► install
 *                                               evict ◄── changed, committed, … ◄──┘
 *
 * A reader that saw no table here may put what it read of the file into the table cache.
 * So a table leaves only once all operations begun before it came have ended, and drops
 * its slices from that cache first: nobody can bring back the old ones. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/operation.h"
#include "formats/qcow2/qcow2-writer.h"
#include <inttypes.h>
#include <sched.h>

enum { LOOKED_AT = 64 }; /* tables, to make room for one */

static inline uint64_t
load_word (const Qcow2Table *t, uint64_t i)
{
  return atomic_load_explicit (&t->words[i], memory_order_acquire);
}

/* An entry of two words, both from before a change or from after it. */
static void
read_pair (const Qcow2Table *t, uint64_t first, uint64_t *ret_words)
{
  for (;; sched_yield ()) {
    unsigned before = atomic_load_explicit (&t->sequence, memory_order_acquire);

    ret_words[0] = load_word (t, first);
    ret_words[1] = load_word (t, first + 1);
    if (before % 2 == 0 &&
        atomic_load_explicit (&t->sequence, memory_order_relaxed) == before)
      return;
  }
}

void
qcow2_table_read (const Qcow2Table *table, unsigned unit, uint64_t first, size_t n,
                  uint64_t *ret_words)
{
  for (size_t i = 0; unit == 1 && i < n; i++)
    ret_words[i] = load_word (table, first + i);
  for (size_t i = 0; unit == 2 && i < n; i += 2)
    read_pair (table, first + i, ret_words + i);
}

void
qcow2_table_write_locked (Qcow2Table *table, uint64_t first, unsigned n,
                          const uint64_t *words)
{
  unsigned sequence = atomic_load_explicit (&table->sequence, memory_order_relaxed);

  /* Release order on each store keeps the odd counter before all of them. */
  atomic_store_explicit (&table->sequence, sequence + 1, memory_order_relaxed);
  for (unsigned i = 0; i < n; i++)
    atomic_store_explicit (&table->words[first + i], words[i], memory_order_release);
  atomic_store_explicit (&table->sequence, sequence + 2, memory_order_release);
}

static void
table_free (Qcow2Table *t)
{
  if (t)
    g_free (t->refused);
  g_free (t);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Qcow2Table, table_free)

static bool
is_clean (const Qcow2Table *t)
{
  if (t->state.listed || t->state.fresh_writing)
    return false;
  for (unsigned i = 0; i < QCOW2_MAX_WORDS; i++)
    if (t->state.writing[i])
      return false;
  return true;
}

static void
free_retired_locked (Qcow2Writer *w)
{
  Qcow2Table **link = &w->retired;

  while (*link) {
    Qcow2Table *t = *link;

    if (im_operation_passed (t->stamp)) {
      *link = t->next;
      table_free (t);
    } else {
      link = &t->next;
    }
  }
}

static void
append_locked (Qcow2Writer *w, Qcow2Table *t)
{
  t->next = NULL;
  *(w->newest ? &w->newest->next : &w->oldest) = t;
  w->newest = t;
}

static void
retire_locked (Qcow2Image *image, Qcow2Table *t)
{
  Qcow2Writer *w = image->writer;
  uint64_t size = qcow2_cluster_size (image);

  im_table_cache_drop (image->block.shared->tables, image->file, t->at, size);
  atomic_store (&w->tables[t->index], NULL);
  w->table_bytes -= size;
  t->stamp = im_operation_stamp ();
  t->next = w->retired;
  w->retired = t;
}

/* Lets clean tables go, the oldest first, until there is room for one more; those that
 * cannot go yet are looked at again when the others have been, and not all at once. */
static bool
make_room_locked (Qcow2Image *image)
{
  Qcow2Writer *w = image->writer;
  uint64_t size = qcow2_cluster_size (image);

  free_retired_locked (w);
  for (unsigned i = 0;
       i < LOOKED_AT && w->oldest && w->table_bytes + size > w->table_budget; i++) {
    Qcow2Table *t = w->oldest;

    w->oldest = t->next;
    if (!w->oldest)
      w->newest = NULL;
    if (t->pins > 0 || !is_clean (t) || !im_operation_passed (t->stamp))
      append_locked (w, t);
    else
      retire_locked (image, t);
  }
  return w->table_bytes + size <= w->table_budget;
}

/* The same, by a commit if that would help much.  What is still too much is in use, by
 * requests and readers under way, and those are bounded by who sends them. */
static bool
make_room (Qcow2Image *image, GError **error)
{
  Qcow2Writer *w = image->writer;
  bool room;

  pthread_mutex_lock (&w->mutex);
  room = make_room_locked (image) ||
         w->dirty_tables->len * qcow2_cluster_size (image) < w->table_budget / 4;
  pthread_mutex_unlock (&w->mutex);
  if (room)
    return true;
  if (!im_commit_now (w->commit, error))
    return false;
  pthread_mutex_lock (&w->mutex);
  make_room_locked (image);
  pthread_mutex_unlock (&w->mutex);
  return true;
}

/* A table not yet installed, with what L1 entry INDEX, which is ENTRY, points at. */
static Qcow2Table *
load_table (Qcow2Image *image, uint64_t index, uint64_t entry, GError **error)
{
  size_t size = (size_t)qcow2_cluster_size (image);
  uint64_t at = entry & QCOW2_ENTRY_OFFSET_MASK;
  Qcow2Geometry g = image->geometry;
  g_autoptr (Qcow2Table) t = g_malloc0 (sizeof (Qcow2Table) + size);
  g_autofree uint8_t *bytes = NULL;
  Qcow2Cluster place;

  t->index = index;
  t->at = at;
  g.file_size = im_file_size (image->file);
  place = qcow2_l1_decode (&g, entry);
  if (atomic_load (&image->writer->l1_state[index]) == QCOW2_L1_REFUSED)
    place = (Qcow2Cluster){
        .kind = QCOW2_BAD,
        .reason = "what it points at is in use otherwise, or past the end of the file"};
  if (place.kind == QCOW2_UNALLOCATED)
    return g_steal_pointer (&t);
  if (place.kind == QCOW2_BAD || !im_range_fits (at, size, g.file_size)) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "table entry at 0x%" PRIx64 " is 0x%" PRIx64 ": %s",
                 image->l1_offset + index * 8, entry,
                 place.kind == QCOW2_BAD ? place.reason : "the file cuts the table off");
    return NULL;
  }
  bytes = g_malloc (size);
  if (!im_file_pread (image->file, bytes, size, at, error))
    return NULL;
  for (size_t i = 0; i < size / 8; i++)
    atomic_init (&t->words[i], im_get_be64 (bytes + i * 8));
  return g_steal_pointer (&t);
}

/* Space for T, and for the L1 entry that is to point at it: that may lie in a hole. */
static bool
occupy (Qcow2Image *image, const Qcow2Table *t, GError **error)
{
  return qcow2_occupy (image, t->at, qcow2_cluster_size (image), error) &&
         im_file_reserve (image->file, image->l1_offset + t->index * 8, 8, error);
}

/* Gives T, which is shared or has no place yet, one of its own. */
static bool
place_table (Qcow2Image *image, Qcow2Table *t, GError **error)
{
  Qcow2Writer *w = image->writer;
  size_t words = (size_t)qcow2_cluster_size (image) / 8;
  uint64_t n;
  bool zeroed, ok;

  pthread_mutex_lock (&w->mutex);
  ok = qcow2_allocate_locked (image, 1, &t->at, &n, &zeroed, error);
  pthread_mutex_unlock (&w->mutex);
  if (!ok)
    return false;
  if (!occupy (image, t, error)) {
    pthread_mutex_lock (&w->mutex);
    im_quarantine_add (&w->quarantine, t->at, qcow2_cluster_size (image), false);
    pthread_mutex_unlock (&w->mutex);
    return false;
  }
  t->state.fresh = true;
  /* In a shared table no cluster can be this image's alone, whatever a flag says, unless
   * it lies in a data file. */
  for (size_t i = 0; !image->geometry.external && i < words;
       i += image->geometry.entry_words) {
    uint64_t entry = atomic_load_explicit (&t->words[i], memory_order_relaxed);

    if (!(entry & QCOW2_ENTRY_COMPRESSED))
      atomic_store_explicit (&t->words[i], entry & ~QCOW2_ENTRY_COPIED,
                             memory_order_relaxed);
  }
  return true;
}

/* JUDGED: for the first time; MENDED: with changes, thereby. */
static void
install_locked (Qcow2Image *image, Qcow2Table *t, uint64_t old_entry, bool judged,
                bool mended)
{
  Qcow2Writer *w = image->writer;
  uint64_t size = qcow2_cluster_size (image);
  uint64_t old_at = old_entry & QCOW2_ENTRY_OFFSET_MASK;

  append_locked (w, t);
  w->table_bytes += size;
  t->pins = 1;
  if (judged)
    qcow2_judge_locked (image, t);
  atomic_store (&w->tables[t->index], t);
  if (t->state.fresh || mended)
    qcow2_dirty_locked (&t->state, w->dirty_tables, t, 0, (size_t)size);
  if (t->state.fresh) {
    atomic_store (&image->l1[t->index], t->at | QCOW2_ENTRY_COPIED);
    qcow2_bit_set (w->l1_dirty, t->index / 64);
    if (old_at)
      im_quarantine_add (&w->quarantine, old_at, size, false);
  }
  t->stamp = im_operation_stamp ();
}

/* Does anything but its L1 entry, which says otherwise, point at T too? */
static bool
is_shared (Qcow2Image *image, Qcow2Table *t, bool *ret_shared, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t count = 1;
  bool ok;

  pthread_mutex_lock (&w->mutex);
  ok = qcow2_count_locked (image, t->at, &count, error);
  t->disputed = qcow2_held_get (&w->held, t->at >> image->geometry.cluster_bits) ==
                QCOW2_HELD_DISPUTED;
  *ret_shared = count > 1 || t->disputed;
  pthread_mutex_unlock (&w->mutex);
  return ok;
}

/* Brings in table INDEX, which this thread alone does.  Nobody else changes its L1 entry
 * meanwhile. */
static Qcow2Table *
bring_in (Qcow2Image *image, uint64_t index, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t entry = qcow2_l1_entry (image, index);
  bool judged = atomic_load (&w->l1_state[index]) != QCOW2_L1_JUDGED, mended = false;
  /* A flag without a table means nothing, nor do flags that go with wrong counts. */
  bool shared = !(entry & QCOW2_ENTRY_COPIED) || !(entry & QCOW2_ENTRY_OFFSET_MASK) ||
                (judged && w->uncounted);
  g_autoptr (Qcow2Table) t = NULL;

  if (!make_room (image, error))
    return NULL;
  t = load_table (image, index, entry, error);
  if (!t || (judged && !qcow2_judge_counts (image, t, &mended, error)) ||
      (judged && !shared && !is_shared (image, t, &shared, error)) ||
      (shared && !place_table (image, t, error)))
    return NULL;
  pthread_mutex_lock (&w->mutex);
  install_locked (image, t, entry, judged, mended);
  pthread_mutex_unlock (&w->mutex);
  return g_steal_pointer (&t);
}

Qcow2Table *
qcow2_table_pin (Qcow2Image *image, uint64_t index, GError **error)
{
  Qcow2Writer *w = image->writer;
  Qcow2Table *t;

  if (!qcow2_writer_mark_dirty (image, error))
    return NULL;
  pthread_mutex_lock (&w->mutex);
  do
    t = atomic_load (&w->tables[index]);
  while (!t && !qcow2_loading_begin_locked (w, QCOW2_LOADING_TABLE (index)));
  if (t)
    t->pins++;
  pthread_mutex_unlock (&w->mutex);
  if (t)
    return t;
  t = bring_in (image, index, error);
  pthread_mutex_lock (&w->mutex);
  qcow2_loading_end_locked (w, QCOW2_LOADING_TABLE (index));
  pthread_mutex_unlock (&w->mutex);
  return t;
}

void
qcow2_table_unpin (Qcow2Image *image, Qcow2Table *table)
{
  pthread_mutex_lock (&image->writer->mutex);
  table->pins--;
  pthread_mutex_unlock (&image->writer->mutex);
}

static void
free_list (Qcow2Table *t)
{
  while (t) {
    Qcow2Table *next = t->next;

    table_free (t);
    t = next;
  }
}

void
qcow2_tables_free (Qcow2Writer *w)
{
  free_list (w->oldest);
  free_list (w->retired);
  g_free (w->tables);
}
