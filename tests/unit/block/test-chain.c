/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Maps and reads through chains of parents, against bytes worked out by hand. */
#include "base/bytes.h"
#include "base/error.h"
#include "fixture.h"

enum { LENGTH = 64 << 10 };

/* A child of three ranges over a parent that is shorter: FILE, PARENT, ZERO, PARENT. */
typedef struct {
  ImFile *child_file, *parent_file;
  uint8_t *child_bytes, *parent_bytes, *expected;
  ImBlock *block;
} Chain;

enum {
  PARENT_LENGTH = 40 << 10,
  CHILD_END = 10 << 10,
  ZERO_START = 20 << 10,
  ZERO_END = 30 << 10
};

static void
chain_set_up (Chain *chain, size_t per_call)
{
  chain->child_bytes = fixture_pattern (LENGTH, 1);
  chain->parent_bytes = fixture_pattern (PARENT_LENGTH, 2);
  chain->child_file = fixture_file (chain->child_bytes, LENGTH);
  chain->parent_file = fixture_file (chain->parent_bytes, PARENT_LENGTH);
  const ImExtent parent = {.length = PARENT_LENGTH,
                           .kind = IM_EXTENT_FILE,
                           .file = chain->parent_file,
                           .allocated = true};
  const ImExtent child[] = {
      {.offset = 0,
       .length = CHILD_END,
       .kind = IM_EXTENT_FILE,
       .file = chain->child_file,
       .at = 100,
       .allocated = true},
      {.offset = CHILD_END, .length = ZERO_START - CHILD_END, .kind = IM_EXTENT_PARENT},
      {.offset = ZERO_START,
       .length = ZERO_END - ZERO_START,
       .kind = IM_EXTENT_ZERO,
       .allocated = true},
      {.offset = ZERO_END, .length = LENGTH - ZERO_END, .kind = IM_EXTENT_PARENT},
  };
  chain->block = fixture_block (child, G_N_ELEMENTS (child), per_call,
                                fixture_block (&parent, 1, per_call, NULL));
  chain->expected = g_malloc0 (LENGTH);
  memcpy (chain->expected, chain->child_bytes + 100, CHILD_END);
  memcpy (chain->expected + CHILD_END, chain->parent_bytes + CHILD_END,
          ZERO_START - CHILD_END);
  memcpy (chain->expected + ZERO_END, chain->parent_bytes + ZERO_END,
          PARENT_LENGTH - ZERO_END);
}

static void
chain_tear_down (Chain *chain)
{
  im_block_unref (chain->block);
  im_file_unref (chain->child_file);
  im_file_unref (chain->parent_file);
  g_free (chain->child_bytes);
  g_free (chain->parent_bytes);
  g_free (chain->expected);
}

static void
test_reads (void)
{
  for (size_t per_call = 1; per_call <= 4; per_call++) {
    Chain chain;
    chain_set_up (&chain, per_call);
    g_autofree uint8_t *buf = g_malloc (LENGTH);
    for (int i = 0; i < 500; i++) {
      uint64_t offset = (uint64_t)g_test_rand_int_range (0, LENGTH);
      size_t len = (size_t)g_test_rand_int_range (0, LENGTH - (int)offset + 1);
      g_autoptr (GError) error = NULL;
      memset (buf, 0xee, LENGTH);
      g_assert_true (im_block_pread (chain.block, buf, len, offset, &error));
      g_assert_cmpmem (buf, len, chain.expected + offset, len);
      memset (buf, 0xee, LENGTH);
      if (im_block_pread_nowait (chain.block, buf, len, offset))
        g_assert_cmpmem (buf, len, chain.expected + offset, len);
    }
    chain_tear_down (&chain);
  }
}

