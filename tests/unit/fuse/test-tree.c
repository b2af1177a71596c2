/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tree: names, inode numbers, and what stat says. */
#include "fixture.h"
#include "fuse/measure.h"
#include "fuse/tree.h"

#define MIB (UINT64_C (1) << 20)

static char *
render_count (void *data)
{
  unsigned *count = data;
  return g_strdup_printf ("%*u\n", (int)++*count, 0);
}

/* disk, p1, gaps/0-1, info.json and two links; the image is IMAGE_MODE. */
static ImExportSet *
make_set (mode_t image_mode, unsigned *count)
{
  const struct stat image = {.st_mode = S_IFREG | image_mode,
                             .st_uid = 12,
                             .st_gid = 34,
                             .st_blocks = 100,
                             .st_mtim = {.tv_sec = 1234567890, .tv_nsec = 5},
                             .st_atim = {.tv_sec = 9}};
  static const FixtureRun runs[] = {{MIB, IM_EXTENT_FILE}, {3 * MIB, IM_EXTENT_ZERO}};
  g_autoptr (ImBlock) disk = fixture_disk (runs, 2, UINT64_MAX);
  g_autoptr (ImBlock) part = im_slice_new (disk, 512, 2 * MIB, NULL);
  g_autoptr (ImBlock) tiny = im_slice_new (disk, 0, 100, NULL);
  ImExportSet *set = im_export_set_new ("image", &image);
  set->read_only = true;
  im_export_set_add_block (set, IM_EXPORT_DISK, "disk", NULL, disk, 0);
  im_export_set_add_block (set, IM_EXPORT_PARTITION, "p1", NULL, part, 512);
  im_export_set_add_block (set, IM_EXPORT_PARTITION, "gaps/0-1", NULL, tiny, 0);
  im_export_set_add_text (set, "info.json", render_count, count);
  im_export_set_add_link (set, "by-partlabel", "root", "../p1");
  im_export_set_add_link (set, "by-partlabel", "other", "../p2");
  return set;
}

static void
test_names (void)
{
  unsigned count = 0;
  g_autoptr (ImExportSet) set = make_set (0600, &count);
  g_autoptr (ImFuseTree) tree = im_fuse_tree_new (set);
  ImNode *root = im_fuse_tree_node (tree, 1);
  g_assert_true (root->parent == root);
  g_assert_cmpuint (root->children->len, ==, 5);
  ImNode *links = im_fuse_tree_lookup (root, "by-partlabel");
  g_assert_cmpint (links->kind, ==, IM_NODE_DIRECTORY);
  ImNode *link = im_fuse_tree_lookup (links, "root");
  g_assert_cmpstr (link->link->target, ==, "../p1");
  g_assert_true (link->parent == links);
  ImNode *gaps = im_fuse_tree_lookup (root, "gaps");
  g_assert_cmpint (im_fuse_tree_lookup (gaps, "0-1")->kind, ==, IM_NODE_BLOCK);
  g_assert_null (im_fuse_tree_lookup (root, "gaps/0-1"));
  g_assert_null (im_fuse_tree_lookup (root, "p2"));
  g_assert_null (im_fuse_tree_lookup (root, ""));
  g_assert_null (im_fuse_tree_lookup (im_fuse_tree_lookup (root, "disk"), "p1"));
}

static void
test_inode_numbers (void)
{
  unsigned count = 0;
  g_autoptr (ImExportSet) set = make_set (0600, &count);
  g_autoptr (ImFuseTree) tree = im_fuse_tree_new (set);
  for (uint64_t ino = 1; ino <= tree->nodes->len; ino++)
    g_assert_cmpuint (im_fuse_tree_node (tree, ino)->ino, ==, ino);
  g_assert_null (im_fuse_tree_node (tree, 0));
  g_assert_null (im_fuse_tree_node (tree, tree->nodes->len + 1));
  g_assert_null (im_fuse_tree_node (tree, UINT64_MAX));
}

