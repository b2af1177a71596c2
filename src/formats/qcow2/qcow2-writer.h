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
 * readers see without it is atomic: the L1 entries, the tables' pointers and their words.
 */
#pragma once

#include "block/claims.h"
#include "block/commit.h"
#include "block/quarantine.h"
#include "formats/qcow2/qcow2-image.h"
#include <pthread.h>

/* Tables and refcount blocks are written in pieces of at most this many bytes. */
#define QCOW2_PIECE     4096u
#define QCOW2_MAX_WORDS ((1u << QCOW2_MAX_CLUSTER_BITS) / QCOW2_PIECE / 64u)

/* Bytes of L2 tables, and of refcount blocks, that are kept in memory; more only while
 * requests under way hold them. */
#define QCOW2_TABLES_BUDGET (UINT64_C (32) << 20)
#define QCOW2_BLOCKS_BUDGET (UINT64_C (16) << 20)

/* Bytes in quarantine that start a commit. */
#define QCOW2_QUARANTINE_MAX (UINT64_C (64) << 20)

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
  Qcow2Table *next; /* by age */
  atomic_ullong words[];
};

/* A refcount block in memory. */
typedef struct {
  uint64_t at;
  Qcow2Dirty state;
  uint8_t bytes[]; /* as in the file */
} Qcow2Counts;

typedef struct Qcow2Writer Qcow2Writer;
struct Qcow2Writer {
  ImClaims *claims;
  ImCommit *commit;
  atomic_bool marked;  /* the header says what must be said before any change */
  atomic_bool changed; /* something has been written at all */

  pthread_mutex_t mutex; /* the allocator mutex: guards all below */
  ImQuarantine quarantine;

  _Atomic (Qcow2Table *) *tables; /* by L1 index; set under the mutex */
  Qcow2Table *oldest, *newest;
  Qcow2Table *retired; /* out of reach, until no operation uses them */
  uint64_t table_bytes, table_budget;
  uint64_t evictions;                       /* counted, of tables and of blocks */
  GPtrArray *dirty_tables, *writing_tables; /* borrowed; writing: by a commit under way */
  uint64_t *l1_dirty, *l1_writing;          /* bit n: its sector n */

  uint64_t refcount_at;      /* the refcount table's place */
  uint64_t refcount_entries; /* a whole number of clusters */
  uint64_t *refcounts;       /* it: places of refcount blocks */
  Qcow2Counts **blocks;      /* by its index, or NULL */
  uint64_t block_bytes, block_hand;
  GPtrArray *dirty_blocks, *writing_blocks;    /* likewise */
  uint64_t *refcount_dirty, *refcount_writing; /* bit n: its sector n */
  bool refcount_moved, refcount_moved_writing;

  uint64_t cursor;     /* no free cluster lies before it */
  uint64_t zero_from;  /* clusters from here on were never written */
  uint64_t used_end;   /* clusters given out lie before it */
  uint64_t first_size; /* of the file when it was opened */
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
/* Commits and frees; nobody uses the image any more. */
void qcow2_writer_close (Qcow2Image *image);
/* To be called before the first change of any kind. */
bool qcow2_writer_mark (Qcow2Image *image, GError **error);

/* qcow2-commit.c */
extern const ImCommitOps qcow2_commit_ops;
/* Gives back what quarantine lets go; ALL: no reader is left. */
void qcow2_release (Qcow2Image *image, bool all);

/* The [FROM, FROM + LEN) bytes of a cluster of metadata have changed. */
void qcow2_dirty_locked (Qcow2Dirty *state, GPtrArray *list, void *owner, size_t from,
                         size_t len);
static inline void
qcow2_bit_set (uint64_t *bits, uint64_t n)
{
  bits[n / 64] |= UINT64_C (1) << n % 64;
}

/* qcow2-refcount.c */

/* Up to WANTED neighbouring clusters, their counts raised to 1.  May release the mutex
 * meanwhile.  ZEROED: the file has zeros there. */
bool qcow2_allocate_locked (Qcow2Image *image, uint64_t wanted, uint64_t *ret_at,
                            uint64_t *ret_n, bool *ret_zeroed, GError **error);
/* Lowers the count of the cluster at AT by one.  May release the mutex meanwhile. */
bool qcow2_lower_locked (Qcow2Image *image, uint64_t at, GError **error);
/* Its count.  May release the mutex meanwhile. */
bool qcow2_count_locked (Qcow2Image *image, uint64_t at, uint64_t *ret_count,
                         GError **error);

/* qcow2-tables.c */

/* The table of L1 entry INDEX in memory, this image's own, made where there was none;
 * stays until it is unpinned. */
Qcow2Table *qcow2_table_pin (Qcow2Image *image, uint64_t index, GError **error);
void qcow2_table_unpin (Qcow2Image *image, Qcow2Table *table);
void qcow2_tables_free (Qcow2Writer *w);

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

static inline void
qcow2_table_read (const Qcow2Table *table, uint64_t first, size_t n, uint64_t *ret_words)
{
  for (size_t i = 0; i < n; i++)
    ret_words[i] = atomic_load_explicit (&table->words[first + i], memory_order_acquire);
}

/* ImBlockOps */
bool qcow2_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
                   ImWriteFlags flags, GError **error);
bool qcow2_pwrite_nowait (ImBlock *block, const void *buf, size_t len, uint64_t offset);
bool qcow2_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length,
                         ImWriteFlags flags, GError **error);
bool qcow2_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error);
bool qcow2_flush (ImBlock *block, GError **error);
