/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: what map says of good and of poked tables. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-image.h"
#include "qcow2-sample.h"

#define COPIED     (UINT64_C (1) << 63)
#define COMPRESSED (UINT64_C (1) << 62)

/* The driver's own answer for all of the disk, chains not resolved. */
static size_t
map_all (Opened *opened, ImExtent *extents, size_t n)
{
  g_autoptr (GError) error = NULL;
  size_t found = 0;

  opened->block->ops->map (opened->block, 0, opened->block->size, IM_MAP_WHERE, extents,
                           n, &found, &error);
  g_assert_no_error (error);
  return found;
}

static void
assert_extent (const ImExtent *e, uint64_t offset, uint64_t length, ImExtentKind kind,
               uint64_t at)
{
  g_assert_cmpuint (e->offset, ==, offset);
  g_assert_cmpuint (e->length, ==, length);
  g_assert_cmpint (e->kind, ==, kind);
  if (kind == IM_EXTENT_FILE || kind == IM_EXTENT_DAMAGED || kind == IM_EXTENT_CHUNK)
    g_assert_cmphex (e->at, ==, at);
  g_assert_true (e->stable);
  g_assert_cmpint (e->allocated, ==, kind != IM_EXTENT_PARENT);
}

static void
test_good (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};
  ImExtent e[16];

  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_cmpuint (map_all (&opened, e, 16), ==, 6);
  assert_extent (&e[0], 0, 1024, IM_EXTENT_FILE, SAMPLE_AT (5));
  assert_extent (&e[1], 1024, 512, IM_EXTENT_ZERO, 0);
  assert_extent (&e[2], 1536, 512, IM_EXTENT_PARENT, 0);
  assert_extent (&e[3], 2048, 512, IM_EXTENT_CHUNK, SAMPLE_AT (7) + 3);
  g_assert_cmpuint (e[3].chunk.stored, ==, 509);
  g_assert_cmpuint (e[3].chunk.plain, ==, 512);
  assert_extent (&e[4], 2560, 512, IM_EXTENT_FILE, SAMPLE_AT (8));
  /* The rest of this L2 table and all L1 entries after it are one. */
  assert_extent (&e[5], 3072, SAMPLE_DISK - 3072, IM_EXTENT_PARENT, 0);
}

static void
test_part (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};
  ImExtent e[4];
  size_t n = 0;

  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_true (opened.block->ops->map (opened.block, 1000, 30, 0, e, 4, &n, NULL));
  g_assert_cmpuint (n, ==, 2);
  assert_extent (&e[0], 1000, 24, IM_EXTENT_FILE, SAMPLE_AT (5) + 1000);
  assert_extent (&e[1], 1024, 6, IM_EXTENT_ZERO, 0);
  g_assert_true (opened.block->ops->map (opened.block, 2100, 4, 0, e, 4, &n, NULL));
  assert_extent (&e[0], 2100, 4, IM_EXTENT_CHUNK, SAMPLE_AT (7) + 3);
  g_assert_cmpuint (e[0].within, ==, 52);
}

/* However few extents fit, asking again gets there, and every byte is as it should be. */
static void
test_reads (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};
  g_autoptr (GError) error = NULL;
  uint8_t disk[4096], want[4096] = {0};

  memset (want, 'a', 512);
  memset (want + 512, 'b', 512);
  memset (want + 2048, 'z', 512);
  memset (want + 2560, 'c', 512);
  sample_open (&opened, image, SAMPLE_SIZE);
  im_block_pread (opened.block, disk, sizeof disk, 0, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (disk, sizeof disk, want, sizeof want);
  for (uint64_t at = 0; at < SAMPLE_DISK;) {
    ImExtent e;
    size_t n = 0;

    g_assert_true (im_block_map (opened.block, at, SAMPLE_DISK - at, 0, &e, 1, &n, NULL));
    g_assert_cmpuint (n, ==, 1);
    at += e.length;
  }
}

static void
test_nowait (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};
  g_autoptr (GError) error = NULL;
  ImExtent e[4];
  size_t n = 0;

  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_false (
      opened.block->ops->map (opened.block, 0, 512, IM_MAP_NOWAIT, e, 4, &n, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_WOULD_BLOCK);
  g_assert_true (opened.block->ops->map (opened.block, 0, 512, 0, e, 4, &n, NULL));
  g_assert_true (
      opened.block->ops->map (opened.block, 0, 512, IM_MAP_NOWAIT, e, 4, &n, NULL));
}

