/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: what of a writable image a commit writes, and in which rank.
 *
 *   0  the autoclear bits that are not kept up, cleared: before any change; with lazy
 *      refcounts the dirty mark, before the first change of a table or a count
 *   1  new refcount blocks, L2 tables and refcount tables; counts, raised or let go
 *   2  the refcount table, and its place in the header
 *   3  L2 and L1 entries
 *   4  the dirty mark, removed, in the last commit of all
 *
 * A commit that failed in rank n has made the ranks below n durable, has written any part
 * of rank n, and nothing beyond it.  All comes again, in the state of then, which is
 * sound for each kind:
 *
 * counts: rank 1 as ever.  One that was raised may be too high in the file, which is a
 *   leak; one was lowered only after the removal had become durable.
 *
 * new block: the table points at it from rank 2 on, so what was durable by then was a
 *   whole block; that its later counts are rank 1 is as with any block.
 *
 * refcount table: a new one is rank 1 until rank 2 began.  From then on the header may
 *   name it: an entry that came after the failure would be there before the block that it
 *   points at, were it not rank 2.  So the table is no longer fresh, and the header's
 *   field alone comes again.
 *
 * L2 table: likewise rank 1 until rank 3 began.  Then an L1 entry may point at it and it
 *   is rank 3, and what lies at its place is what rank 1 made durable, a sound table, and
 *   nothing older.
 *
 * L1, L2 entry: rank 3.  What they point at in the file was made in ranks 1 and 2 of the
 *   commit that wrote it first.
 *
 * quarantine: what lost its last pointer stays until a commit that copied its removal is
 *   durable as a whole. */
#include "base/bytes.h"
#include "formats/qcow2/qcow2-writer.h"

enum { RANK_MARKS, RANK_NEW, RANK_COUNTS_VALID, RANK_POINTERS, RANK_LAST };

#define SECTOR_ENTRIES 64u /* of L1 and refcount table: one sector's */

void
qcow2_dirty_locked (Qcow2Dirty *state, GPtrArray *list, void *owner, size_t from,
                    size_t len)
{
  for (size_t piece = from / QCOW2_PIECE; piece <= (from + len - 1) / QCOW2_PIECE;
       piece++)
    qcow2_bit_set (state->dirty, piece);
  if (!state->listed)
    g_ptr_array_add (list, owner);
  state->listed = true;
}

static bool
bit (const uint64_t *bits, uint64_t n)
{
  return bits[n / 64] >> n % 64 & 1;
}

/* Ends the writing of what STATE says: dirty again where that failed. */
static bool
settle_state (Qcow2Dirty *state, unsigned ranks)
{
  bool dirty = false, durable = ranks == IM_COMMIT_RANKS;

  for (unsigned i = 0; i < QCOW2_MAX_WORDS; i++) {
    if (!durable)
      state->dirty[i] |= state->writing[i];
    state->writing[i] = 0;
    dirty |= state->dirty[i] != 0;
  }
  /* Once pointers may have been written, one of them may point here. */
  if (ranks < RANK_POINTERS)
    state->fresh |= state->fresh_writing;
  state->fresh_writing = false;
  return dirty;
}

/* From dirty to being written. */
static void
begin_state (Qcow2Dirty *state)
{
  memcpy (state->writing, state->dirty, sizeof state->writing);
  memset (state->dirty, 0, sizeof state->dirty);
  state->fresh_writing = state->fresh;
  state->fresh = false;
  state->listed = false;
}

/* Where the run of pieces being written from PIECE on ends; PIECE where there is none. */
static size_t
run_end (const Qcow2Dirty *state, size_t piece, size_t pieces)
{
  while (piece < pieces && bit (state->writing, piece))
    piece++;
  return piece;
}

static void
collect_block (Qcow2Image *image, Qcow2Counts *counts, ImCommitBatch *batch)
{
  size_t size = (size_t)qcow2_cluster_size (image), step = im_min (size, QCOW2_PIECE);

  begin_state (&counts->state);
  for (size_t piece = 0; piece < size / step; piece++) {
    size_t end = run_end (&counts->state, piece, size / step);

    if (end == piece)
      continue;
    im_commit_add (batch, RANK_NEW, counts->at + piece * step,
                   g_memdup2 (counts->bytes + piece * step, (end - piece) * step),
                   (end - piece) * step);
    piece = end;
  }
}

/* N big-endian words of FROM. */
static uint8_t *
copy_words (const atomic_ullong *from, size_t n)
{
  uint8_t *bytes = g_malloc (n * 8);

  for (size_t i = 0; i < n; i++)
    im_put_be64 (bytes + i * 8, atomic_load_explicit (&from[i], memory_order_relaxed));
  return bytes;
}

