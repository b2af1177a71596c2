/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: from a range of the disk to where its bytes are. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-image.h"
#include "formats/qcow2/qcow2-writer.h"

/* Table entries looked at in one call; the caller comes again for the rest. */
#define MAP_ENTRIES_MAX 65536u

/* Words of an L2 table fetched at once; on the stack. */
#define MAP_BATCH 128u

/* Words of an L2 table that a medium loses together. */
#define SECTOR_WORDS 64u

/* One call of map under way. */
typedef struct {
  Qcow2Image *image;
  Qcow2Geometry geometry;   /* the image's, with the sizes of now */
  bool own;                 /* this image alone has the L2 table, so its flags hold */
  uint64_t table;           /* the L1 entry walked through */
  const Qcow2Table *memory; /* its table, or NULL where the file's is the current one */
  uint64_t at, end;         /* still to be mapped */
  ImMapFlags flags;
  ImExtent *extents;
  size_t n, max;
  bool full;        /* the array is, and more would not merge */
  unsigned entries; /* that may still be looked at */
} Walk;

/* The last extent found is of KIND. */
static inline bool
last_is (const Walk *w, ImExtentKind kind)
{
  return w->n > 0 && w->extents[w->n - 1].kind == kind;
}

/* The last extent goes on up to STOP. */
static inline void
extend (Walk *w, uint64_t stop)
{
  w->extents[w->n - 1].length += stop - w->at;
  w->at = stop;
}

/* A new extent from where the walk is up to STOP, or NULL and full. */
static ImExtent *
add (Walk *w, uint64_t stop, ImExtentKind kind)
{
  ImExtent *e;

  if (w->n == w->max) {
    w->full = true;
    return NULL;
  }
  e = &w->extents[w->n++];
  *e = (ImExtent){.offset = w->at,
                  .length = stop - w->at,
                  .kind = kind,
                  .allocated = kind != IM_EXTENT_PARENT,
                  .stable = !w->image->writer};
  w->at = stop;
  return e;
}

/* To be called after an entry was read and before it is judged: the file may just have
 * grown for it.  In a table that was not judged yet nothing can point into what the file
 * has grown by. */
static inline void
refresh_sizes (Walk *w)
{
  const Qcow2Image *image = w->image;

  if (image->writer && !qcow2_l1_is_judged (image, w->table)) {
    w->geometry = image->geometry;
    return;
  }
  w->geometry.file_size = im_file_size (image->file);
  w->geometry.data_size = im_file_size (image->data);
}

/* ZERO and PARENT: one with what came before where that is the same. */
static void
add_plain (Walk *w, uint64_t stop, ImExtentKind kind)
{
  if (last_is (w, kind))
    extend (w, stop);
  else
    add (w, stop, kind);
}

static void
add_file (Walk *w, uint64_t stop, uint64_t at, bool own)
{
  ImExtent *e;

  if (last_is (w, IM_EXTENT_FILE) && w->extents[w->n - 1].own == own &&
      w->extents[w->n - 1].at + w->extents[w->n - 1].length == at) {
    extend (w, stop);
    return;
  }
  e = add (w, stop, IM_EXTENT_FILE);
  if (!e)
    return;
  e->file = w->image->data;
  e->at = at;
  e->own = own;
  e->placed = true;
  e->crypt = w->image->crypt;
  e->crypt_at = qcow2_crypt_at (w->image, e->offset, at);
}

static void
add_chunk (Walk *w, uint64_t stop, const Qcow2Cluster *cluster, uint32_t within)
{
  ImExtent *e = add (w, stop, IM_EXTENT_CHUNK);

  if (!e)
    return;
  e->within = within;
  e->at = cluster->at;
  e->chunk = (ImChunkRef){
      .file = w->image->file,
      .at = cluster->at,
      .stored = cluster->stored,
      .plain = UINT32_C (1) << w->geometry.cluster_bits,
      .codec = w->image->codec,
  };
}

/* Never merged: each names its own entry.  NULL and full as with add. */
static ImExtent *
add_damaged (Walk *w, uint64_t stop, const char *reason, uint64_t entry_at,
             uint64_t entry)
{
  ImExtent *e = add (w, stop, IM_EXTENT_DAMAGED);

  if (!e)
    return NULL;
  e->reason = reason;
  e->at = entry_at;
  e->entry = entry;
  return e;
}

/* The same where nobody knows the entry's value. */
static void
add_unread (Walk *w, uint64_t stop, const char *reason, uint64_t entry_at)
{
  ImExtent *e = add_damaged (w, stop, reason, entry_at, 0);

  if (e)
    e->unread = true;
}