/* What is known from memory is an answer, though the next table is not there. */
static void
test_nowait_in_part (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};
  ImExtent e[4];
  size_t n = 0;

  im_put_be64 (image + SAMPLE_AT (3), 0);
  im_put_be64 (image + SAMPLE_AT (3) + 8, SAMPLE_AT (4));
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_true (
      opened.block->ops->map (opened.block, 0, 40000, IM_MAP_NOWAIT, e, 4, &n, NULL));
  g_assert_cmpuint (n, ==, 1);
  assert_extent (&e[0], 0, 32768, IM_EXTENT_PARENT, 0);
}

/* What one poked table entry must lead to. */
typedef struct {
  const char *claim;
  unsigned at;
  uint64_t value;
  const char *reason; /* NULL: not damage */
  uint64_t offset, length;
} Poke;

static const Poke pokes[] = {
    {"l1-unaligned", SAMPLE_AT (3), SAMPLE_AT (4) + 0x200 + 1, "L1 entry has reserved", 0,
     32768},
    {"l1-reserved-high", SAMPLE_AT (3), SAMPLE_AT (4) | UINT64_C (1) << 56,
     "L1 entry has reserved", 0, 32768},
    {"l1-reserved-without-offset", SAMPLE_AT (3) + 8, 2, "L1 entry has reserved", 32768,
     32768},
    {"l1-past-end", SAMPLE_AT (3) + 24, SAMPLE_SIZE | COPIED, "L1 entry points past",
     3 * 32768, 32768},
    {"l2-reserved-low", SAMPLE_L2 (0), SAMPLE_AT (5) | 0x100, "L2 entry has reserved", 0,
     512},
    {"l2-reserved-high", SAMPLE_L2 (1), SAMPLE_AT (5) | UINT64_C (1) << 61,
     "L2 entry has reserved", 512, 512},
    {"l2-past-end", SAMPLE_L2 (2), SAMPLE_SIZE, "L2 entry points past", 1024, 512},
    {"l2-far-past-end", SAMPLE_L2 (2), UINT64_C (0x00fffffffffffe00),
     "L2 entry points past", 1024, 512},
    {"compressed-past-end", SAMPLE_L2 (3), SAMPLE_SIZE | COMPRESSED,
     "L2 entry points past", 1536, 512},
    {"compressed-reserved", SAMPLE_L2 (3),
     (UINT64_C (1) << 56) | SAMPLE_AT (7) | COMPRESSED, "L2 entry has reserved", 1536,
     512},
    {"l2-copied-without-offset", SAMPLE_L2 (6), COPIED, NULL, 3072, SAMPLE_DISK - 3072},
    {"zero-flag-on-an-offset-past-the-end", SAMPLE_L2 (3), SAMPLE_SIZE | 1, NULL, 0, 0},
};

static void
test_poke (gconstpointer data)
{
  const Poke *p = data;
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};
  g_autoptr (GError) error = NULL;
  ImExtent e[16];
  size_t n, damaged = 0;
  char byte;

  im_put_be64 (image + p->at, p->value);
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
  n = map_all (&opened, e, 16);
  for (size_t i = 0; i < n; i++) {
    if (e[i].kind != IM_EXTENT_DAMAGED)
      continue;
    damaged++;
    g_assert_nonnull (p->reason);
    assert_extent (&e[i], p->offset, p->length, IM_EXTENT_DAMAGED, p->at);
    g_assert_cmphex (e[i].entry, ==, p->value);
    g_assert_true (g_str_has_prefix (e[i].reason, p->reason));
  }
  g_assert_cmpuint (damaged, ==, p->reason ? 1 : 0);
  if (p->reason) {
    g_assert_false (im_block_pread (opened.block, &byte, 1, p->offset, &error));
    g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
  }
}

/* The last cluster may be stored short: what lies past the file's end is zeros. */
static void
test_crosses_end (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};
  uint8_t disk[512];

  im_put_be64 (image + SAMPLE_L2 (0), SAMPLE_AT (8));
  sample_open (&opened, image, SAMPLE_AT (8) + 100);
  g_assert_no_error (opened.error);
  g_assert_true (im_block_pread (opened.block, disk, 512, 0, NULL));
  g_assert_cmpint (disk[99], ==, 'c');
  g_assert_cmpint (disk[100], ==, 0);
}

/* An L2 table may not: its missing entries say nothing, not even "nothing here". */
static void
test_table_cut_off (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};
  ImExtent e[16];

  im_put_be64 (image + SAMPLE_L2 (0), 0);
  im_put_be64 (image + SAMPLE_L2 (1), 0);
  sample_open (&opened, image, SAMPLE_L2 (2) + 4);
  g_assert_no_error (opened.error);
  g_assert_cmpuint (map_all (&opened, e, 16), ==, 3);
  assert_extent (&e[0], 0, 1024, IM_EXTENT_PARENT, 0);
  assert_extent (&e[1], 1024, 32768 - 1024, IM_EXTENT_DAMAGED, SAMPLE_L2 (2));
  assert_extent (&e[2], 32768, SAMPLE_DISK - 32768, IM_EXTENT_PARENT, 0);
}

