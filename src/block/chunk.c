/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of decoded chunks and the spreading of their decoding.
 *
 *   read ─► cached? ── yes ─► pin, copy, unpin
 *             │ no
 *             ├─ being decoded by another thread ─► wait for it
 *             └─ nobody has it ─► claim it, decode outside the lock, publish
 *
 * Only running threads claim chunks, so a wait always ends.  A decode that fails wakes
 * all who wait, each of which gets the error from a try of its own. */
#include "block/chunk.h"
#include "base/bytes.h"
#include "base/error.h"
#include "block/chunk-memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum { SHARDS = 16 };

typedef enum { CHUNK_DECODING, CHUNK_READY, CHUNK_FAILED } ChunkState;

/* One decoded chunk; all but the bytes is guarded by its shard's mutex. */
typedef struct Chunk Chunk;
struct Chunk {
  uint64_t file; /* its id: the key, with at */
  uint64_t at;
  ChunkState state;
  unsigned pins; /* users; while there are any it is not freed */
  bool listed;   /* in the shard's table */
  bool ahead;    /* decoded ahead of a sequential reader, and read whole if at all */
  bool used;     /* again, since it last came to be the oldest */
  Chunk *newer, *older; /* among the shard's chunks */
  uint32_t size;
  uint8_t *bytes; /* const once READY */
};

typedef struct {
  pthread_mutex_t mutex;  /* guards the shard and its chunks */
  pthread_cond_t decoded; /* some chunk of this shard left DECODING */
  GHashTable *chunks;     /* Chunk → itself */
  Chunk *newest, *oldest;
} Shard;

struct ImChunkEngine {
  Shard shards[SHARDS];
  ImPool *pool;
  uint64_t budget;
  atomic_ullong used; /* bytes of all decoded chunks */
  ImChunkMemory memory;
};

static guint
chunk_hash (gconstpointer data)
{
  const Chunk *chunk = data;
  uint64_t key = chunk->at * UINT64_C (0x9e3779b97f4a7c15) +
                 chunk->file * UINT64_C (0xbf58476d1ce4e5b9);
  return (guint)(key >> 32);
}

static gboolean
chunk_equal (gconstpointer a, gconstpointer b)
{
  const Chunk *x = a, *y = b;
  return x->at == y->at && x->file == y->file;
}

ImChunkEngine *
im_chunk_engine_new (uint64_t budget, ImPool *pool)
{
  ImChunkEngine *engine = g_new0 (ImChunkEngine, 1);
  engine->pool = pool;
  engine->budget = budget;
  im_chunk_memory_init (&engine->memory);
  for (unsigned i = 0; i < SHARDS; i++) {
    Shard *shard = &engine->shards[i];
    pthread_mutex_init (&shard->mutex, NULL);
    pthread_cond_init (&shard->decoded, NULL);
    shard->chunks = g_hash_table_new (chunk_hash, chunk_equal);
  }
  return engine;
}

static void
unlink_from_order (Shard *shard, Chunk *chunk)
{
  *(chunk->newer ? &chunk->newer->older : &shard->newest) = chunk->older;
  *(chunk->older ? &chunk->older->newer : &shard->oldest) = chunk->newer;
  chunk->newer = chunk->older = NULL;
}

static void
link_as_newest (Shard *shard, Chunk *chunk)
{
  chunk->older = shard->newest;
  *(shard->newest ? &shard->newest->newer : &shard->oldest) = chunk;
  shard->newest = chunk;
}

static void
link_as_oldest (Shard *shard, Chunk *chunk)
{
  chunk->newer = shard->oldest;
  *(shard->oldest ? &shard->oldest->older : &shard->newest) = chunk;
  shard->oldest = chunk;
}

/* CHUNK serves READ.  What a sequential reader has had whole, be it in two tries, it will
 * not want again: that is the next to go, so that a long read neither drives out all else
 * nor decodes into memory that the processor has long forgotten. */
static void
note_use_locked (Shard *shard, Chunk *chunk, const ImChunkRead *read)
{
  chunk->ahead = chunk->ahead && read->length == chunk->size;
  chunk->used = !chunk->ahead;
  if (!chunk->ahead || !chunk->listed)
    return;
  unlink_from_order (shard, chunk);
  link_as_oldest (shard, chunk);
}

