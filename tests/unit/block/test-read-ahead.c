/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Read-ahead: who reads on finds what follows decoded, and for nobody else is anything
 * decoded that was not asked for. */
#include "base/bytes.h"
#include "fixture.h"

#include <stdatomic.h>

enum { PLAIN = 64 << 10, CHUNKS = 1024, BUDGET = CHUNKS * PLAIN };

static atomic_uint decodes;

static bool
count (const void *in, size_t in_len, void *out, size_t out_len, GError **error)
{
  atomic_fetch_add (&decodes, 1);
  memset (out, *(const uint8_t *)in, out_len);
  return true;
}

static const ImCodec codec = {.name = "count", .decode = count};

/* A disk of CHUNKS chunks, each stored in one byte. */
typedef struct {
  ImBlock block;
  ImFile *file;
} Packed;

static bool
packed_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
            ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  ImFile *file = ((Packed *)block)->file;
  for (*ret_n = 0; *ret_n < n && length > 0; ++*ret_n) {
    uint64_t within = offset % PLAIN, part = im_min (length, PLAIN - within);
    extents[*ret_n] = (ImExtent){.offset = offset,
                                 .length = part,
                                 .kind = IM_EXTENT_CHUNK,
                                 .chunk = {.file = file,
                                           .at = offset / PLAIN,
                                           .stored = 1,
                                           .plain = PLAIN,
                                           .codec = &codec},
                                 .within = (uint32_t)within,
                                 .allocated = true,
                                 .stable = true};
    offset += part;
    length -= part;
  }
  return true;
}

static void
packed_free (ImBlock *block)
{
  im_file_unref (((Packed *)block)->file);
  g_free (block);
}

static const ImBlockOps packed_ops = {
    .name = "packed", .map = packed_map, .free = packed_free};

/* A task that keeps a worker from all others. */
typedef struct {
  ImPoolTask task;
  atomic_bool begun, let_go;
} Stall;

static void
stall (ImPoolTask *task)
{
  Stall *self = (Stall *)task;
  atomic_store (&self->begun, true);
  while (!atomic_load (&self->let_go))
    g_usleep (500);
}

/* Reads N times LENGTH bytes, the I-th at PLACES[I], on a new disk, through a cache of
 * BUDGET bytes.  How many chunks have been decoded when all that was begun has ended.
 * STALL: may be NULL; holds up the pool's one worker until the reads are done. */
static unsigned
decoded_within (uint64_t budget, Stall *stall, const uint64_t *places, size_t n,
                size_t length)
{
  g_autofree uint8_t *stored = fixture_pattern (CHUNKS, 1);
  g_autofree uint8_t *buf = g_malloc (length);
  ImPool *pool = im_pool_new (stall ? 1 : 2);
  if (stall)
    im_pool_submit (pool, &stall->task);
  while (stall && !atomic_load (&stall->begun))
    g_usleep (500);
  g_autoptr (ImChunkEngine) engine = im_chunk_engine_new (budget, pool);
  const ImResources shared = {.pool = pool, .chunks = engine};
  Packed *packed = g_new0 (Packed, 1);
  packed->file = fixture_file (stored, CHUNKS);
  im_block_init (&packed->block, &packed_ops, (uint64_t)CHUNKS * PLAIN, NULL, &shared);
  atomic_store (&decodes, 0);
  for (size_t i = 0; i < n; i++) {
    g_assert_true (im_block_pread (&packed->block, buf, length, places[i], NULL));
    g_assert_cmpuint (buf[0], ==, stored[places[i] / PLAIN]);
  }
  if (stall)
    atomic_store (&stall->let_go, true);
  im_pool_free (pool);
  im_block_unref (&packed->block);
  return atomic_load (&decodes);
}

static unsigned
decoded_by (const uint64_t *places, size_t n, size_t length)
{
  return decoded_within (BUDGET, NULL, places, n, length);
}

static void
test_random_reads (void)
{
  /* Two at a time happen to be neighbours. */
  uint64_t places[40];
  for (size_t i = 0; i < G_N_ELEMENTS (places); i++)
    places[i] = i / 2 * 23 * PLAIN + i % 2 * 8192 + 4096;
  g_assert_cmpuint (decoded_by (places, G_N_ELEMENTS (places), 4096), ==, 20);
}

static void
test_a_sequential_reader (void)
{
  uint64_t places[32];
  for (size_t i = 0; i < G_N_ELEMENTS (places); i++)
    places[i] = i * PLAIN;
  unsigned n = decoded_by (places, G_N_ELEMENTS (places), PLAIN);
  g_assert_cmpuint (n, >=, 2 * G_N_ELEMENTS (places));
  g_assert_cmpuint (n, <=, 8 * G_N_ELEMENTS (places));
}

static void
test_a_sequential_reader_of_little_at_a_time (void)
{
  uint64_t places[64];
  for (size_t i = 0; i < G_N_ELEMENTS (places); i++)
    places[i] = i * 4096;
  g_assert_cmpuint (decoded_by (places, G_N_ELEMENTS (places), 4096), >, 8);
}

/* As from a client with several requests on their way. */
static void
test_a_sequential_reader_out_of_order (void)
{
  uint64_t places[32];
  for (size_t i = 0; i < G_N_ELEMENTS (places); i++)
    places[i] = (i ^ 7) * PLAIN;
  g_assert_cmpuint (decoded_by (places, G_N_ELEMENTS (places), PLAIN), >=,
                    2 * G_N_ELEMENTS (places));
}

/* What the reader has passed when its turn comes is not decoded for nobody. */
static void
test_ahead_of_nobody (void)
{
  enum { CACHED = 32, WINDOW = CACHED / 8 };
  uint64_t places[128];
  Stall late = {.task.run = stall};
  for (size_t i = 0; i < G_N_ELEMENTS (places); i++)
    places[i] = i * PLAIN;
  unsigned n =
      decoded_within (CACHED * PLAIN, &late, places, G_N_ELEMENTS (places), PLAIN);
  g_assert_cmpuint (n, >=, G_N_ELEMENTS (places));
  g_assert_cmpuint (n, <=, G_N_ELEMENTS (places) + WINDOW);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/read-ahead/random-reads-decode-what-they-ask-for",
                   test_random_reads);
  g_test_add_func ("/block/read-ahead/a-sequential-reader", test_a_sequential_reader);
  g_test_add_func ("/block/read-ahead/of-little-at-a-time",
                   test_a_sequential_reader_of_little_at_a_time);
  g_test_add_func ("/block/read-ahead/out-of-order",
                   test_a_sequential_reader_out_of_order);
  g_test_add_func ("/block/read-ahead/not-of-what-was-passed", test_ahead_of_nobody);
  return g_test_run ();
}
