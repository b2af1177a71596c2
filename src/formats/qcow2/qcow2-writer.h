/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: what a writable image has beyond a read-only one.
 *
 * Metadata changes in memory and reaches the file by commits alone:
 *
 *   L2 tables      a table that is to change is loaded whole and stays until a commit has
 *                  written it; map looks there first, without a lock
 *   L1             in memory anyway
 *   refcount blocks  loaded as they are needed
 *   refcount table   in memory as a whole; moves when it becomes too short
 *
 * One mutex, the allocator mutex, guards all of it; no I/O is done under it.  What
 * readers see without it is atomic: the L1 entries, the tables' pointers and their words;
 * entries of two words are read under their table's sequence counter.
 */
#pragma once

#include "block/commit.h"
#include "block/quarantine.h"
#include "block/write-engine.h"
#include "formats/qcow2/qcow2-held.h"
#include "formats/qcow2/qcow2-image.h"
#include <pthread.h>

/* Tables and refcount blocks are written in pieces of at most this many bytes. */
#define QCOW2_PIECE     4096u
#define QCOW2_MAX_WORDS ((1u << QCOW2_MAX_CLUSTER_BITS) / QCOW2_PIECE / 64u)

/* Bytes of L2 tables, and of refcount blocks, that are kept in memory; more only while
 * requests under way hold them. */
#define QCOW2_TABLES_BUDGET (UINT64_C (32) << 20)
#define QCOW2_BLOCKS_BUDGET (UINT64_C (16) << 20)

/* Bytes of L2 tables with entries that are refused; they stay in memory. */
#define QCOW2_REFUSED_MAX (UINT64_C (64) << 20)

/* Bytes in quarantine that start a commit. */
#define QCOW2_QUARANTINE_MAX (UINT64_C (64) << 20)

/* Bytes, and ranges in memory, at which who adds to them waits for that commit. */
#define QCOW2_QUARANTINE_WAIT   (UINT64_C (4) << 30)
#define QCOW2_QUARANTINE_RANGES 65536u

/* Which pieces of one cluster of metadata are to be written. */
typedef struct {
  uint64_t dirty[QCOW2_MAX_WORDS];   /* since the last commit copied */
  uint64_t writing[QCOW2_MAX_WORDS]; /* by the commit under way */
  bool fresh, fresh_writing;         /* nothing in the file points at it yet */
  bool listed;                       /* in the writer's list of what is dirty */
} Qcow2Dirty;

/* An L2 table in memory. */
typedef struct Qcow2Table Qcow2Table;
struct Qcow2Table {
  uint64_t index; /* of its L1 entry; const */
  uint64_t at;    /* its place in the file; const */
  uint64_t stamp; /* of the operations begun before it came here, later before it left */
  unsigned pins;  /* requests that use it */
  Qcow2Dirty state;
  bool disputed; /* what it was copied from is pointed at by others that do not know */
  /* Bit n: entry n contradicts what is known, and is not changed.  NULL: none does; const
   * once it is installed. */
  uint64_t *refused;
  Qcow2Table *next;     /* by age */
  atomic_uint sequence; /* odd while an entry of two words is changed */
  atomic_ullong words[];
};

/* A refcount block in memory. */
typedef struct {
  uint64_t at;
  Qcow2Dirty state;
  bool has_space;  /* the disk below has set some aside for all of it */
  uint8_t bytes[]; /* as in the file */
} Qcow2Counts;

/* What is known of one entry of the L1 table. */
typedef enum {
  QCOW2_L1_UNSEEN,  /* its table has not been judged */
  QCOW2_L1_JUDGED,  /* the table is this image's, and its flags hold */
  QCOW2_L1_REFUSED, /* it contradicts what is known */
} Qcow2L1State;