static void
test_map_resolves_parents (void)
{
  Chain chain;
  chain_set_up (&chain, 4);
  ImExtent extents[8];
  size_t n;
  g_autoptr (GError) error = NULL;
  g_assert_true (
      im_block_map (chain.block, 0, LENGTH, IM_MAP_WHERE, extents, 8, &n, &error));
  static const struct {
    uint64_t offset, length;
    ImExtentKind kind;
    unsigned depth;
    bool allocated;
  } expected[] = {
      {0, CHILD_END, IM_EXTENT_FILE, 0, true},
      {CHILD_END, ZERO_START - CHILD_END, IM_EXTENT_FILE, 1, true},
      {ZERO_START, ZERO_END - ZERO_START, IM_EXTENT_ZERO, 0, true},
      {ZERO_END, PARENT_LENGTH - ZERO_END, IM_EXTENT_FILE, 1, true},
      /* The short parent's own, as in QEMU. */
      {PARENT_LENGTH, LENGTH - PARENT_LENGTH, IM_EXTENT_ZERO, 1, true},
  };
  g_assert_cmpuint (n, ==, G_N_ELEMENTS (expected));
  for (size_t i = 0; i < n; i++) {
    g_assert_cmpuint (extents[i].offset, ==, expected[i].offset);
    g_assert_cmpuint (extents[i].length, ==, expected[i].length);
    g_assert_cmpint (extents[i].kind, ==, expected[i].kind);
    g_assert_cmpuint (extents[i].depth, ==, expected[i].depth);
    g_assert_cmpint (extents[i].allocated, ==, expected[i].allocated);
  }
  chain_tear_down (&chain);
}

static void
test_range_is_checked (void)
{
  Chain chain;
  chain_set_up (&chain, 4);
  uint8_t byte;
  static const struct {
    uint64_t offset;
    size_t len;
  } cases[] = {{LENGTH, 1}, {LENGTH - 1, 2}, {UINT64_MAX, 1}, {1, SIZE_MAX}};
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_assert_false (
        im_block_pread (chain.block, &byte, cases[i].len, cases[i].offset, &error));
    g_assert_error (error, IM_ERROR, IM_ERROR_RANGE);
    g_assert_false (
        im_block_pread_nowait (chain.block, &byte, cases[i].len, cases[i].offset));
  }
  chain_tear_down (&chain);
}

