/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: single table entries, those that need large clusters or other features. */
#include "base/bytes.h"
#include "formats/qcow2/qcow2-layout.h"
#include <string.h>

#define COPIED     (UINT64_C (1) << 63)
#define COMPRESSED (UINT64_C (1) << 62)

static Qcow2Geometry
geometry (unsigned cluster_bits, uint64_t incompatible)
{
  Qcow2Header header = {
      .version = 3, .cluster_bits = cluster_bits, .incompatible = incompatible};

  return qcow2_geometry (&header, UINT64_C (1) << 50, UINT64_C (1) << 50);
}

static void
test_l1_unaligned (void)
{
  Qcow2Geometry g = geometry (16, 0);

  g_assert_cmpint (qcow2_l1_decode (&g, 0x10000).kind, ==, QCOW2_DATA);
  g_assert_cmpstr (qcow2_l1_decode (&g, 0x10200).reason, ==,
                   "L1 entry is not aligned to the cluster size");
}

static void
test_l2_unaligned (void)
{
  Qcow2Geometry g = geometry (16, 0);
  uint64_t entry = 0x18000;
  Qcow2Cluster c;

  qcow2_l2_decode (&g, &entry, 0, 0, &c);
  g_assert_cmpstr (c.reason, ==, "L2 entry is not aligned to the cluster size");
  /* Zeros with a preallocated place that makes no sense are no better. */
  entry |= 1;
  qcow2_l2_decode (&g, &entry, 0, 0, &c);
  g_assert_cmpint (c.kind, ==, QCOW2_BAD);
}

/* Offset and length of the largest stream at each cluster size. */
static void
test_compressed_fields (void)
{
  for (unsigned bits = 9; bits <= 21; bits++) {
    Qcow2Geometry g = geometry (bits, 0);
    unsigned x = 70 - bits;
    uint64_t sectors = (UINT64_C (1) << (bits - 8)) - 1;
    uint64_t entry = COMPRESSED | sectors << x | 0x12345;
    Qcow2Cluster c;

    g_assert_cmpuint (qcow2_l2_decode (&g, &entry, 0, 0, &c), ==, 1);
    g_assert_cmpint (c.kind, ==, QCOW2_COMPRESSED);
    g_assert_cmphex (c.at, ==, 0x12345);
    g_assert_cmpuint (c.stored, ==, (sectors + 1) * 512 - 0x145);
  }
}

/* The kinds of all subclusters of one entry, a letter each. */
static void
assert_subclusters (const Qcow2Geometry *g, uint64_t cluster, uint64_t bitmap,
                    const char *want)
{
  uint64_t entry[2] = {cluster, bitmap};
  char kinds[33] = {0};

  for (unsigned sub = 0; sub < 32;) {
    Qcow2Cluster c;
    unsigned run = qcow2_l2_decode (g, entry, 0, sub, &c);

    g_assert_cmpuint (run, >=, 1);
    g_assert_cmpuint (run, <=, 32 - sub);
    memset (kinds + sub, "uzdcB"[c.kind], run);
    sub += run;
  }
  g_assert_cmpstr (kinds, ==, want);
}

static void
test_subclusters (void)
{
  Qcow2Geometry g = geometry (16, QCOW2_INCOMPATIBLE_EXTENDED_L2);
  uint64_t at = 0x10000 | COPIED;

  g_assert_cmpuint (g.subcluster_bits, ==, 11);
  assert_subclusters (&g, 0, 0, "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu");
  assert_subclusters (&g, at, 0xffffffff, "dddddddddddddddddddddddddddddddd");
  assert_subclusters (&g, 0, UINT64_C (0xffffffff) << 32,
                      "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz");
  assert_subclusters (&g, at, UINT64_C (0x800000f0) << 32 | 0x7000000f,
                      "ddddzzzzuuuuuuuuuuuuuuuuuuuudddz");
  assert_subclusters (&g, at | COMPRESSED, 0, "cccccccccccccccccccccccccccccccc");
}

