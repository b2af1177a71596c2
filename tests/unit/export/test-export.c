/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The export set: what goes in comes out, and link names are safe. */
#include "export/export.h"

typedef struct {
  ImBlock block;
  bool *freed;
} Fixture;

static void
fixture_free (ImBlock *block)
{
  Fixture *fixture = (Fixture *)block;
  *fixture->freed = true;
  g_free (fixture);
}

static const ImBlockOps fixture_ops = {.name = "fixture", .free = fixture_free};

static ImBlock *
fixture_block (bool *freed)
{
  Fixture *fixture = g_new0 (Fixture, 1);
  im_block_init (&fixture->block, &fixture_ops, 512, NULL, NULL);
  fixture->freed = freed;
  return &fixture->block;
}

static ImExportSet *
empty_set (void)
{
  const struct stat st = {.st_mode = 0100644, .st_mtim.tv_sec = 7};
  return im_export_set_new ("/images/vm.raw", &st);
}

static void
test_blocks (void)
{
  bool freed = false;
  ImExportSet *set = empty_set ();
  ImBlock *block = fixture_block (&freed);
  im_export_set_add_block (set, IM_EXPORT_DISK, "disk", NULL, block, 0);
  im_export_set_add_block (set, IM_EXPORT_PARTITION, "p1", "EFI", block, 1024);
  im_block_unref (block);
  const ImExport *partition = im_export_set_find (set, "p1");
  g_assert_nonnull (partition);
  g_assert_cmpstr (partition->description, ==, "EFI");
  g_assert_cmpuint (partition->offset, ==, 1024);
  g_assert_true (im_export_set_find (set, "disk")->block == block);
  g_assert_null (im_export_set_find (set, "p2"));
  g_assert_cmpstr (set->image_path, ==, "/images/vm.raw");
  g_assert_cmpint (set->image.st_mtim.tv_sec, ==, 7);
  g_assert_false (freed);
  im_export_set_free (set);
  g_assert_true (freed);
}

static char *
render (void *data)
{
  return g_strdup (data);
}

static void
test_texts (void)
{
  g_autoptr (ImExportSet) set = empty_set ();
  im_export_set_add_text (set, "info.json", render, (void *)"{}");
  const ImExportText *text = g_ptr_array_index (set->texts, 0);
  g_autofree char *rendered = text->render (text->data);
  g_assert_cmpstr (text->name, ==, "info.json");
  g_assert_cmpstr (rendered, ==, "{}");
}

static void
assert_link (const ImExportSet *set, guint i, const char *name)
{
  const ImExportLink *link = g_ptr_array_index (set->links, i);
  g_assert_cmpstr (link->name, ==, name);
}

static void
test_link_names_are_safe (void)
{
  static const struct {
    const char *given, *name;
  } cases[] = {
      {"root", "root"},
      {"a/b", "a_b"},
      {"..", "_"},
      {"...", "..."},
      {"", "_-2"},
      {"\x01\x7f\n", "___"},
      {"\xff\xc3", "__"},
      {"\u00fcmlaut", "\u00fcmlaut"},
      {"\xc2\x85\u2028", "__-2"},
      {"a\u202egpj.exe\ufeff", "a_gpj.exe_"},
      {"\U0001f469\u200d\U0001f52c", "\U0001f469\u200d\U0001f52c"},
      {"Basic data", "Basic data"},
  };
  g_autoptr (ImExportSet) set = empty_set ();
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    im_export_set_add_link (set, "by-partlabel", cases[i].given, "../p1");
    assert_link (set, i, cases[i].name);
  }
}

static void
test_taken_link_names_are_numbered (void)
{
  g_autoptr (ImExportSet) set = empty_set ();
  g_autofree char *name = g_strnfill (300, 'x');
  im_export_set_add_link (set, "by-partlabel", "root", "../p1");
  im_export_set_add_link (set, "by-partlabel", "root", "../p2");
  im_export_set_add_link (set, "by-partuuid", "root", "../p2");
  im_export_set_add_link (set, "by-partlabel", "root", "../p3");
  im_export_set_add_link (set, "by-partlabel", name, "../p4");
  im_export_set_add_link (set, "by-partlabel", name, "../p5");
  assert_link (set, 0, "root");
  assert_link (set, 1, "root-2");
  assert_link (set, 2, "root");
  assert_link (set, 3, "root-3");
  const ImExportLink *cut = g_ptr_array_index (set->links, 5);
  g_assert_cmpuint (strlen (cut->name), ==, 255);
  g_assert_true (g_str_has_suffix (cut->name, "x-2"));
  g_assert_cmpstr (cut->target, ==, "../p5");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/export/blocks", test_blocks);
  g_test_add_func ("/export/texts", test_texts);
  g_test_add_func ("/export/link-names-are-safe", test_link_names_are_safe);
  g_test_add_func ("/export/taken-link-names-are-numbered",
                   test_taken_link_names_are_numbered);
  return g_test_run ();
}
