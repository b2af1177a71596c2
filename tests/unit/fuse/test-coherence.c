/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which page caches a change concerns, and that each is told before the answer. */
#include "fixture.h"
#include "fuse/coherence.h"

#define KIB UINT64_C (1024)

/* A change that notes what a helper does with it. */
typedef struct {
  ImFuseChange change;
  GString *log;   /* "drop 2 0+512; reply; " */
  bool fails;     /* pages cannot be dropped */
  ImNode *filled; /* read into the cache while its pages are dropped; or NULL */
} Recorded;

static bool
record_drop (ImFuseChange *change, uint64_t ino, uint64_t offset, uint64_t length)
{
  Recorded *recorded = (Recorded *)change;
  g_string_append_printf (recorded->log,
                          "drop %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT
                          "+%" G_GUINT64_FORMAT "; ",
                          ino, offset, length);
  if (recorded->filled)
    im_fuse_pages_fill (&recorded->filled->pages);
  return !recorded->fails;
}

static void
record_reply (ImFuseChange *change)
{
  g_string_append (((Recorded *)change)->log, "reply");
}

/* disk of 64 KiB; a at [4 KiB, 12 KiB), b at [12 KiB, 20 KiB), c at [10 KiB, 14 KiB). */
typedef struct {
  ImExportSet *set;
  ImFuseTree *tree;
  ImFuseCoherence *coherence;
  ImNode *disk, *a, *b, *c;
} Fixture;

static void
add (Fixture *fixture, ImBlock *disk, const char *name, uint64_t offset, uint64_t size)
{
  g_autoptr (ImBlock) slice = im_slice_new (disk, offset, size, NULL);
  im_export_set_add_block (fixture->set, IM_EXPORT_PARTITION, name, NULL, slice, offset);
}

static void
set_up (Fixture *fixture, const void *data)
{
  static const FixtureRun runs[] = {{64 * KIB, IM_EXTENT_FILE}};
  const struct stat image = {.st_mode = 0600};
  g_autoptr (ImBlock) disk = fixture_disk (runs, 1, UINT64_MAX);
  fixture->set = im_export_set_new ("image", &image);
  im_export_set_add_block (fixture->set, IM_EXPORT_DISK, "disk", NULL, disk, 0);
  add (fixture, disk, "a", 4 * KIB, 8 * KIB);
  add (fixture, disk, "b", 12 * KIB, 8 * KIB);
  add (fixture, disk, "c", 10 * KIB, 4 * KIB);
  fixture->tree = im_fuse_tree_new (fixture->set);
  fixture->coherence = im_fuse_coherence_new (fixture->tree);
  ImNode *root = im_fuse_tree_node (fixture->tree, 1);
  fixture->disk = im_fuse_tree_lookup (root, "disk");
  fixture->a = im_fuse_tree_lookup (root, "a");
  fixture->b = im_fuse_tree_lookup (root, "b");
  fixture->c = im_fuse_tree_lookup (root, "c");
}

static void
tear_down (Fixture *fixture, const void *data)
{
  im_fuse_coherence_free (fixture->coherence);
  im_fuse_tree_free (fixture->tree);
  im_export_set_free (fixture->set);
}

static Recorded
make_change (const ImNode *node, uint64_t offset, uint64_t length)
{
  return (Recorded){.change = {.node = node,
                               .offset = offset,
                               .length = length,
                               .drop = record_drop,
                               .reply = record_reply},
                    .log = g_string_new (NULL)};
}

/* Checks what becomes of CHANGE: EXPECTED, or NULL: no page cache is concerned. */
static void
assert_change (Fixture *fixture, Recorded change, const char *expected)
{
  bool concerned = im_fuse_coherence_note (fixture->coherence, &change.change);
  g_assert_cmpint (concerned, ==, expected != NULL);
  if (concerned) {
    g_assert_true (im_fuse_coherence_settle (fixture->coherence, &change.change));
    im_fuse_coherence_close (fixture->coherence);
    g_assert_cmpstr (change.log->str, ==, expected);
    im_fuse_coherence_free (fixture->coherence);
    fixture->coherence = im_fuse_coherence_new (fixture->tree);
  }
  g_string_free (change.log, TRUE);
}

static void
cache (ImNode *node)
{
  im_fuse_pages_open (&node->pages);
  im_fuse_pages_fill (&node->pages);
}