static void
test_subclusters_damaged (void)
{
  Qcow2Geometry g = geometry (16, QCOW2_INCOMPATIBLE_EXTENDED_L2);
  const char *all_bad = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

  assert_subclusters (&g, 0x10000, UINT64_C (1) << 37 | 1 << 5, all_bad);
  assert_subclusters (&g, 0, UINT64_C (1) << 31, all_bad);
  assert_subclusters (&g, 0x10001, 1, all_bad);
  assert_subclusters (&g, 0x10000 | COMPRESSED, 1, all_bad);
  assert_subclusters (&g, UINT64_C (1) << 50, 3, "BBuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu");
}

/* With a data file, offset 0 is a place, and every cluster lies at its own. */
static void
test_external (void)
{
  Qcow2Geometry g = geometry (16, QCOW2_INCOMPATIBLE_DATA_FILE);
  uint64_t entry = COPIED;
  Qcow2Cluster c;

  qcow2_l2_decode (&g, &entry, 0, 0, &c);
  g_assert_cmpint (c.kind, ==, QCOW2_DATA);
  g_assert_cmpuint (c.at, ==, 0);
  qcow2_l2_decode (&g, &entry, 0x10000, 0, &c);
  g_assert_cmpint (c.kind, ==, QCOW2_BAD);
  entry = 0;
  qcow2_l2_decode (&g, &entry, 0x10000, 0, &c);
  g_assert_cmpint (c.kind, ==, QCOW2_UNALLOCATED);
  entry = 0x20000 | COPIED;
  qcow2_l2_decode (&g, &entry, 0x20000, 0, &c);
  g_assert_cmpint (c.kind, ==, QCOW2_DATA);
  entry = 0x20000 | COMPRESSED;
  qcow2_l2_decode (&g, &entry, 0x20000, 0, &c);
  g_assert_cmpint (c.kind, ==, QCOW2_BAD);
}

static void
test_refcounts (void)
{
  static const uint8_t bytes[16] = {0x05, 0, 0, 1, 0, 0x80};
  static const uint64_t want[7] = {4, 4, 3, 3, 3, 2, 1};

  for (unsigned order = 0; order <= 6; order++)
    g_assert_cmpuint (qcow2_refcounts_used (bytes, 128 >> order, order), ==, want[order]);
  /* Bits count from the least significant one; those past N are not looked at. */
  g_assert_cmpuint (qcow2_refcounts_used (bytes, 2, 0), ==, 1);
  g_assert_cmpuint (qcow2_refcounts_used (bytes, 3, 0), ==, 2);
  g_assert_cmpuint (qcow2_refcounts_used (bytes, 0, 0), ==, 0);
}

/* What is built is what was taken apart. */
static void
check_parts (const Qcow2Geometry *g, uint64_t first, uint64_t second, uint64_t guest,
             const Qcow2Entry *want)
{
  const uint64_t words[2] = {first, second};
  Qcow2Entry entry = qcow2_entry_parse (g, words, guest);
  uint64_t built[2] = {0, second};

  g_assert_cmpint (entry.use, ==, want->use);
  if (entry.use == QCOW2_USE_BAD) {
    g_assert_nonnull (entry.reason);
    return;
  }
  g_assert_cmpint (entry.compressed, ==, want->compressed);
  g_assert_cmphex (entry.at, ==, want->at);
  g_assert_cmphex (entry.length, ==, want->length);
  g_assert_cmphex (entry.allocated, ==, want->allocated);
  g_assert_cmphex (entry.zero, ==, want->zero);
  if (entry.compressed)
    return;
  qcow2_entry_build (g, &entry, built);
  g_assert_cmphex (built[0], ==, first);
  g_assert_cmphex (built[1], ==, second);
}

static void
test_parts_plain (void)
{
  Qcow2Geometry g = geometry (16, 0);

  check_parts (&g, 0, 0, 0, &(Qcow2Entry){0});
  check_parts (&g, 1, 0, 0, &(Qcow2Entry){.zero = 1});
  check_parts (&g, COPIED | 0x50000, 0, 0,
               &(Qcow2Entry){
                   .use = QCOW2_USE_OWN, .at = 0x50000, .length = 65536, .allocated = 1});
  check_parts (
      &g, COPIED | 0x50001, 0, 0,
      &(Qcow2Entry){.use = QCOW2_USE_OWN, .at = 0x50000, .length = 65536, .zero = 1});
  check_parts (
      &g, 0x50000, 0, 0,
      &(Qcow2Entry){
          .use = QCOW2_USE_FOREIGN, .at = 0x50000, .length = 65536, .allocated = 1});
  /* A stream of two sectors that lies in two clusters. */
  check_parts (&g, COMPRESSED | UINT64_C (1) << 54 | 0x5ff00, 0, 0,
               &(Qcow2Entry){.use = QCOW2_USE_FOREIGN,
                             .compressed = true,
                             .at = 0x50000,
                             .length = 131072,
                             .allocated = 1});
  check_parts (&g, COPIED | 0x50200, 0, 0, &(Qcow2Entry){.use = QCOW2_USE_BAD});
}