static void
collect_table (Qcow2Image *image, Qcow2Table *t, ImCommitBatch *batch)
{
  size_t size = (size_t)qcow2_cluster_size (image), step = im_min (size, QCOW2_PIECE);

  begin_state (&t->state);
  for (size_t piece = 0; piece < size / step; piece++) {
    size_t end = run_end (&t->state, piece, size / step);

    if (end == piece)
      continue;
    im_commit_add (batch, t->state.fresh_writing ? RANK_NEW : RANK_POINTERS,
                   t->at + piece * step,
                   copy_words (t->words + piece * step / 8, (end - piece) * step / 8),
                   (end - piece) * step);
    piece = end;
  }
}

static void
collect_l1 (Qcow2Image *image, ImCommitBatch *batch)
{
  Qcow2Writer *w = image->writer;
  uint64_t sectors = im_div_up (image->l1_entries, SECTOR_ENTRIES);

  for (uint64_t word = 0; word <= sectors / 64; word++) {
    w->l1_writing[word] = w->l1_dirty[word];
    w->l1_dirty[word] = 0;
    for (uint64_t i = word * 64; w->l1_writing[word] && i < (word + 1) * 64; i++) {
      uint64_t first = i * SECTOR_ENTRIES;

      if (!bit (w->l1_writing, i))
        continue;
      /* The table may be longer in the file than the disk needs. */
      size_t n = im_min (SECTOR_ENTRIES, image->l1_entries - first);
      im_commit_add (batch, RANK_POINTERS, image->l1_offset + first * 8,
                     copy_words (image->l1 + first, n), n * 8);
    }
  }
}

static uint8_t *
copy_refcounts (const Qcow2Writer *w, uint64_t first, size_t n)
{
  uint8_t *bytes = g_malloc (n * 8);

  for (size_t i = 0; i < n; i++)
    im_put_be64 (bytes + i * 8, w->refcounts[first + i]);
  return bytes;
}

static void
collect_moved_table (const Qcow2Image *image, ImCommitBatch *batch)
{
  const Qcow2Writer *w = image->writer;
  uint8_t *field = g_malloc (12);

  im_put_be64 (field, w->refcount_at);
  im_put_be32 (field + 8,
               (uint32_t)(w->refcount_entries * 8 >> image->geometry.cluster_bits));
  im_commit_add (batch, RANK_COUNTS_VALID, QCOW2_AT_REFCOUNT_TABLE, field, 12);
  if (w->refcount_fresh)
    im_commit_add (batch, RANK_NEW, w->refcount_at,
                   copy_refcounts (w, 0, w->refcount_entries), w->refcount_entries * 8);
}

static void
collect_refcount_table (const Qcow2Image *image, ImCommitBatch *batch)
{
  Qcow2Writer *w = image->writer;

  for (uint64_t word = 0; word <= w->refcount_entries / 64 / 64; word++) {
    w->refcount_writing[word] = w->refcount_dirty[word];
    w->refcount_dirty[word] = 0;
    if (w->refcount_fresh)
      continue;
    for (uint64_t i = word * 64; w->refcount_writing[word] && i < (word + 1) * 64; i++)
      if (bit (w->refcount_writing, i))
        im_commit_add (batch, RANK_COUNTS_VALID, w->refcount_at + i * SECTOR_ENTRIES * 8,
                       copy_refcounts (w, i * SECTOR_ENTRIES, SECTOR_ENTRIES),
                       SECTOR_ENTRIES * 8);
  }
  if (w->refcount_moved)
    collect_moved_table (image, batch);
  w->refcount_moved_writing = w->refcount_moved;
  w->refcount_fresh_writing = w->refcount_fresh;
  w->refcount_moved = w->refcount_fresh = false;
}

static void
collect_feature_bits (ImCommitBatch *batch, unsigned rank, uint64_t at, uint64_t bits)
{
  uint8_t *bytes = g_malloc (8);

  im_put_be64 (bytes, bits);
  im_commit_add (batch, rank, at, bytes, 8);
}

static void
collect_marks (Qcow2Image *image, ImCommitBatch *batch)
{
  Qcow2Writer *w = image->writer;
  uint64_t dirty = image->header.incompatible | QCOW2_INCOMPATIBLE_DIRTY;

  if (!atomic_load (&w->marked))
    collect_feature_bits (batch, RANK_MARKS, QCOW2_AT_AUTOCLEAR,
                          qcow2_kept_autoclear (image));
  w->dirty_writing = atomic_load (&w->dirty_wanted) && !atomic_load (&w->dirty_marked);
  if (w->dirty_writing)
    collect_feature_bits (batch, RANK_MARKS, QCOW2_AT_INCOMPATIBLE, dirty);
}