/* Drops CHUNK from the table; it is freed here, or by the last who has it pinned. */
static void
drop_locked (ImChunkEngine *engine, Shard *shard, Chunk *chunk)
{
  if (chunk->listed) {
    g_hash_table_remove (shard->chunks, chunk);
    unlink_from_order (shard, chunk);
    chunk->listed = false;
  }
  if (chunk->pins > 0)
    return;
  if (chunk->bytes)
    atomic_fetch_sub (&engine->used, chunk->size);
  im_chunk_memory_give (&engine->memory, chunk->bytes, chunk->size);
  g_free (chunk);
}

void
im_chunk_engine_free (ImChunkEngine *engine)
{
  if (!engine)
    return;
  for (unsigned i = 0; i < SHARDS; i++) {
    Shard *shard = &engine->shards[i];
    while (shard->newest)
      drop_locked (engine, shard, shard->newest);
    g_hash_table_destroy (shard->chunks);
    pthread_cond_destroy (&shard->decoded);
    pthread_mutex_destroy (&shard->mutex);
  }
  im_chunk_memory_clear (&engine->memory);
  g_free (engine);
}

ImPool *
im_chunk_engine_pool (ImChunkEngine *engine)
{
  return engine->pool;
}

uint64_t
im_chunk_engine_budget (const ImChunkEngine *engine)
{
  return engine->budget;
}

static Shard *
shard_of (ImChunkEngine *engine, const Chunk *key)
{
  return &engine->shards[chunk_hash (key) >> 8 & (SHARDS - 1)];
}

static void
unpin (ImChunkEngine *engine, Shard *shard, Chunk *chunk)
{
  pthread_mutex_lock (&shard->mutex);
  chunk->pins--;
  if (!chunk->listed)
    drop_locked (engine, shard, chunk);
  pthread_mutex_unlock (&shard->mutex);
}

/* Frees chunks of one shard until the whole is within the budget: the oldest first, but
 * for those that were used since they last came to be that. */
static void
trim_shard (ImChunkEngine *engine, Shard *shard)
{
  pthread_mutex_lock (&shard->mutex);
  Chunk *chunk = shard->oldest;
  while (chunk && atomic_load (&engine->used) > engine->budget) {
    Chunk *next = chunk->newer;
    if (chunk->used && next) {
      chunk->used = false;
      unlink_from_order (shard, chunk);
      link_as_newest (shard, chunk);
    } else if (chunk->pins == 0) {
      drop_locked (engine, shard, chunk);
    }
    chunk = next;
  }
  pthread_mutex_unlock (&shard->mutex);
}

static void
trim (ImChunkEngine *engine, Shard *first)
{
  size_t start = (size_t)(first - engine->shards);
  for (size_t i = 0; i < SHARDS; i++) {
    if (atomic_load (&engine->used) <= engine->budget)
      return;
    trim_shard (engine, &engine->shards[(start + i) % SHARDS]);
  }
}

/* BYTES, LEN of them, or an error where there is no memory: images decide how many. */
static uint8_t *
check_memory (uint8_t *bytes, size_t len, GError **error)
{
  if (!bytes)
    im_set_errno (error, ENOMEM, "a chunk of %zu bytes", len);
  return bytes;
}

/* The stored bytes of REF, newly allocated. */
static uint8_t *
read_stored (const ImChunkRef *ref, size_t *ret_len, GError **error)
{
  uint64_t size = im_file_size (ref->file);
  if (ref->at >= size) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "compressed data at offset 0x%" G_GINT64_MODIFIER
                 "x is past the end of the file (%" G_GUINT64_FORMAT " bytes)",
                 ref->at, size);
    return NULL;
  }
  *ret_len = (size_t)im_min (ref->stored, size - ref->at);
  g_autofree uint8_t *stored = check_memory (g_try_malloc (*ret_len), *ret_len, error);
  if (!stored || !im_file_pread (ref->file, stored, *ret_len, ref->at, error))
    return NULL;
  return g_steal_pointer (&stored);
}

/* The plain bytes of REF, in the engine's memory. */
static uint8_t *
decode (ImChunkEngine *engine, const ImChunkRef *ref, GError **error)
{
  size_t len;
  g_autofree uint8_t *stored = read_stored (ref, &len, error);
  if (!stored)
    return NULL;
  uint8_t *plain = check_memory (im_chunk_memory_take (&engine->memory, ref->plain),
                                 ref->plain, error);
  if (!plain || ref->codec->decode (stored, len, plain, ref->plain, error))
    return plain;
  g_prefix_error (error,
                  "compressed data at offset 0x%" G_GINT64_MODIFIER "x: ", ref->at);
  im_chunk_memory_give (&engine->memory, plain, ref->plain);
  return NULL;
}

