/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chunk engine: right bytes, one decode a chunk, a bound that holds. */
#include "base/bytes.h"
#include "base/error.h"
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>

/* A codec for tests: each stored byte stands for 256 plain ones; 0xff is an error. */
static atomic_uint decodes;

static bool
expand (const void *in, size_t in_len, void *out, size_t out_len, GError **error)
{
  const uint8_t *from = in;
  uint8_t *to = out;
  atomic_fetch_add (&decodes, 1);
  for (size_t i = 0; i < out_len; i++) {
    if (i / 256 >= in_len || from[i / 256] == 0xff) {
      g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "bad byte %zu", i / 256);
      return false;
    }
    to[i] = (uint8_t)(from[i / 256] + i % 256);
  }
  return true;
}

static const ImCodec codec = {.name = "expand", .decode = expand};

enum { STORED = 16, PLAIN = STORED * 256, CHUNKS = 512 };

static ImChunkRef
chunk_ref (ImFile *file, unsigned i)
{
  return (ImChunkRef){.file = file,
                      .at = (uint64_t)i * STORED,
                      .stored = STORED,
                      .plain = PLAIN,
                      .codec = &codec};
}

static bool
bytes_are_right (const uint8_t *stored, unsigned chunk, uint32_t within,
                 const uint8_t *buf, uint32_t len)
{
  for (uint32_t i = 0; i < len; i++) {
    uint32_t at = within + i;
    uint8_t base = stored[chunk * STORED + at / 256];
    if (buf[i] != (uint8_t)(base + at % 256))
      return false;
  }
  return true;
}

typedef struct {
  ImFile *file;
  const uint8_t *stored;
  ImChunkEngine *engine;
  unsigned seed;
} Reader;

static void *
read_at_random (void *data)
{
  Reader *reader = data;
  g_autoptr (GRand) random = g_rand_new_with_seed (reader->seed);
  static const unsigned rounds = 400;
  for (unsigned round = 0; round < rounds; round++) {
    uint8_t bufs[8][PLAIN];
    ImChunkRead reads[8];
    unsigned chunks[8];
    for (unsigned i = 0; i < 8; i++) {
      chunks[i] = (unsigned)g_rand_int_range (random, 0, CHUNKS);
      uint32_t within = (uint32_t)g_rand_int_range (random, 0, PLAIN);
      reads[i] = (ImChunkRead){
          .chunk = chunk_ref (reader->file, chunks[i]),
          .within = within,
          .length = (uint32_t)g_rand_int_range (random, 1, PLAIN - (int)within + 1),
          .buf = bufs[i]};
    }
    g_autoptr (GError) error = NULL;
    g_assert_true (im_chunk_engine_read (reader->engine, reads, 8, &error));
    for (unsigned i = 0; i < 8; i++)
      g_assert_true (bytes_are_right (reader->stored, chunks[i], reads[i].within, bufs[i],
                                      reads[i].length));
  }
  return NULL;
}

/* Many threads, a cache for an eighth of the chunks. */
static void
test_many_readers (void)
{
  g_autofree uint8_t *stored = fixture_pattern (CHUNKS * STORED, 9);
  for (size_t i = 0; i < CHUNKS * STORED; i++)
    stored[i] &= 0x7f;
  g_autoptr (ImFile) file = fixture_file (stored, CHUNKS * STORED);
  g_autoptr (ImPool) pool = im_pool_new (4);
  g_autoptr (ImChunkEngine) engine = im_chunk_engine_new (CHUNKS / 8 * PLAIN, pool);
  pthread_t threads[6];
  Reader readers[6];
  for (unsigned i = 0; i < 6; i++) {
    readers[i] = (Reader){.file = file, .stored = stored, .engine = engine, .seed = i};
    g_assert_cmpint (pthread_create (&threads[i], NULL, read_at_random, &readers[i]), ==,
                     0);
  }
  for (unsigned i = 0; i < 6; i++)
    pthread_join (threads[i], NULL);
}

