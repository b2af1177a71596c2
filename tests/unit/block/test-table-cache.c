/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Table slices under many readers and constant eviction. */
#include "base/bytes.h"
#include "base/error.h"
#include "fixture.h"

#include <pthread.h>

enum { WORDS = 1 << 16 };

/* Word i of the table is i * 3 + 1. */
static ImFile *
table_file (void)
{
  g_autofree uint8_t *bytes = g_malloc (WORDS * 8);
  for (size_t i = 0; i < WORDS; i++)
    im_put_be64 (bytes + i * 8, i * 3 + 1);
  return fixture_file (bytes, WORDS * 8);
}

typedef struct {
  ImTableCache *cache;
  ImFile *file;
  unsigned seed;
} Reader;

static void *
read_words (void *data)
{
  Reader *reader = data;
  g_autoptr (GRand) random = g_rand_new_with_seed (reader->seed);
  for (int round = 0; round < 20000; round++) {
    uint64_t first = (uint64_t)g_rand_int_range (random, 0, WORDS);
    size_t wanted = (size_t)g_rand_int_range (random, 1, 17);
    size_t n = (size_t)im_min (im_table_cache_span (first, WORDS), wanted);
    uint64_t words[16];
    g_assert_true (im_table_cache_read_be64 (reader->cache, reader->file, 0, WORDS, first,
                                             n, false, words, NULL));
    for (size_t i = 0; i < n; i++)
      g_assert_cmpuint (words[i], ==, (first + i) * 3 + 1);
  }
  return NULL;
}

static void
test_readers_during_eviction (void)
{
  g_autoptr (ImFile) file = table_file ();
  g_autoptr (ImTableCache) cache = im_table_cache_new (16 * IM_TABLE_SLICE);
  pthread_t threads[4];
  Reader readers[4];
  for (unsigned i = 0; i < 4; i++) {
    readers[i] = (Reader){.cache = cache, .file = file, .seed = i};
    g_assert_cmpint (pthread_create (&threads[i], NULL, read_words, &readers[i]), ==, 0);
  }
  for (unsigned i = 0; i < 4; i++)
    pthread_join (threads[i], NULL);
}

static void
test_nowait (void)
{
  g_autoptr (ImFile) file = table_file ();
  g_autoptr (ImTableCache) cache = im_table_cache_new (1 << 20);
  uint64_t word;
  g_autoptr (GError) error = NULL;
  g_assert_false (
      im_table_cache_read_be64 (cache, file, 0, WORDS, 5, 1, true, &word, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_WOULD_BLOCK);
  g_assert_true (
      im_table_cache_read_be64 (cache, file, 0, WORDS, 5, 1, false, &word, NULL));
  g_assert_true (
      im_table_cache_read_be64 (cache, file, 0, WORDS, 6, 1, true, &word, NULL));
  g_assert_cmpuint (word, ==, 19);
}

static void
test_files_are_told_apart (void)
{
  g_autoptr (ImFile) a = table_file ();
  const uint8_t other[64] = {0};
  g_autoptr (ImFile) b = fixture_file (other, sizeof other);
  g_autoptr (ImTableCache) cache = im_table_cache_new (1 << 20);
  uint64_t word;
  g_assert_true (im_table_cache_read_be64 (cache, a, 0, 8, 1, 1, false, &word, NULL));
  g_assert_cmpuint (word, ==, 4);
  g_assert_true (im_table_cache_read_be64 (cache, b, 0, 8, 1, 1, false, &word, NULL));
  g_assert_cmpuint (word, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/table-cache/readers-during-eviction",
                   test_readers_during_eviction);
  g_test_add_func ("/block/table-cache/nowait", test_nowait);
  g_test_add_func ("/block/table-cache/files-are-told-apart", test_files_are_told_apart);
  return g_test_run ();
}
