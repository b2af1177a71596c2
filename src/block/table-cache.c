/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Table slices in a set-associative cache of fixed size.
 *
 * A reader takes no lock: it reads a slot's sequence counter, the key, the words, and the
 * counter again; a counter that is odd or has changed makes it a miss.  The words are
 * loaded with acquire order, so that the second look at the counter cannot come before
 * them.  Writers of one set exclude each other by a mutex. */
#include "block/table-cache.h"
#include "base/bytes.h"
#include "base/error.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum {
  WORDS = IM_TABLE_SLICE / 8,
  WAYS = 8,    /* slots in which one key can be */
  MUTEXES = 64 /* each guards the writing of sets i, i + MUTEXES, … */
};

typedef struct {
  atomic_uint sequence;   /* odd while it is written */
  atomic_bool referenced; /* looked up since the last eviction passed here */
  atomic_ullong file;     /* its id: the key, with at; 0: free */
  atomic_ullong at;
} Slot;

struct ImTableCache {
  size_t n_sets;
  Slot *slots;          /* n_sets × WAYS */
  atomic_ullong *words; /* slots × WORDS, touched as they are needed */
  pthread_mutex_t mutexes[MUTEXES];
};

ImTableCache *
im_table_cache_new (uint64_t budget)
{
  ImTableCache *cache = g_new0 (ImTableCache, 1);
  cache->n_sets = (size_t)im_max (budget / IM_TABLE_SLICE / WAYS, 1);
  cache->slots = g_new0 (Slot, cache->n_sets * WAYS);
  cache->words =
      mmap (NULL, cache->n_sets * WAYS * IM_TABLE_SLICE, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (cache->words == MAP_FAILED)
    g_error ("no address space for %zu table slices", cache->n_sets * WAYS);
  for (size_t i = 0; i < MUTEXES; i++)
    pthread_mutex_init (&cache->mutexes[i], NULL);
  return cache;
}

void
im_table_cache_free (ImTableCache *cache)
{
  if (!cache)
    return;
  for (size_t i = 0; i < MUTEXES; i++)
    pthread_mutex_destroy (&cache->mutexes[i]);
  munmap (cache->words, cache->n_sets * WAYS * IM_TABLE_SLICE);
  g_free (cache->slots);
  g_free (cache);
}

static size_t
find_set (const ImTableCache *cache, uint64_t file, uint64_t at)
{
  uint64_t key = (at / 512) ^ file * UINT64_C (0x9e3779b97f4a7c15);
  key *= UINT64_C (0xbf58476d1ce4e5b9);
  return (size_t)((key ^ key >> 31) % cache->n_sets);
}

/* Copies N words from word FIRST of the slice if SLOT holds it, whole and unchanged. */
static bool
copy_from_slot (ImTableCache *cache, size_t index, uint64_t file, uint64_t at,
                size_t first, size_t n, uint64_t *ret_words)
{
  Slot *slot = &cache->slots[index];
  unsigned before = atomic_load_explicit (&slot->sequence, memory_order_acquire);
  if (before % 2 != 0 || atomic_load_explicit (&slot->at, memory_order_relaxed) != at ||
      atomic_load_explicit (&slot->file, memory_order_relaxed) != file)
    return false;
  atomic_ullong *from = cache->words + index * WORDS + first;
  for (size_t i = 0; i < n; i++)
    ret_words[i] = atomic_load_explicit (&from[i], memory_order_acquire);
  if (atomic_load_explicit (&slot->sequence, memory_order_relaxed) != before)
    return false;
  if (!atomic_load_explicit (&slot->referenced, memory_order_relaxed))
    atomic_store_explicit (&slot->referenced, true, memory_order_relaxed);
  return true;
}

/* The slot of SET to write to: a free one, else one not looked up since last time. */
static size_t
choose_slot (ImTableCache *cache, size_t set)
{
  size_t base = set * WAYS;
  for (size_t i = base; i < base + WAYS; i++)
    if (!atomic_load (&cache->slots[i].file))
      return i;
  for (size_t i = base; i < base + WAYS; i++)
    if (!atomic_exchange (&cache->slots[i].referenced, false))
      return i;
  return base;
}

static void
fill_slot (ImTableCache *cache, size_t index, uint64_t file, uint64_t at,
           const uint64_t *words, size_t n)
{
  Slot *slot = &cache->slots[index];
  unsigned sequence = atomic_load_explicit (&slot->sequence, memory_order_relaxed);
  atomic_store_explicit (&slot->sequence, sequence + 1, memory_order_relaxed);
  /* Release order on each store keeps the odd counter before all of them. */
  atomic_store_explicit (&slot->file, file, memory_order_release);
  atomic_store_explicit (&slot->at, at, memory_order_release);
  atomic_ullong *to = cache->words + index * WORDS;
  for (size_t i = 0; i < n; i++)
    atomic_store_explicit (&to[i], words[i], memory_order_release);
  atomic_store_explicit (&slot->referenced, true, memory_order_relaxed);
  atomic_store_explicit (&slot->sequence, sequence + 2, memory_order_release);
}

/* Publishes a slice, unless another thread has done so meanwhile. */
static void
insert (ImTableCache *cache, uint64_t file, uint64_t at, const uint64_t *words, size_t n)
{
  size_t set = find_set (cache, file, at);
  pthread_mutex_t *mutex = &cache->mutexes[set % MUTEXES];
  pthread_mutex_lock (mutex);
  bool present = false;
  for (size_t i = set * WAYS; i < (set + 1) * WAYS && !present; i++)
    present = atomic_load (&cache->slots[i].file) == file &&
              atomic_load (&cache->slots[i].at) == at;
  if (!present)
    fill_slot (cache, choose_slot (cache, set), file, at, words, n);
  pthread_mutex_unlock (mutex);
}

bool
im_table_cache_read_be64 (ImTableCache *cache, ImFile *file, uint64_t table,
                          uint64_t words, uint64_t first, size_t n, bool nowait,
                          uint64_t *ret_words, GError **error)
{
  uint64_t id = im_file_id (file);
  uint64_t slice_first = first / WORDS * WORDS;
  uint64_t at = table + slice_first * 8;
  size_t within = (size_t)(first - slice_first);
  size_t set = find_set (cache, id, at);
  for (size_t i = set * WAYS; i < (set + 1) * WAYS; i++)
    if (copy_from_slot (cache, i, id, at, within, n, ret_words))
      return true;
  if (nowait) {
    g_set_error_literal (error, IM_ERROR, IM_ERROR_WOULD_BLOCK, "table not cached");
    return false;
  }
  uint64_t slice[WORDS];
  size_t slice_words = (size_t)im_min (WORDS, words - slice_first);
  if (!im_file_pread (file, slice, slice_words * 8, at, error))
    return false;
  for (size_t i = 0; i < slice_words; i++)
    slice[i] = im_get_be64 (&slice[i]);
  insert (cache, id, at, slice, slice_words);
  memcpy (ret_words, slice + within, n * 8);
  return true;
}

static void
drop_slice (ImTableCache *cache, uint64_t file, uint64_t at)
{
  size_t set = find_set (cache, file, at);
  pthread_mutex_t *mutex = &cache->mutexes[set % MUTEXES];
  pthread_mutex_lock (mutex);
  for (size_t i = set * WAYS; i < (set + 1) * WAYS; i++)
    if (atomic_load (&cache->slots[i].file) == file &&
        atomic_load (&cache->slots[i].at) == at)
      fill_slot (cache, i, 0, 0, NULL, 0);
  pthread_mutex_unlock (mutex);
}

void
im_table_cache_drop (ImTableCache *cache, ImFile *file, uint64_t table, uint64_t len)
{
  for (uint64_t done = 0; done < len; done += IM_TABLE_SLICE)
    drop_slice (cache, im_file_id (file), table + done);
}