/* An entry of the L2 table at TABLE, as read. */
typedef struct {
  const uint64_t *words;
  uint64_t at;  /* in the file */
  bool refused; /* it contradicts what is known, and is read alone */
} Entry;

static void
add_cluster (Walk *w, uint64_t stop, const Qcow2Cluster *cluster, const Entry *entry)
{
  uint64_t within = w->at & ((UINT64_C (1) << w->geometry.cluster_bits) - 1);

  switch (cluster->kind) {
  case QCOW2_UNALLOCATED:
    add_plain (w, stop, IM_EXTENT_PARENT);
    break;
  case QCOW2_ZERO:
    add_plain (w, stop, IM_EXTENT_ZERO);
    break;
  case QCOW2_DATA:
    add_file (w, stop, cluster->at + within,
              w->geometry.external ||
                  (w->own && !entry->refused && (entry->words[0] & QCOW2_ENTRY_COPIED)));
    break;
  case QCOW2_COMPRESSED:
    add_chunk (w, stop, cluster, (uint32_t)within);
    break;
  case QCOW2_BAD:
    add_damaged (w, stop, cluster->reason, entry->at, entry->words[0]);
    break;
  }
}

/* All of one cluster that the walk still wants; several pieces with subclusters. */
static void
walk_entry (Walk *w, const Entry *entry)
{
  const Qcow2Geometry *g = &w->geometry;
  uint64_t mask = (UINT64_C (1) << g->cluster_bits) - 1;
  uint64_t guest = w->at & ~mask;

  do {
    unsigned sub = (unsigned)((w->at - guest) >> g->subcluster_bits), run;
    Qcow2Cluster cluster;

    run = qcow2_l2_decode (entry->refused ? &w->image->geometry : g, entry->words, guest,
                           sub, &cluster);
    add_cluster (w,
                 im_min (w->end, guest + ((uint64_t)(sub + run) << g->subcluster_bits)),
                 &cluster, entry);
  } while (!w->full && w->at < w->end && (w->at & mask) != 0);
}

/* How many of COUNT entries from INDEX on of the L2 table at TABLE lie in the file. */
static uint64_t
entries_present (const Walk *w, uint64_t table, uint64_t index, uint64_t count)
{
  const Qcow2Geometry *g = &w->geometry;
  uint64_t entries = (g->file_size - table) / 8 / g->entry_words;

  return index < entries ? im_min (count, entries - index) : 0;
}

/* The part of the table at TABLE, which the file's end cuts off, from INDEX on.  Not
 * zeros: those would be a statement, and there is none. */
static void
walk_cut_off (Walk *w, uint64_t table, uint64_t index)
{
  const Qcow2Geometry *g = &w->geometry;
  uint64_t stop = ((w->at >> g->cluster_bits) - index + (UINT64_C (1) << g->l2_bits))
                  << g->cluster_bits;

  w->entries--;
  add_unread (w, im_min (w->end, stop), "L2 entry is past the end of the file",
              table + index * g->entry_words * 8);
}

/* The COUNT entries in WORDS, which are those from word FIRST on of the L2 table at
 * TABLE. */
static void
walk_entries (Walk *w, const uint64_t *words, uint64_t count, uint64_t table,
              uint64_t first)
{
  unsigned entry_words = w->geometry.entry_words;

  refresh_sizes (w);
  w->entries -= (unsigned)count;
  for (uint64_t i = 0; i < count && !w->full; i++) {
    Entry entry = {.words = words + i * entry_words,
                   .at = table + (first + i * entry_words) * 8,
                   .refused = w->memory &&
                              qcow2_table_refuses (w->memory, first / entry_words + i)};

    walk_entry (w, &entry);
  }
}

/* At most COUNT entries from INDEX on of the L2 table at TABLE, of whose slice the medium
 * gives not all: those of one sector. */
static void
walk_sector (Walk *w, uint64_t table, uint64_t index, uint64_t count)
{
  const Qcow2Geometry *g = &w->geometry;
  uint64_t words[SECTOR_WORDS], first = index * g->entry_words;
  uint64_t stop;

  count = im_min (count, (SECTOR_WORDS - first % SECTOR_WORDS) / g->entry_words);
  stop = ((w->at >> g->cluster_bits) + count) << g->cluster_bits;
  if (!im_file_pread (w->image->file, words, (size_t)count * g->entry_words * 8,
                      table + first * 8, NULL)) {
    w->entries--;
    add_unread (w, im_min (w->end, stop), "L2 entry cannot be read", table + first * 8);
    return;
  }
  if (qcow2_table_in_memory (w->image, w->at >> (g->cluster_bits + g->l2_bits)))
    return; /* as in walk_l2 */
  for (uint64_t i = 0; i < count * g->entry_words; i++)
    words[i] = im_get_be64 (&words[i]);
  walk_entries (w, words, count, table, first);
}