static void
test_damage_fails_only_what_touches_it (void)
{
  const ImExtent extents[] = {
      {.offset = 0, .length = 512, .kind = IM_EXTENT_ZERO},
      {.offset = 512,
       .length = 512,
       .kind = IM_EXTENT_DAMAGED,
       .at = 0x30000,
       .entry = 0x1234,
       .reason = "not aligned"},
      {.offset = 1024, .length = 512, .kind = IM_EXTENT_ZERO},
  };
  g_autoptr (ImBlock) block = fixture_block (extents, 3, 3, NULL);
  uint8_t buf[1536];
  g_autoptr (GError) error = NULL;
  g_assert_true (im_block_pread (block, buf, 512, 0, &error));
  g_assert_true (im_block_pread (block, buf, 512, 1024, &error));
  g_assert_false (im_block_pread (block, buf, 514, 0, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
  g_assert_nonnull (strstr (error->message, "0x30000 is 0x1234: not aligned"));
}

/* Clusters of 512 bytes, in order, out of order and far apart, with gaps between. */
static void
test_scattered_extents (void)
{
  enum { CLUSTERS = 256, FILE_LENGTH = 4 << 20 };
  g_autofree uint8_t *bytes = fixture_pattern (FILE_LENGTH, 3);
  g_autoptr (ImFile) file = fixture_file (bytes, FILE_LENGTH);
  ImExtent extents[CLUSTERS];
  g_autofree uint8_t *expected = g_malloc (CLUSTERS * 512);
  uint64_t at = 0;
  for (size_t i = 0; i < CLUSTERS; i++) {
    int how = g_test_rand_int_range (0, 10);
    at = how < 7   ? at + 512 * (uint64_t)g_test_rand_int_range (1, 8)
         : how < 9 ? 512 * (uint64_t)g_test_rand_int_range (0, FILE_LENGTH / 512)
                   : at + (100 << 10);
    at %= FILE_LENGTH;
    extents[i] = (ImExtent){
        .offset = i * 512, .length = 512, .kind = IM_EXTENT_FILE, .file = file, .at = at};
    memcpy (expected + i * 512, bytes + at, 512);
  }
  g_autoptr (ImBlock) block = fixture_block (extents, CLUSTERS, 16, NULL);
  g_autofree uint8_t *buf = g_malloc (CLUSTERS * 512);
  g_autoptr (GError) error = NULL;
  g_assert_true (im_block_pread (block, buf, CLUSTERS * 512, 0, &error));
  g_assert_cmpmem (buf, CLUSTERS * 512, expected, CLUSTERS * 512);
}

/* A driver that breaks its promise is caught, whatever it answers. */
static void
test_unsound_driver_is_an_error (void)
{
  const ImExtent beyond = {.offset = 0, .length = 4096, .kind = IM_EXTENT_ZERO};
  g_autoptr (ImBlock) block = fixture_block (&beyond, 1, 1, NULL);
  block->size = 8192;
  uint8_t buf[512];
  g_autoptr (GError) error = NULL;
  g_assert_false (im_block_pread (block, buf, 512, 4096, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
}

static void
test_deep_chain_is_freed_and_read (void)
{
  enum { DEPTH = 10000 };
  const ImExtent zero = {.length = 512, .kind = IM_EXTENT_ZERO};
  const ImExtent parent = {.length = 512, .kind = IM_EXTENT_PARENT};
  ImBlock *block = fixture_block (&zero, 1, 1, NULL);
  for (int i = 0; i < DEPTH; i++)
    block = fixture_block (&parent, 1, 1, block);
  uint8_t buf[512] = {1};
  g_autoptr (GError) error = NULL;
  g_assert_true (im_block_pread (block, buf, 512, 0, &error));
  g_assert_cmpuint (buf[0], ==, 0);
  im_block_unref (block);
}

static void
test_zeroes_looks_beneath (void)
{
  int fd = -1;
  g_autofree char *path = NULL;
  fd = g_file_open_tmp ("imgmount-XXXXXX", &path, NULL);
  g_assert_cmpint (ftruncate (fd, 1 << 20), ==, 0);
  g_assert_cmpint (pwrite (fd, "x", 1, 512 << 10), ==, 1);
  g_autoptr (ImFile) file = im_file_open_read_only (path, NULL);
  unlink (path);
  close (fd);
  const ImExtent whole = {
      .length = 1 << 20, .kind = IM_EXTENT_FILE, .file = file, .allocated = true};
  g_autoptr (ImBlock) block = fixture_block (&whole, 1, 1, NULL);
  ImExtent extents[4];
  size_t n;
  g_assert_true (im_block_map (block, 0, 1 << 20, IM_MAP_WHERE, extents, 4, &n, NULL));
  g_assert_cmpuint (n, ==, 1);
  g_assert_true (im_block_map (block, 0, 1 << 20, IM_MAP_ZEROES, extents, 4, &n, NULL));
  g_assert_cmpuint (n, ==, 3);
  g_assert_cmpint (extents[0].kind, ==, IM_EXTENT_ZERO);
  g_assert_cmpint (extents[1].kind, ==, IM_EXTENT_FILE);
  g_assert_cmpuint (extents[1].offset, ==, 512 << 10);
  g_assert_cmpuint (extents[1].at, ==, 512 << 10);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/chain/reads-equal-bytes-worked-out", test_reads);
  g_test_add_func ("/block/chain/map-resolves-parents", test_map_resolves_parents);
  g_test_add_func ("/block/chain/range-is-checked", test_range_is_checked);
  g_test_add_func ("/block/chain/damage-fails-only-what-touches-it",
                   test_damage_fails_only_what_touches_it);
  g_test_add_func ("/block/chain/scattered-extents", test_scattered_extents);
  g_test_add_func ("/block/chain/unsound-driver-is-an-error",
                   test_unsound_driver_is_an_error);
  g_test_add_func ("/block/chain/deep-chain-is-freed-and-read",
                   test_deep_chain_is_freed_and_read);
  g_test_add_func ("/block/chain/zeroes-looks-beneath", test_zeroes_looks_beneath);
  return g_test_run ();
}