static void
test_zero_flag_in_version_2 (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};
  ImExtent e[16];

  im_put_be32 (image + 4, 2);
  memset (image + 72, 0, 40);
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
  map_all (&opened, e, 16);
  assert_extent (&e[1], 1024, 512, IM_EXTENT_DAMAGED, SAMPLE_L2 (2));
}

/* A disk of 32 TiB without a single L2 table, and one call at a time bounded. */
static void
test_huge_and_empty (void)
{
  const uint64_t entries = 4194304;
  size_t len = 65536 + entries * 8;
  g_autofree uint8_t *good = sample_new (), *image = g_malloc0 (len);
  g_auto (Opened) opened = {0};
  unsigned calls = 0;

  memcpy (image, good, 104);
  im_put_be32 (image + 20, 16);
  im_put_be32 (image + 60, 0);
  im_put_be64 (image + 24, entries << 29);
  im_put_be32 (image + 36, (uint32_t)entries);
  im_put_be64 (image + 40, 65536);
  im_put_be64 (image + 48, 65536);
  sample_open (&opened, image, len);
  g_assert_no_error (opened.error);
  for (uint64_t at = 0; at < opened.block->size; calls++) {
    ImExtent e;
    size_t n = 0;

    g_assert_true (opened.block->ops->map (opened.block, at, opened.block->size - at, 0,
                                           &e, 1, &n, NULL));
    assert_extent (&e, at, e.length, IM_EXTENT_PARENT, 0);
    at += e.length;
  }
  g_assert_cmpuint (calls, ==, entries / 65536);
}

/* Zeros of 128 MiB in 512-byte clusters are one extent, but not of one call. */
static void
test_many_entries (void)
{
  const unsigned tables = 4096;
  size_t len = SAMPLE_SIZE + tables * 8;
  g_autofree uint8_t *good = sample_new (), *image = g_malloc0 (len);
  g_auto (Opened) opened = {0};
  unsigned calls = 0;

  memcpy (image, good, SAMPLE_SIZE);
  im_put_be64 (image + 24, tables * UINT64_C (32768));
  im_put_be32 (image + 36, tables);
  im_put_be64 (image + 40, SAMPLE_SIZE);
  for (unsigned i = 0; i < 64; i++)
    im_put_be64 (image + SAMPLE_L2 (i), 1);
  for (unsigned i = 0; i < tables; i++)
    im_put_be64 (image + SAMPLE_SIZE + i * 8, SAMPLE_AT (4));
  sample_open (&opened, image, len);
  g_assert_no_error (opened.error);
  for (uint64_t at = 0; at < opened.block->size; calls++) {
    ImExtent e;
    size_t n = 0;

    g_assert_true (opened.block->ops->map (opened.block, at, opened.block->size - at, 0,
                                           &e, 1, &n, NULL));
    assert_extent (&e, at, e.length, IM_EXTENT_ZERO, 0);
    at += e.length;
  }
  g_assert_cmpuint (calls, ==, 4);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/formats/qcow2/map/good-image", test_good);
  g_test_add_func ("/formats/qcow2/map/parts-of-clusters", test_part);
  g_test_add_func ("/formats/qcow2/map/reads", test_reads);
  g_test_add_func ("/formats/qcow2/map/nowait-asks-only-the-cache", test_nowait);
  g_test_add_func ("/formats/qcow2/map/nowait-answers-in-part", test_nowait_in_part);
  g_test_add_func ("/formats/qcow2/map/cluster-may-cross-the-end", test_crosses_end);
  g_test_add_func ("/formats/qcow2/map/table-cut-off-is-damage", test_table_cut_off);
  g_test_add_func ("/formats/qcow2/map/zero-flag-in-version-2-is-damage",
                   test_zero_flag_in_version_2);
  g_test_add_func ("/formats/qcow2/map/huge-and-empty-is-quick", test_huge_and_empty);
  g_test_add_func ("/formats/qcow2/map/many-entries-take-several-calls",
                   test_many_entries);
  for (size_t i = 0; i < G_N_ELEMENTS (pokes); i++) {
    g_autofree char *path =
        g_strdup_printf ("/formats/qcow2/map/poke/%s", pokes[i].claim);
    g_test_add_data_func (path, &pokes[i], test_poke);
  }
  return g_test_run ();
}