static void
test_no_readers (Fixture *fixture, const void *data)
{
  assert_change (fixture, make_change (fixture->disk, 0, 64 * KIB), NULL);
  /* A handle that has read nothing has no pages. */
  im_fuse_pages_open (&fixture->a->pages);
  assert_change (fixture, make_change (fixture->disk, 0, 64 * KIB), NULL);
}

static void
test_overlaps (Fixture *fixture, const void *data)
{
  cache (fixture->disk);
  cache (fixture->a);
  cache (fixture->b);
  cache (fixture->c);
  /* Inodes: 1 the root, 2 disk, 3 a, 4 b, 5 c. */
  assert_change (fixture, make_change (fixture->disk, 0, 4 * KIB),
                 "drop 2 0+4096; reply");
  assert_change (fixture, make_change (fixture->disk, 4095, 2),
                 "drop 2 4095+2; drop 3 0+1; reply");
  assert_change (fixture, make_change (fixture->a, 8 * KIB - 1, 1),
                 "drop 2 12287+1; drop 3 8191+1; drop 5 2047+1; reply");
  assert_change (fixture, make_change (fixture->c, 0, 4 * KIB),
                 "drop 2 10240+4096; drop 3 6144+2048; drop 4 0+2048; "
                 "drop 5 0+4096; reply");
  assert_change (fixture, make_change (fixture->disk, 20 * KIB, 44 * KIB),
                 "drop 2 20480+45056; reply");
}

static void
test_pages_outlive_handles (Fixture *fixture, const void *data)
{
  cache (fixture->a);
  im_fuse_pages_close (&fixture->a->pages);
  /* All go at once, and then there is nothing more to drop. */
  assert_change (fixture, make_change (fixture->a, 5, 5), "drop 3 0+0; reply");
  assert_change (fixture, make_change (fixture->a, 5, 5), NULL);
  im_fuse_pages_fill (&fixture->a->pages);
  assert_change (fixture, make_change (fixture->a, 5, 5), "drop 3 0+0; reply");
}

static void
test_read_while_dropping_counts_anew (Fixture *fixture, const void *data)
{
  im_fuse_pages_fill (&fixture->a->pages);
  Recorded change = make_change (fixture->a, 5, 5);
  change.filled = fixture->a;
  assert_change (fixture, change, "drop 3 0+0; reply");
  assert_change (fixture, make_change (fixture->a, 5, 5), "drop 3 0+0; reply");
  assert_change (fixture, make_change (fixture->a, 5, 5), NULL);
}

static void
test_failed_drop_is_repeated (Fixture *fixture, const void *data)
{
  im_fuse_pages_fill (&fixture->a->pages);
  Recorded change = make_change (fixture->a, 5, 5);
  change.fails = true;
  assert_change (fixture, change, "drop 3 0+0; reply");
  assert_change (fixture, make_change (fixture->a, 5, 5), "drop 3 0+0; reply");
}

static void
test_closed_takes_nothing (Fixture *fixture, const void *data)
{
  cache (fixture->a);
  im_fuse_coherence_close (fixture->coherence);
  Recorded change = make_change (fixture->a, 0, 1);
  g_assert_true (im_fuse_coherence_note (fixture->coherence, &change.change));
  g_assert_false (im_fuse_coherence_settle (fixture->coherence, &change.change));
  g_assert_cmpstr (change.log->str, ==, "");
  g_string_free (change.log, TRUE);
}

static void
test_marks_sizes_outdated (Fixture *fixture, const void *data)
{
  assert_change (fixture, make_change (fixture->a, 0, 1), NULL);
  g_assert_true (atomic_load (&fixture->disk->outdated));
  g_assert_true (atomic_load (&fixture->a->outdated));
  g_assert_false (atomic_load (&fixture->b->outdated));
  g_assert_false (atomic_load (&fixture->c->outdated));
}

#define ADD(name, function)                                                              \
  g_test_add ("/fuse/coherence/" name, Fixture, NULL, set_up, function, tear_down)

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  ADD ("no-readers-no-work", test_no_readers);
  ADD ("every-overlapping-file-is-told", test_overlaps);
  ADD ("pages-outlive-handles", test_pages_outlive_handles);
  ADD ("read-while-dropping-counts-anew", test_read_while_dropping_counts_anew);
  ADD ("failed-drop-is-repeated", test_failed_drop_is_repeated);
  ADD ("closed-takes-nothing", test_closed_takes_nothing);
  ADD ("marks-sizes-outdated", test_marks_sizes_outdated);
  return g_test_run ();
}