/* As many entries as one batch has: of the L2 table at TABLE, or of MEMORY, which is that
 * table with what has changed in it. */
static bool
walk_l2 (Walk *w, uint64_t table, const Qcow2Table *memory, GError **error)
{
  const Qcow2Geometry *g = &w->geometry;
  uint64_t words[MAP_BATCH];
  uint64_t table_words = (uint64_t)g->entry_words << g->l2_bits;
  uint64_t index = (w->at >> g->cluster_bits) & ((UINT64_C (1) << g->l2_bits) - 1);
  uint64_t first = index * g->entry_words;
  uint64_t wanted = ((w->end - 1) >> g->cluster_bits) - (w->at >> g->cluster_bits) + 1;
  size_t room = im_min (MAP_BATCH, im_table_cache_span (first, table_words));
  uint64_t count = im_min (im_min (wanted, w->entries), room / g->entry_words);
  g_autoptr (GError) failure = NULL;

  if (memory) {
    qcow2_table_read (memory, g->entry_words, first, (size_t)count * g->entry_words,
                      words);
    walk_entries (w, words, count, table, first);
    return true;
  }
  count = entries_present (w, table, index, count);
  if (count == 0) {
    walk_cut_off (w, table, index);
    return true;
  }
  if (!im_table_cache_read_be64 (w->image->block.shared->tables, w->image->file, table,
                                 table_words, first, (size_t)count * g->entry_words,
                                 (w->flags & IM_MAP_NOWAIT) != 0, words, &failure)) {
    if (im_error_is_damage (failure)) {
      walk_sector (w, table, index, count);
      return true;
    }
    g_propagate_error (error, g_steal_pointer (&failure));
    return false;
  }
  /* Should the table have come into memory meanwhile, a commit may have been writing just
   * what was read, and half of an entry be old: once more. */
  if (qcow2_table_in_memory (w->image, w->at >> (g->cluster_bits + g->l2_bits)))
    return true;
  walk_entries (w, words, count, table, first);
  return true;
}

/* Where the run of empty L1 entries from INDEX on ends, as an index. */
static uint64_t
empty_run (Walk *w, uint64_t index, uint64_t last)
{
  const Qcow2Image *image = w->image;

  do {
    index++;
    w->entries--;
  } while (index <= last && w->entries > 0 && index < image->l1_entries &&
           qcow2_l1_entry (image, index) == 0);
  return index < image->l1_entries ? index : last + 1;
}

static bool
walk_l1 (Walk *w, GError **error)
{
  const Qcow2Image *image = w->image;
  const Qcow2Geometry *g = &w->geometry;
  unsigned shift = g->cluster_bits + g->l2_bits;
  uint64_t index = w->at >> shift;
  /* Before any entry is read: judging may take flags away. */
  bool judged = image->writer && qcow2_l1_is_judged (image, index);
  uint64_t entry = index < image->l1_entries ? qcow2_l1_entry (image, index) : 0;
  /* In this order: a table is published before the entry that points at its place. */
  const Qcow2Table *memory = qcow2_table_in_memory (image, index);
  Qcow2Cluster table;

  w->own = judged && (memory || (entry & QCOW2_ENTRY_COPIED));
  w->table = index;
  w->memory = memory;
  refresh_sizes (w);
  table = qcow2_l1_decode (g, entry);
  if (memory || table.kind == QCOW2_DATA)
    return walk_l2 (w, memory ? qcow2_table_at (memory) : table.at, memory, error);
  if (table.kind == QCOW2_UNALLOCATED) {
    index = empty_run (w, index, (w->end - 1) >> shift);
    add_plain (w, im_min (w->end, index << shift), IM_EXTENT_PARENT);
  } else {
    w->entries--;
    add_damaged (w, im_min (w->end, (index + 1) << shift), table.reason,
                 image->l1_offset + index * 8, entry);
  }
  return true;
}

bool
qcow2_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
           ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  Walk w = {.image = (Qcow2Image *)block,
            .geometry = ((Qcow2Image *)block)->geometry,
            .at = offset,
            .end = offset + length,
            .flags = flags,
            .extents = extents,
            .max = n,
            .entries = MAP_ENTRIES_MAX};

  while (w.at < w.end && !w.full && w.entries > 0) {
    g_autoptr (GError) local = NULL;

    if (walk_l1 (&w, &local))
      continue;
    if (w.n == 0) {
      g_propagate_error (error, g_steal_pointer (&local));
      return false;
    }
    break; /* what is known is an answer; the error comes again to who asks from there */
  }
  *ret_n = w.n;
  return true;
}