/* While the header says dirty nobody believes the counts, and they can wait for the end;
 * not where they become too many, and not where the file is to find them elsewhere. */
static bool
counts_are_due_locked (const Qcow2Writer *w)
{
  return !w->lazy || w->closing || w->refcount_moved ||
         w->block_bytes > QCOW2_BLOCKS_BUDGET;
}

static GPtrArray *
take_list (GPtrArray *list)
{
  GPtrArray *taken = g_ptr_array_copy (list, NULL, NULL);

  g_ptr_array_set_size (list, 0);
  return taken;
}

static void
collect_counts_locked (Qcow2Image *image, ImCommitBatch *batch)
{
  Qcow2Writer *w = image->writer;

  if (!counts_are_due_locked (w)) {
    w->writing_blocks = g_ptr_array_new ();
    return;
  }
  for (guint i = 0; i < w->dirty_blocks->len; i++)
    collect_block (image, w->dirty_blocks->pdata[i], batch);
  collect_refcount_table (image, batch);
  w->writing_blocks = take_list (w->dirty_blocks);
}

/* The lists of what is written stay until the end, which tells whether to write it again;
 * what changes meanwhile is listed anew, and so may stand there twice. */
static void
collect (void *owner, ImCommitBatch *batch)
{
  Qcow2Image *image = owner;
  Qcow2Writer *w = image->writer;

  collect_marks (image, batch);
  pthread_mutex_lock (&w->mutex);
  collect_counts_locked (image, batch);
  for (guint i = 0; i < w->dirty_tables->len; i++)
    collect_table (image, w->dirty_tables->pdata[i], batch);
  collect_l1 (image, batch);
  im_quarantine_seal (&w->quarantine);
  w->writing_tables = take_list (w->dirty_tables);
  if (w->clean)
    collect_feature_bits (batch, RANK_LAST, QCOW2_AT_INCOMPATIBLE,
                          image->header.incompatible);
  pthread_mutex_unlock (&w->mutex);
}

/* Ends the writing of OWNER, listing it where it is to be written again. */
static void
settle_locked (Qcow2Dirty *state, GPtrArray *list, void *owner, unsigned ranks)
{
  if (settle_state (state, ranks) && !state->listed) {
    g_ptr_array_add (list, owner);
    state->listed = true;
  }
}

static void
settle_bits (uint64_t *dirty, uint64_t *writing, uint64_t words, bool durable)
{
  for (uint64_t i = 0; i < words; i++) {
    if (!durable)
      dirty[i] |= writing[i];
    writing[i] = 0;
  }
}

/* A table that may have become the one in the header is not written as if it were new. */
static void
settle_moved_table_locked (Qcow2Writer *w, unsigned ranks)
{
  if (ranks < IM_COMMIT_RANKS)
    w->refcount_moved |= w->refcount_moved_writing;
  if (ranks < RANK_COUNTS_VALID)
    w->refcount_fresh |= w->refcount_fresh_writing;
  w->refcount_moved_writing = w->refcount_fresh_writing = false;
}

static void
finished (void *owner, unsigned ranks)
{
  Qcow2Image *image = owner;
  Qcow2Writer *w = image->writer;
  bool durable = ranks == IM_COMMIT_RANKS;

  if (ranks > RANK_MARKS) {
    atomic_store (&w->marked, true);
    if (w->dirty_writing)
      atomic_store (&w->dirty_marked, true);
  }
  pthread_mutex_lock (&w->mutex);
  for (guint i = 0; i < w->writing_blocks->len; i++) {
    Qcow2Counts *counts = w->writing_blocks->pdata[i];

    settle_locked (&counts->state, w->dirty_blocks, counts, ranks);
  }
  for (guint i = 0; i < w->writing_tables->len; i++) {
    Qcow2Table *t = w->writing_tables->pdata[i];

    settle_locked (&t->state, w->dirty_tables, t, ranks);
  }
  g_clear_pointer (&w->writing_blocks, g_ptr_array_unref);
  g_clear_pointer (&w->writing_tables, g_ptr_array_unref);
  settle_bits (w->l1_dirty, w->l1_writing,
               im_div_up (image->l1_entries, SECTOR_ENTRIES) / 64 + 1, durable);
  settle_bits (w->refcount_dirty, w->refcount_writing,
               w->refcount_entries / SECTOR_ENTRIES / 64 + 1, durable);
  settle_moved_table_locked (w, ranks);
  im_quarantine_settle (&w->quarantine, durable);
  pthread_mutex_unlock (&w->mutex);
  qcow2_release (image, false);
}

const ImCommitOps qcow2_commit_ops = {.collect = collect, .finished = finished};