typedef struct Qcow2Writer Qcow2Writer;
struct Qcow2Writer {
  ImClaims *claims;
  ImCommit *commit;
  atomic_bool marked;     /* the header says what must be said before any change */
  atomic_bool changed;    /* something has been written at all */
  atomic_bool prepared;   /* `held` has all metadata, and the image can be written */
  atomic_uchar *l1_state; /* Qcow2L1State, by L1 index */
  uint64_t first_size;    /* of the file when it was opened; const */
  /* It was found dirty: its counts mean nothing, so they are neither read nor written.
   * Const. */
  bool uncounted;
  /* The header's dirty mark lets counts be written late.  Const. */
  bool lazy;
  atomic_bool dirty_wanted, dirty_marked; /* that mark: to be made; in the file */
  bool dirty_writing;                     /* the committing thread's */

  pthread_mutex_t mutex; /* the allocator mutex: guards all below */
  GArray *loading;       /* uint64_t: what some thread reads in */
  pthread_cond_t loaded;
  GError *refusal; /* why nothing is written; NULL: it is */
  Qcow2HeldMap held;
  ImQuarantine quarantine;

  _Atomic (Qcow2Table *) *tables; /* by L1 index; set under the mutex */
  Qcow2Table *oldest, *newest;
  Qcow2Table *retired; /* out of reach, until no operation uses them */
  uint64_t table_bytes, table_budget;
  uint64_t refused_bytes;                   /* of tables with such entries */
  GPtrArray *dirty_tables, *writing_tables; /* borrowed; writing: by a commit under way */
  uint64_t *l1_dirty, *l1_writing;          /* bit n: its sector n */

  uint64_t refcount_at;      /* the refcount table's place */
  uint64_t refcount_entries; /* a whole number of clusters */
  uint64_t *refcounts;       /* it: places of refcount blocks */
  Qcow2Counts **blocks;      /* by its index, or NULL */
  uint64_t block_bytes, block_hand;
  GPtrArray *dirty_blocks, *writing_blocks;    /* likewise */
  uint64_t *refcount_dirty, *refcount_writing; /* bit n: its sector n */
  bool refcount_moved, refcount_moved_writing; /* the header names another place */
  bool refcount_fresh, refcount_fresh_writing; /* nothing in the file points at it yet */

  uint64_t cursor;    /* no free cluster lies before it */
  uint64_t zero_from; /* clusters from here on were never written */
  uint64_t used_end;  /* clusters given out lie before it */
  /* A count is wrong, and others may be: clusters are taken from the file's end on and
   * none is freed. */
  bool distrusted;
  bool closing; /* what may be written late is written now, … */
  bool clean;   /* … and was: the dirty mark may go */
};

static inline uint64_t
qcow2_cluster_size (const Qcow2Image *image)
{
  return UINT64_C (1) << image->geometry.cluster_bits;
}

static inline uint64_t
qcow2_l1_entry (const Qcow2Image *image, uint64_t index)
{
  return atomic_load_explicit (&image->l1[index], memory_order_acquire);
}

/* qcow2-writer.c: beginning and end. */

/* Why this image is not to be written, or NULL; static text. */
const char *qcow2_unwritable (const Qcow2Image *image);
bool qcow2_writer_open (Qcow2Image *image, GError **error);
/* The autoclear bits whose promise is kept when the image is written. */
uint64_t qcow2_kept_autoclear (const Qcow2Image *image);
/* Commits and frees; nobody uses the image any more. */
void qcow2_writer_close (Qcow2Image *image);
/* To be called before the first change of any kind. */
bool qcow2_writer_mark (Qcow2Image *image, GError **error);
/* The same before the first change of a table or a count. */
bool qcow2_writer_mark_dirty (Qcow2Image *image, GError **error);

/* One thread at a time reads something in; the others wait for it. */
#define QCOW2_LOADING_ALL       UINT64_MAX
#define QCOW2_LOADING_TABLE(n)  ((uint64_t)(n) << 1)
#define QCOW2_LOADING_COUNTS(n) ((uint64_t)(n) << 1 | 1)
/* True: it is the caller's to do.  False: somebody else has done it meanwhile, or tried
 * to; look again.  Releases the mutex while it waits. */
bool qcow2_loading_begin_locked (Qcow2Writer *w, uint64_t what);
void qcow2_loading_end_locked (Qcow2Writer *w, uint64_t what);

/* qcow2-prepare.c */

/* Notes all metadata, once, before the first change.  False where it contradicts itself,
 * or nothing is to be written any more. */