/* Puts a new chunk that this thread will decode into the table, pinned. */
static Chunk *
claim_locked (Shard *shard, const ImChunkRef *ref)
{
  Chunk *chunk = g_new0 (Chunk, 1);
  chunk->file = im_file_id (ref->file);
  chunk->at = ref->at;
  chunk->size = ref->plain;
  chunk->state = CHUNK_DECODING;
  chunk->pins = 1;
  chunk->listed = true;
  g_hash_table_add (shard->chunks, chunk);
  link_as_newest (shard, chunk);
  return chunk;
}

/* Decodes a claimed chunk and tells all who wait.  False: it failed and is unpinned. */
static bool
fulfil (ImChunkEngine *engine, Shard *shard, Chunk *chunk, const ImChunkRef *ref,
        GError **error)
{
  uint8_t *bytes = decode (engine, ref, error);
  pthread_mutex_lock (&shard->mutex);
  chunk->bytes = bytes;
  chunk->state = bytes ? CHUNK_READY : CHUNK_FAILED;
  if (bytes) {
    atomic_fetch_add (&engine->used, chunk->size);
  } else {
    chunk->pins--;
    drop_locked (engine, shard, chunk);
  }
  pthread_cond_broadcast (&shard->decoded);
  pthread_mutex_unlock (&shard->mutex);
  trim (engine, shard);
  return bytes != NULL;
}

/* Waits for another thread's decode of a chunk that is pinned for it.  False: it failed,
 * and the pin is given back. */
static bool
await_locked (ImChunkEngine *engine, Shard *shard, Chunk *chunk)
{
  while (chunk->state == CHUNK_DECODING)
    pthread_cond_wait (&shard->decoded, &shard->mutex);
  if (chunk->state == CHUNK_READY)
    return true;
  chunk->pins--;
  drop_locked (engine, shard, chunk);
  return false;
}

/* The chunk that READ wants, decoded and pinned. */
static Chunk *
acquire (ImChunkEngine *engine, Shard *shard, const ImChunkRead *read, GError **error)
{
  const ImChunkRef *ref = &read->chunk;
  const Chunk key = {.file = im_file_id (ref->file), .at = ref->at};
  for (;;) {
    pthread_mutex_lock (&shard->mutex);
    Chunk *chunk = g_hash_table_lookup (shard->chunks, &key);
    if (!chunk) {
      chunk = claim_locked (shard, ref);
      pthread_mutex_unlock (&shard->mutex);
      return fulfil (engine, shard, chunk, ref, error) ? chunk : NULL;
    }
    chunk->pins++;
    bool ready = await_locked (engine, shard, chunk);
    if (ready)
      note_use_locked (shard, chunk, read);
    pthread_mutex_unlock (&shard->mutex);
    if (ready)
      return chunk;
  }
}

/* Makes a pinned, decoded chunk the PIN of READ, or lets go of it.  A table may ask for
 * more than the chunk first decoded had; that is damage, not a reason to read beyond it.
 */
static bool
become_pin (ImChunkEngine *engine, Chunk *chunk, const ImChunkRead *read,
            ImChunkPin *ret_pin, GError **error)
{
  if (im_range_fits (read->within, read->length, chunk->size)) {
    *ret_pin = (ImChunkPin){engine, chunk, chunk->bytes + read->within};
    return true;
  }
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "compressed data at offset 0x%" G_GINT64_MODIFIER
               "x is used with different sizes",
               chunk->at);
  unpin (engine, shard_of (engine, chunk), chunk);
  return false;
}

void
im_chunk_unpin (ImChunkPin *pin)
{
  Chunk *chunk = pin->chunk;
  unpin (pin->engine, shard_of (pin->engine, chunk), chunk);
  *pin = (ImChunkPin){.chunk = NULL};
}

/* Copies what READ wants, and lets go of it. */
static void
copy_out (ImChunkPin *pin, const ImChunkRead *read)
{
  memcpy (read->buf, pin->bytes, read->length);
  im_chunk_unpin (pin);
}

static bool
pin_one (ImChunkEngine *engine, const ImChunkRead *read, ImChunkPin *ret_pin,
         GError **error)
{
  const Chunk key = {.file = im_file_id (read->chunk.file), .at = read->chunk.at};
  Chunk *chunk = acquire (engine, shard_of (engine, &key), read, error);
  return chunk && become_pin (engine, chunk, read, ret_pin, error);
}