static void
test_cached_chunks_are_not_decoded_again (void)
{
  const uint8_t stored[STORED] = {1};
  g_autoptr (ImFile) file = fixture_file (stored, STORED);
  g_autoptr (ImChunkEngine) engine = im_chunk_engine_new (1 << 20, NULL);
  uint8_t buf[PLAIN];
  ImChunkRead read = {.chunk = chunk_ref (file, 0), .length = PLAIN, .buf = buf};
  g_assert_false (im_chunk_engine_is_cached (engine, &read.chunk));
  g_assert_false (im_chunk_engine_read_cached (engine, &read));
  atomic_store (&decodes, 0);
  for (int i = 0; i < 10; i++)
    g_assert_true (im_chunk_engine_read (engine, &read, 1, NULL));
  g_assert_cmpuint (atomic_load (&decodes), ==, 1);
  g_assert_true (im_chunk_engine_is_cached (engine, &read.chunk));
  g_assert_true (im_chunk_engine_read_cached (engine, &read));
}

/* What is used again and again stays while somebody reads everything once. */
static void
test_a_long_read_leaves_the_rest_cached (void)
{
  enum { HOT = 8 };
  g_autofree uint8_t *stored = g_malloc0 (CHUNKS * STORED);
  g_autoptr (ImFile) file = fixture_file (stored, CHUNKS * STORED);
  g_autoptr (ImChunkEngine) engine = im_chunk_engine_new (CHUNKS / 4 * PLAIN, NULL);
  uint8_t buf[PLAIN];
  for (unsigned i = 0; i < HOT; i++) {
    ImChunkRead part = {.chunk = chunk_ref (file, i), .length = 100, .buf = buf};
    g_assert_true (im_chunk_engine_read (engine, &part, 1, NULL));
  }
  for (unsigned i = HOT; i < CHUNKS; i++) {
    ImChunkRead whole = {.chunk = chunk_ref (file, i), .length = PLAIN, .buf = buf};
    im_chunk_engine_prefetch (engine, &whole.chunk);
    /* The second time as by a reader that was first told to wait for what follows. */
    g_assert_true (im_chunk_engine_read (engine, &whole, 1, NULL));
    g_assert_true (im_chunk_engine_read_cached (engine, &whole));
  }
  for (unsigned i = 0; i < HOT; i++) {
    ImChunkRead part = {.chunk = chunk_ref (file, i), .length = 100, .buf = buf};
    g_assert_true (im_chunk_engine_read_cached (engine, &part));
  }
}

static void
test_failure_is_not_cached (void)
{
  const uint8_t stored[STORED] = {0xff};
  g_autoptr (ImFile) file = fixture_file (stored, STORED);
  g_autoptr (ImChunkEngine) engine = im_chunk_engine_new (1 << 20, NULL);
  uint8_t buf[PLAIN];
  ImChunkRead read = {.chunk = chunk_ref (file, 0), .length = PLAIN, .buf = buf};
  atomic_store (&decodes, 0);
  for (unsigned i = 1; i <= 2; i++) {
    g_autoptr (GError) error = NULL;
    g_assert_false (im_chunk_engine_read (engine, &read, 1, &error));
    g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
    g_assert_cmpuint (atomic_load (&decodes), ==, i);
  }
}