bool qcow2_prepare (Qcow2Image *image, GError **error);
/* From now on nothing is written. */
void qcow2_refuse_locked (Qcow2Image *image, const char *why);

/* qcow2-judge.c: an L2 table as the file has it, before it is changed for the first time.
 */

/* Of a table not installed yet: which entries cannot be, and which say wrongly that
 * nothing else points at their cluster; those say so no more, and *ret_mended is set. */
bool qcow2_judge_counts (Qcow2Image *image, Qcow2Table *t, bool *ret_mended,
                         GError **error);
/* Holds what its entries point at, and refuses those that contradict what is held. */
void qcow2_judge_locked (Qcow2Image *image, Qcow2Table *t);

static inline bool
qcow2_table_refuses (const Qcow2Table *t, uint64_t i)
{
  return t->refused && (t->refused[i / 64] >> i % 64 & 1);
}

/* qcow2-commit.c */
extern const ImCommitOps qcow2_commit_ops;

/* The [FROM, FROM + LEN) bytes of a cluster of metadata have changed. */
void qcow2_dirty_locked (Qcow2Dirty *state, GPtrArray *list, void *owner, size_t from,
                         size_t len);
static inline void
qcow2_bit_set (uint64_t *bits, uint64_t n)
{
  bits[n / 64] |= UINT64_C (1) << n % 64;
}

/* qcow2-release.c: gives back what quarantine lets go; ALL: no reader is left. */
void qcow2_release (Qcow2Image *image, bool all);

/* qcow2-refcount.c */

/* Up to WANTED neighbouring clusters, their counts raised to 1.  May release the mutex
 * meanwhile.  ZEROED: the file has zeros there. */
bool qcow2_allocate_locked (Qcow2Image *image, uint64_t wanted, uint64_t *ret_at,
                            uint64_t *ret_n, bool *ret_zeroed, GError **error);
/* Makes the disk below give space to LENGTH bytes of metadata at AT, to which nothing
 * points yet.  Where it is full it says so now, to the request that needs them, and not
 * to a commit, which could never end. */
bool qcow2_occupy (Qcow2Image *image, uint64_t at, uint64_t length, GError **error);
/* Is AT a place for refcount block INDEX? */
bool qcow2_refcount_block_check (const Qcow2Image *image, uint64_t index, uint64_t at,
                                 GError **error);
/* Counts turned out to be wrong. */
void qcow2_distrust_locked (Qcow2Image *image);
/* Lowers the count of the cluster at AT by one.  May release the mutex meanwhile. */
bool qcow2_lower_locked (Qcow2Image *image, uint64_t at, GError **error);
/* Its count; of an uncounted image, whether there was anything when it was opened.  May
 * release the mutex meanwhile. */
bool qcow2_count_locked (Qcow2Image *image, uint64_t at, uint64_t *ret_count,
                         GError **error);

/* For who makes the refcount table longer. */

/* Clusters that one refcount block counts. */
static inline uint64_t
qcow2_counted_by_block (const Qcow2Image *image)
{
  return UINT64_C (1) << (image->geometry.cluster_bits + 3 -
                          image->header.refcount_order);
}

/* Count I of COUNTS becomes VALUE. */
void qcow2_set_count_locked (Qcow2Image *image, Qcow2Counts *counts, uint64_t i,
                             uint64_t value);
/* A new block INDEX at AT, all counts 0. */
Qcow2Counts *qcow2_add_block_locked (Qcow2Image *image, uint64_t index, uint64_t at);
/* All clusters before END may have been given out. */
void qcow2_note_used_locked (Qcow2Writer *w, uint64_t end);

/* qcow2-refcount-table.c */

/* A longer refcount table, since the cursor is beyond all that this one counts; or, as
 * the mutex may be released meanwhile, none: look again. */
bool qcow2_grow_counts_locked (Qcow2Image *image, GError **error);

/* qcow2-tables.c */

/* The table of L1 entry INDEX in memory, this image's own, made where there was none;
 * stays until it is unpinned. */