static bool
read_one (ImChunkEngine *engine, const ImChunkRead *read, GError **error)
{
  ImChunkPin pin;
  if (!pin_one (engine, read, &pin, error))
    return false;
  copy_out (&pin, read);
  return true;
}

/* The decoded chunk of KEY, or NULL. */
static Chunk *
find_ready_locked (Shard *shard, const Chunk *key)
{
  Chunk *chunk = g_hash_table_lookup (shard->chunks, key);
  return chunk && chunk->state == CHUNK_READY ? chunk : NULL;
}

bool
im_chunk_engine_is_cached (ImChunkEngine *engine, const ImChunkRef *ref)
{
  const Chunk key = {.file = im_file_id (ref->file), .at = ref->at};
  Shard *shard = shard_of (engine, &key);
  pthread_mutex_lock (&shard->mutex);
  bool ready = find_ready_locked (shard, &key) != NULL;
  pthread_mutex_unlock (&shard->mutex);
  return ready;
}

bool
im_chunk_engine_read_cached (ImChunkEngine *engine, const ImChunkRead *read)
{
  const Chunk key = {.file = im_file_id (read->chunk.file), .at = read->chunk.at};
  Shard *shard = shard_of (engine, &key);
  pthread_mutex_lock (&shard->mutex);
  Chunk *chunk = find_ready_locked (shard, &key);
  if (chunk) {
    chunk->pins++;
    note_use_locked (shard, chunk, read);
  }
  pthread_mutex_unlock (&shard->mutex);
  ImChunkPin pin;
  if (!chunk || !become_pin (engine, chunk, read, &pin, NULL))
    return false;
  copy_out (&pin, read);
  return true;
}

/* One fan-out: what the pieces need and the first error among them. */
typedef struct {
  ImChunkEngine *engine;
  const ImChunkRead *reads;
  ImChunkPin *pins; /* one for each read, or NULL: they are copied */
  _Atomic (GError *) error;
} ReadAll;

static void
read_piece (void *data, size_t i)
{
  ReadAll *all = data;
  if (atomic_load_explicit (&all->error, memory_order_relaxed))
    return;
  GError *error = NULL;
  if (all->pins ? pin_one (all->engine, &all->reads[i], &all->pins[i], &error)
                : read_one (all->engine, &all->reads[i], &error))
    return;
  GError *none = NULL;
  if (!atomic_compare_exchange_strong (&all->error, &none, error))
    g_error_free (error);
}

static bool
run_all (ReadAll *all, size_t n, GError **error)
{
  im_pool_each (all->engine->pool, n, read_piece, all);
  GError *failure = atomic_load (&all->error);
  if (failure)
    g_propagate_error (error, failure);
  return failure == NULL;
}

bool
im_chunk_engine_read (ImChunkEngine *engine, const ImChunkRead *reads, size_t n,
                      GError **error)
{
  if (n == 1)
    return read_one (engine, reads, error);
  return run_all (&(ReadAll){.engine = engine, .reads = reads}, n, error);
}

bool
im_chunk_engine_pin (ImChunkEngine *engine, const ImChunkRead *reads, size_t n,
                     ImChunkPin *ret_pins, GError **error)
{
  ReadAll all = {.engine = engine, .reads = reads, .pins = ret_pins};
  for (size_t i = 0; i < n; i++)
    ret_pins[i] = (ImChunkPin){.chunk = NULL};
  if (run_all (&all, n, error))
    return true;
  for (size_t i = 0; i < n; i++)
    if (ret_pins[i].chunk)
      im_chunk_unpin (&ret_pins[i]);
  return false;
}

void
im_chunk_engine_prefetch (ImChunkEngine *engine, const ImChunkRef *ref)
{
  const Chunk key = {.file = im_file_id (ref->file), .at = ref->at};
  Shard *shard = shard_of (engine, &key);
  pthread_mutex_lock (&shard->mutex);
  Chunk *chunk =
      g_hash_table_lookup (shard->chunks, &key) ? NULL : claim_locked (shard, ref);
  if (chunk)
    chunk->ahead = true;
  pthread_mutex_unlock (&shard->mutex);
  if (chunk && fulfil (engine, shard, chunk, ref, NULL))
    unpin (engine, shard, chunk);
}