static void
test_chunk_past_the_end_is_corrupt (void)
{
  const uint8_t stored[STORED] = {1};
  g_autoptr (ImFile) file = fixture_file (stored, STORED);
  g_autoptr (ImChunkEngine) engine = im_chunk_engine_new (1 << 20, NULL);
  uint8_t buf[PLAIN];
  ImChunkRead read = {.chunk = chunk_ref (file, 1), .length = PLAIN, .buf = buf};
  g_autoptr (GError) error = NULL;
  g_assert_false (im_chunk_engine_read (engine, &read, 1, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
}

/* Two tables that disagree about a chunk's size must not make anybody read past it. */
static void
test_one_chunk_with_two_sizes (void)
{
  const uint8_t stored[STORED] = {1};
  g_autoptr (ImFile) file = fixture_file (stored, STORED);
  g_autoptr (ImChunkEngine) engine = im_chunk_engine_new (1 << 20, NULL);
  uint8_t buf[PLAIN];
  ImChunkRead small = {.chunk = chunk_ref (file, 0), .length = 256, .buf = buf};
  small.chunk.plain = 256;
  g_assert_true (im_chunk_engine_read (engine, &small, 1, NULL));
  ImChunkRead large = {.chunk = chunk_ref (file, 0), .length = PLAIN, .buf = buf};
  g_autoptr (GError) error = NULL;
  g_assert_false (im_chunk_engine_read (engine, &large, 1, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
}

/* Pinned, a chunk stays although the cache holds less than what is pinned. */
static void
test_pins (void)
{
  enum { PINNED = 16 };
  g_autofree uint8_t *stored = fixture_pattern (CHUNKS * STORED, 3);
  for (size_t i = 0; i < CHUNKS * STORED; i++)
    stored[i] &= 0x7f;
  g_autoptr (ImFile) file = fixture_file (stored, CHUNKS * STORED);
  g_autoptr (ImPool) pool = im_pool_new (2);
  g_autoptr (ImChunkEngine) engine = im_chunk_engine_new (PINNED / 4 * PLAIN, pool);
  ImChunkRead reads[PINNED];
  ImChunkPin pins[PINNED];
  uint8_t buf[PLAIN];
  for (unsigned i = 0; i < PINNED; i++)
    reads[i] =
        (ImChunkRead){.chunk = chunk_ref (file, i), .within = i, .length = PLAIN - i};
  g_assert_true (im_chunk_engine_pin (engine, reads, PINNED, pins, NULL));
  for (unsigned i = PINNED; i < CHUNKS; i++) {
    ImChunkRead other = {.chunk = chunk_ref (file, i), .length = PLAIN, .buf = buf};
    g_assert_true (im_chunk_engine_read (engine, &other, 1, NULL));
  }
  for (unsigned i = 0; i < PINNED; i++) {
    g_assert_true (bytes_are_right (stored, i, i, pins[i].bytes, PLAIN - i));
    im_chunk_unpin (&pins[i]);
    g_assert_null (pins[i].chunk);
  }
  /* Then they may leave. */
  ImChunkRead last = {.chunk = chunk_ref (file, PINNED), .length = PLAIN, .buf = buf};
  g_assert_true (im_chunk_engine_read (engine, &last, 1, NULL));
  g_assert_false (im_chunk_engine_is_cached (engine, &reads[0].chunk));
}

/* One that cannot be read lets go of all. */
static void
test_pins_of_a_bad_chunk (void)
{
  const uint8_t stored[3 * STORED] = {[STORED] = 0xff};
  g_autoptr (ImFile) file = fixture_file (stored, sizeof stored);
  g_autoptr (ImChunkEngine) engine = im_chunk_engine_new (0, NULL);
  g_autoptr (GError) error = NULL;
  ImChunkRead reads[3];
  ImChunkPin pins[3];
  for (unsigned i = 0; i < 3; i++)
    reads[i] = (ImChunkRead){.chunk = chunk_ref (file, i), .length = PLAIN};
  g_assert_false (im_chunk_engine_pin (engine, reads, 3, pins, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
  for (unsigned i = 0; i < 3; i++)
    g_assert_null (pins[i].chunk);
  g_assert_true (im_chunk_engine_pin (engine, reads + 2, 1, pins, NULL));
  g_assert_false (im_chunk_engine_is_cached (engine, &reads[0].chunk));
  im_chunk_unpin (&pins[0]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/chunk/many-readers-of-a-small-cache", test_many_readers);
  g_test_add_func ("/block/chunk/cached-chunks-are-not-decoded-again",
                   test_cached_chunks_are_not_decoded_again);
  g_test_add_func ("/block/chunk/a-long-read-leaves-the-rest-cached",
                   test_a_long_read_leaves_the_rest_cached);
  g_test_add_func ("/block/chunk/failure-is-not-cached", test_failure_is_not_cached);
  g_test_add_func ("/block/chunk/past-the-end-is-corrupt",
                   test_chunk_past_the_end_is_corrupt);
  g_test_add_func ("/block/chunk/two-sizes-are-corrupt", test_one_chunk_with_two_sizes);
  g_test_add_func ("/block/chunk/pinned-chunks-stay", test_pins);
  g_test_add_func ("/block/chunk/a-bad-chunk-pins-none", test_pins_of_a_bad_chunk);
  return g_test_run ();
}