Qcow2Table *qcow2_table_pin (Qcow2Image *image, uint64_t index, GError **error);
void qcow2_table_unpin (Qcow2Image *image, Qcow2Table *table);
void qcow2_tables_free (Qcow2Writer *w);

static inline bool
qcow2_l1_is_judged (const Qcow2Image *image, uint64_t index)
{
  return index < image->l1_entries &&
         atomic_load_explicit (&image->writer->l1_state[index], memory_order_acquire) ==
             QCOW2_L1_JUDGED;
}

/* Within an operation: the table, or NULL where the file's is the current one. */
static inline const Qcow2Table *
qcow2_table_in_memory (const Qcow2Image *image, uint64_t index)
{
  if (!image->writer || index >= image->l1_entries)
    return NULL;
  return atomic_load_explicit (&image->writer->tables[index], memory_order_acquire);
}

static inline uint64_t
qcow2_table_at (const Qcow2Table *table)
{
  return table->at;
}

/* N words from word FIRST on, whole entries of UNIT words each. */
void qcow2_table_read (const Qcow2Table *table, unsigned unit, uint64_t first, size_t n,
                       uint64_t *ret_words);
/* Replaces the N words of one entry, from word FIRST on; readers see the old ones or the
 * new. */
void qcow2_table_write_locked (Qcow2Table *table, uint64_t first, unsigned n,
                               const uint64_t *words);

/* qcow2-cluster.c: L2 entries in memory.  Who has claimed its cluster gets one; who holds
 * the mutex besides sets it. */

static inline uint64_t
qcow2_table_entries (const Qcow2Image *image)
{
  return UINT64_C (1) << image->geometry.l2_bits;
}

/* The place in a standard L2 entry, or in one of L1. */
static inline uint64_t
qcow2_entry_host (uint64_t entry)
{
  return entry & QCOW2_ENTRY_OFFSET_MASK;
}

Qcow2Entry qcow2_entry_get (const Qcow2Image *image, const Qcow2Table *t, uint64_t i);
/* The error of changing entry I, which is BAD. */
void qcow2_entry_set_bad (const Qcow2Image *image, const Qcow2Table *t, uint64_t i,
                          const Qcow2Entry *entry, GError **error);
/* Replaces entry I, which is not BAD; the clusters that it held go unless they are
 * ENTRY's too, and with PUNCH their space. */
void qcow2_entry_set_locked (Qcow2Image *image, Qcow2Table *t, uint64_t i,
                             const Qcow2Entry *entry, bool punch);

/* qcow2-write.c */
ImWriteFormat qcow2_write_format (const Qcow2Image *image);
/* Durable, where FLAGS or the cache mode ask for it. */
bool qcow2_settle (Qcow2Image *image, ImWriteFlags flags, GError **error);
/* After FAILURE: was the disk full, and is there space now that was not then, from
 * quarantine?  The caller holds no claim. */
bool qcow2_wins_space (Qcow2Image *image, const GError *failure);

/* qcow2-data-file.c, for who has claimed the range. */

/* How long a data file is to be: as the disk, in whole sectors where those are encrypted.
 */
static inline uint64_t
qcow2_data_end (const Qcow2Image *image)
{
  return image->crypt ? (image->block.size + 511) / 512 * 512 : image->block.size;
}

/* Gives back the space of what no entry points at any more. */
bool qcow2_data_punch (Qcow2Image *image, uint64_t start, uint64_t end, GError **error);
/* Of a data file that is the disk as it stands; entries stay, and what none points at
 * holds zeros already. */
bool qcow2_raw_zero (Qcow2Image *image, uint64_t offset, uint64_t length,
                     ImWriteFlags flags, GError **error);
bool qcow2_raw_discard (Qcow2Image *image, uint64_t offset, uint64_t length,
                        GError **error);

/* ImBlockOps */
bool qcow2_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
                   ImWriteFlags flags, GError **error);
bool qcow2_pwrite_nowait (ImBlock *block, const void *buf, size_t len, uint64_t offset);
bool qcow2_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length,
                         ImWriteFlags flags, GError **error);
bool qcow2_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error);
bool qcow2_flush (ImBlock *block, GError **error);