static void
test_first_comer_keeps_the_name (void)
{
  unsigned count = 0;
  g_autoptr (ImExportSet) set = make_set (0600, &count);
  im_export_set_add_text (set, "p1", render_count, &count);
  im_export_set_add_link (set, "disk", "below", "../p1");
  g_autoptr (ImFuseTree) tree = im_fuse_tree_new (set);
  ImNode *root = im_fuse_tree_node (tree, 1);
  g_assert_cmpint (im_fuse_tree_lookup (root, "p1")->kind, ==, IM_NODE_BLOCK);
  g_assert_cmpint (im_fuse_tree_lookup (root, "disk")->kind, ==, IM_NODE_BLOCK);
  g_assert_cmpuint (root->children->len, ==, 5);
}

static void
test_stat (void)
{
  unsigned count = 0;
  struct stat st;
  g_autoptr (ImExportSet) set = make_set (0640, &count);
  g_autoptr (ImFuseTree) tree = im_fuse_tree_new (set);
  ImNode *root = im_fuse_tree_node (tree, 1);
  ImNode *part = im_fuse_tree_lookup (root, "p1");
  im_fuse_tree_stat (tree, part, &st);
  g_assert_cmpuint (st.st_size, ==, 2 * MIB);
  g_assert_cmpuint (st.st_mode, ==, S_IFREG | 0440);
  g_assert_cmpuint (st.st_uid, ==, 12);
  g_assert_cmpuint (st.st_gid, ==, 34);
  g_assert_cmpint (st.st_mtim.tv_sec, ==, 1234567890);
  g_assert_cmpint (st.st_mtim.tv_nsec, ==, 5);
  g_assert_cmpint (st.st_atim.tv_sec, ==, 1234567890);
  g_assert_cmpuint (st.st_nlink, ==, 1);
  im_fuse_tree_stat (tree, root, &st);
  g_assert_cmpuint (st.st_mode, ==, S_IFDIR | 0550);
  g_assert_cmpuint (st.st_nlink, ==, 4);
  im_fuse_tree_stat (
      tree, im_fuse_tree_lookup (im_fuse_tree_lookup (root, "by-partlabel"), "root"),
      &st);
  g_assert_cmpuint (st.st_mode, ==, S_IFLNK | 0777);
  g_assert_cmpuint (st.st_size, ==, strlen ("../p1"));
}

static void
test_modes (void)
{
  static const struct {
    mode_t image;
    bool read_only;
    mode_t file, directory;
  } cases[] = {
      {0000, true, 0400, 0500},  {0644, true, 0444, 0555},  {0660, true, 0440, 0550},
      {0660, false, 0660, 0550}, {0444, false, 0644, 0555}, {04777, false, 0666, 0555},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    unsigned count = 0;
    g_autoptr (ImExportSet) set = make_set (cases[i].image, &count);
    set->read_only = cases[i].read_only;
    g_autoptr (ImFuseTree) tree = im_fuse_tree_new (set);
    ImNode *root = im_fuse_tree_node (tree, 1);
    ImNode *disk = im_fuse_tree_lookup (root, "disk");
    g_assert_cmpuint (im_fuse_tree_mode (tree, disk), ==, S_IFREG | cases[i].file);
    g_assert_cmpuint (im_fuse_tree_mode (tree, root), ==, S_IFDIR | cases[i].directory);
    /* A text is never written. */
    ImNode *text = im_fuse_tree_lookup (root, "info.json");
    g_assert_cmpuint (im_fuse_tree_mode (tree, text) & 0222, ==, 0);
  }
}

static void
test_text_is_rendered_anew (void)
{
  unsigned count = 0;
  struct stat st;
  g_autoptr (ImExportSet) set = make_set (0600, &count);
  g_autoptr (ImFuseTree) tree = im_fuse_tree_new (set);
  ImNode *text = im_fuse_tree_lookup (im_fuse_tree_node (tree, 1), "info.json");
  g_assert_cmpuint (count, ==, 0);
  for (int size = 2; size < 5; size++) {
    im_fuse_tree_stat (tree, text, &st);
    g_assert_cmpint (st.st_size, ==, size);
  }
  g_assert_true (im_fuse_tree_is_volatile (tree, text));
}