static void
test_parts_extended (void)
{
  Qcow2Geometry g = geometry (16, QCOW2_INCOMPATIBLE_EXTENDED_L2);

  check_parts (&g, 0, 0, 0, &(Qcow2Entry){0});
  check_parts (&g, 0, UINT64_C (0x80000001) << 32, 0, &(Qcow2Entry){.zero = 0x80000001});
  check_parts (&g, COPIED | 0x50000, UINT64_C (0xf0) << 32 | 0x8000000f, 0,
               &(Qcow2Entry){.use = QCOW2_USE_OWN,
                             .at = 0x50000,
                             .length = 65536,
                             .allocated = 0x8000000f,
                             .zero = 0xf0});
  check_parts (&g, 0x50000, 0, 0,
               &(Qcow2Entry){.use = QCOW2_USE_FOREIGN, .at = 0x50000, .length = 65536});
  check_parts (&g, COMPRESSED | 0x50000, 0, 0,
               &(Qcow2Entry){.use = QCOW2_USE_FOREIGN,
                             .compressed = true,
                             .at = 0x50000,
                             .length = 65536,
                             .allocated = UINT32_MAX});
  check_parts (&g, COMPRESSED | 0x50000, 1, 0, &(Qcow2Entry){.use = QCOW2_USE_BAD});
  /* A bit without a cluster; one bit that says both; no place for it. */
  check_parts (&g, 0, 0x80000000, 0, &(Qcow2Entry){.use = QCOW2_USE_BAD});
  check_parts (&g, COPIED | 0x50000, UINT64_C (1) << 32 | 1, 0,
               &(Qcow2Entry){.use = QCOW2_USE_BAD});
  check_parts (&g, COPIED | UINT64_C (1) << 51, 0x80000000, 0,
               &(Qcow2Entry){.use = QCOW2_USE_BAD});
}

static void
test_parts_external (void)
{
  Qcow2Geometry g = geometry (16, QCOW2_INCOMPATIBLE_DATA_FILE);

  check_parts (&g, COPIED, 0, 0,
               &(Qcow2Entry){.use = QCOW2_USE_OWN, .length = 65536, .allocated = 1});
  check_parts (
      &g, COPIED | 0x50001, 0, 0x50000,
      &(Qcow2Entry){.use = QCOW2_USE_OWN, .at = 0x50000, .length = 65536, .zero = 1});
  check_parts (&g, COPIED | 0x50000, 0, 0x60000, &(Qcow2Entry){.use = QCOW2_USE_BAD});
  check_parts (&g, COMPRESSED | 0x50000, 0, 0x50000, &(Qcow2Entry){.use = QCOW2_USE_BAD});
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/formats/qcow2/entry/l1-unaligned-is-damage", test_l1_unaligned);
  g_test_add_func ("/formats/qcow2/entry/l2-unaligned-is-damage", test_l2_unaligned);
  g_test_add_func ("/formats/qcow2/entry/compressed-fields", test_compressed_fields);
  g_test_add_func ("/formats/qcow2/entry/subclusters", test_subclusters);
  g_test_add_func ("/formats/qcow2/entry/subclusters-damaged", test_subclusters_damaged);
  g_test_add_func ("/formats/qcow2/entry/external-data-file", test_external);
  g_test_add_func ("/formats/qcow2/entry/parts-plain", test_parts_plain);
  g_test_add_func ("/formats/qcow2/entry/parts-extended", test_parts_extended);
  g_test_add_func ("/formats/qcow2/entry/parts-external", test_parts_external);
  g_test_add_func ("/formats/qcow2/entry/refcount-widths", test_refcounts);
  return g_test_run ();
}