static void
test_blocks_before_measuring (void)
{
  unsigned count = 0;
  struct stat st;
  g_autoptr (ImExportSet) set = make_set (0600, &count);
  g_autoptr (ImFuseTree) tree = im_fuse_tree_new (set);
  ImNode *root = im_fuse_tree_node (tree, 1);
  ImNode *disk = im_fuse_tree_lookup (root, "disk");
  im_fuse_tree_stat (tree, disk, &st);
  g_assert_cmpint (st.st_blocks, ==, 100);
  /* A full image: still less than the size. */
  set->image.st_blocks = 1 << 20;
  im_fuse_tree_stat (tree, disk, &st);
  g_assert_cmpint (st.st_blocks, ==, 4 * MIB / 512 - 1);
  /* Never none, which reads as "no data at all". */
  set->image.st_blocks = 0;
  im_fuse_tree_stat (tree, disk, &st);
  g_assert_cmpint (st.st_blocks, ==, 1);
  im_fuse_tree_stat (
      tree, im_fuse_tree_lookup (im_fuse_tree_lookup (root, "gaps"), "0-1"), &st);
  g_assert_cmpint (st.st_blocks, ==, 1);
}

static void
wait_until_measured (const ImNode *node)
{
  for (int i = 0; i < 10000 && atomic_load (&node->allocated) == IM_NODE_UNMEASURED; i++)
    g_usleep (1000);
  g_assert_cmpuint (atomic_load (&node->allocated), !=, IM_NODE_UNMEASURED);
}

static void
test_blocks_measured (void)
{
  unsigned count = 0;
  struct stat st;
  g_autoptr (ImExportSet) set = make_set (0600, &count);
  g_autoptr (ImFuseTree) tree = im_fuse_tree_new (set);
  g_autoptr (ImFuseMeasure) measure = im_fuse_measure_new ();
  ImNode *root = im_fuse_tree_node (tree, 1);
  ImNode *disk = im_fuse_tree_lookup (root, "disk");
  ImNode *part = im_fuse_tree_lookup (root, "p1");
  im_fuse_measure_want (measure, disk);
  im_fuse_measure_want (measure, part);
  im_fuse_measure_want (measure, disk);
  wait_until_measured (disk);
  wait_until_measured (part);
  im_fuse_tree_stat (tree, disk, &st);
  g_assert_cmpint (st.st_blocks, ==, MIB / 512);
  im_fuse_tree_stat (tree, part, &st);
  g_assert_cmpint (st.st_blocks, ==, MIB / 512 - 1);
  /* For good where nothing can be written. */
  g_assert_false (im_fuse_tree_is_volatile (tree, disk));
  set->read_only = false;
  g_assert_true (im_fuse_tree_is_volatile (tree, disk));
}

static void
test_a_writable_disk_never_seems_empty (void)
{
  const struct stat image = {.st_mode = 0600};
  static const FixtureRun runs[] = {{MIB, IM_EXTENT_ZERO}};
  struct stat st;
  g_autoptr (ImBlock) disk = fixture_disk (runs, 1, UINT64_MAX);
  g_autoptr (ImExportSet) set = im_export_set_new ("image", &image);
  im_export_set_add_block (set, IM_EXPORT_DISK, "disk", NULL, disk, 0);
  set->read_only = false;
  g_autoptr (ImFuseTree) tree = im_fuse_tree_new_file (set);
  ImNode *node = im_fuse_tree_node (tree, 1);
  atomic_store (&node->allocated, 0);
  im_fuse_tree_stat (tree, node, &st);
  g_assert_cmpint (st.st_blocks, ==, 1);
  set->read_only = true;
  im_fuse_tree_stat (tree, node, &st);
  g_assert_cmpint (st.st_blocks, ==, 0);
}

static void
test_unreadable_tables_count_as_allocated (void)
{
  const struct stat image = {.st_mode = 0600};
  static const FixtureRun runs[] = {{MIB, IM_EXTENT_ZERO}};
  g_autoptr (ImBlock) disk = fixture_disk (runs, 1, 0);
  g_autoptr (ImExportSet) set = im_export_set_new ("image", &image);
  im_export_set_add_block (set, IM_EXPORT_DISK, "disk", NULL, disk, 0);
  g_autoptr (ImFuseTree) tree = im_fuse_tree_new_file (set);
  g_autoptr (ImFuseMeasure) measure = im_fuse_measure_new ();
  ImNode *node = im_fuse_tree_node (tree, 1);
  im_fuse_measure_want (measure, node);
  wait_until_measured (node);
  g_assert_cmpuint (atomic_load (&node->allocated), ==, MIB);
}

/* What lies anywhere on the largest disk is counted, and counted soon. */
static void
test_blocks_of_a_vast_disk (void)
{
  const struct stat image = {.st_mode = 0600};
  static const FixtureRun runs[] = {{INT64_MAX / 2, IM_EXTENT_ZERO},
                                    {MIB, IM_EXTENT_FILE},
                                    {INT64_MAX / 2 - MIB, IM_EXTENT_ZERO},
                                    {1, IM_EXTENT_FILE}};
  g_autoptr (ImBlock) disk = fixture_disk (runs, G_N_ELEMENTS (runs), UINT64_MAX);
  g_autoptr (ImExportSet) set = im_export_set_new ("image", &image);
  im_export_set_add_block (set, IM_EXPORT_DISK, "disk", NULL, disk, 0);
  g_autoptr (ImFuseTree) tree = im_fuse_tree_new_file (set);
  g_autoptr (ImFuseMeasure) measure = im_fuse_measure_new ();
  ImNode *node = im_fuse_tree_node (tree, 1);
  im_fuse_measure_want (measure, node);
  wait_until_measured (node);
  g_assert_cmpuint (atomic_load (&node->allocated), ==, MIB + 1);
  g_assert_cmpuint (fixture_maps (disk), <, 1000);
}

static void
test_file_as_mount_point (void)
{
  unsigned count = 0;
  struct stat st;
  g_autoptr (ImExportSet) set = make_set (0600, &count);
  g_autoptr (ImFuseTree) tree = im_fuse_tree_new_file (set);
  ImNode *root = im_fuse_tree_node (tree, 1);
  g_assert_cmpuint (tree->nodes->len, ==, 1);
  g_assert_cmpint (root->kind, ==, IM_NODE_BLOCK);
  g_assert_null (im_fuse_tree_lookup (root, "p1"));
  im_fuse_tree_stat (tree, root, &st);
  g_assert_cmpuint (st.st_size, ==, 4 * MIB);
  g_assert_true (S_ISREG (st.st_mode));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/fuse/tree/names", test_names);
  g_test_add_func ("/fuse/tree/inode-numbers", test_inode_numbers);
  g_test_add_func ("/fuse/tree/first-comer-keeps-the-name",
                   test_first_comer_keeps_the_name);
  g_test_add_func ("/fuse/tree/stat", test_stat);
  g_test_add_func ("/fuse/tree/modes-follow-the-image", test_modes);
  g_test_add_func ("/fuse/tree/text-is-rendered-anew", test_text_is_rendered_anew);
  g_test_add_func ("/fuse/tree/blocks-before-measuring", test_blocks_before_measuring);
  g_test_add_func ("/fuse/tree/blocks-measured", test_blocks_measured);
  g_test_add_func ("/fuse/tree/blocks-of-a-vast-disk", test_blocks_of_a_vast_disk);
  g_test_add_func ("/fuse/tree/a-writable-disk-never-seems-empty",
                   test_a_writable_disk_never_seems_empty);
  g_test_add_func ("/fuse/tree/unreadable-tables-count-as-allocated",
                   test_unreadable_tables_count_as_allocated);
  g_test_add_func ("/fuse/tree/file-as-mount-point", test_file_as_mount_point);
  return g_test_run ();
}
