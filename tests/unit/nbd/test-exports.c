/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The export set as clients see it. */
#include "base/error.h"
#include "fixture.h"
#include "nbd/nbd-meta.h"

static ImNbdExports *
exports_named (const char *name, const char *description, GError **error)
{
  static ImExportSet *set; /* outlives them */
  if (!set)
    set = fixture_set ();
  return im_nbd_exports_new (set, name, description, true, error);
}

static void
test_names (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImNbdExports) exports = exports_named ("vm", "a disk", &error);
  g_assert_no_error (error);
  const ImNbdExport *disk = im_nbd_exports_find (exports, "vm", 2);
  g_assert_cmpstr (disk->description, ==, "a disk");
  g_assert_cmpuint (disk->block->size, ==, DISK_SIZE);
  g_assert_cmpuint (disk->preferred_size, ==, 4096);
  const ImNbdExport *partition = im_nbd_exports_find (exports, "p1", 2);
  g_assert_cmpstr (partition->description, ==, "the first");
  g_assert_cmpuint (partition->block->size, ==, 1 << 20);
  g_assert_null (im_nbd_exports_find (exports, "", 0));
  g_assert_null (im_nbd_exports_find (exports, "disk", 4));
  g_assert_null (im_nbd_exports_find (exports, "p1", 1));
}

static void
test_clash_is_refused (void)
{
  g_autoptr (GError) error = NULL;
  g_assert_null (exports_named ("p1", NULL, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
}

static void
test_unfit_strings_are_refused (void)
{
  g_autofree char *long_name = g_strnfill (4097, 'x');
  const char *names[] = {long_name, "\xff"};
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GError) error = NULL;
    g_assert_null (exports_named (names[i], NULL, &error));
    g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
    g_clear_error (&error);
    g_assert_null (exports_named ("", names[i], &error));
    g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
  }
}

static void
test_flags (void)
{
  ImNbdExports exports = {.multi = false};
  ImNbdExport export = {.writable = false};
  unsigned flags = im_nbd_exports_flags (&exports, &export, IM_NBD_MODE_SIMPLE, 0);
  g_assert_cmphex (flags, ==,
                   IM_NBD_FLAG_HAS_FLAGS | IM_NBD_FLAG_READ_ONLY |
                       IM_NBD_FLAG_SEND_FLUSH | IM_NBD_FLAG_SEND_FUA |
                       IM_NBD_FLAG_SEND_CACHE);
  exports.multi = true;
  g_assert_true (im_nbd_exports_flags (&exports, &export, IM_NBD_MODE_SIMPLE, 0) &
                 IM_NBD_FLAG_CAN_MULTI_CONN);
  g_assert_true (im_nbd_exports_flags (&exports, &export, IM_NBD_MODE_STRUCTURED, 1) &
                 IM_NBD_FLAG_SEND_DF);
  g_assert_false (im_nbd_exports_flags (&exports, &export, IM_NBD_MODE_STRUCTURED, 1) &
                  IM_NBD_FLAG_BLOCK_STATUS_PAYLOAD);
  g_assert_false (im_nbd_exports_flags (&exports, &export, IM_NBD_MODE_EXTENDED, 0) &
                  IM_NBD_FLAG_BLOCK_STATUS_PAYLOAD);
  g_assert_true (im_nbd_exports_flags (&exports, &export, IM_NBD_MODE_EXTENDED, 1) &
                 IM_NBD_FLAG_BLOCK_STATUS_PAYLOAD);
  exports.multi = false;
  export.writable = true;
  flags = im_nbd_exports_flags (&exports, &export, IM_NBD_MODE_SIMPLE, 0);
  g_assert_cmphex (flags, ==,
                   IM_NBD_FLAG_HAS_FLAGS | IM_NBD_FLAG_SEND_FLUSH | IM_NBD_FLAG_SEND_FUA |
                       IM_NBD_FLAG_SEND_TRIM | IM_NBD_FLAG_SEND_WRITE_ZEROES |
                       IM_NBD_FLAG_SEND_CACHE | IM_NBD_FLAG_SEND_FAST_ZERO);
}

/* Nothing is read through it. */
static const ImBitmapOps bitmap_ops = {.free = (void (*) (ImBitmap *))g_free};

static void
add_bitmap (ImExportSet *set, const char *name)
{
  ImBitmap *bitmap = g_new0 (ImBitmap, 1);
  bitmap->ops = &bitmap_ops;
  im_export_set_add_bitmap (set, name, bitmap);
}

static void
test_queries (void)
{
  static const struct {
    const char *query;
    uint32_t selected, listed;
  } cases[] = {
      {"base:allocation", 1, 1},
      {"base:", 0, 1},
      {"base:alloc", 0, 0},
      {"qemu:", 0, 0xe},
      {"qemu:allocation-depth", 2, 2},
      {"qemu:allocation-depth:", 0, 0},
      {"qemu:dirty-bitmap:", 0, 0xc},
      {"qemu:dirty-bitmap", 0, 0},
      {"qemu:dirty-bitmap:b", 4, 4},
      {"qemu:dirty-bitmap:b:", 0, 0},
      {"qemu:dirty-bitmap:b:c", 8, 8},
      {":", 0, 0},
      {"", 0, 0},
  };
  struct stat st = {0};
  g_autoptr (ImExportSet) set = im_export_set_new ("image", &st);
  g_autoptr (GError) error = NULL;
  ImNbdContexts contexts;
  set->tells_depth = true;
  add_bitmap (set, "b");
  add_bitmap (set, "b:c");
  g_assert_true (im_nbd_contexts_init (&contexts, set, &error));
  g_assert_cmphex (im_nbd_contexts_all (&contexts), ==, 0xf);
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    const char *query = cases[i].query;
    g_assert_cmphex (im_nbd_contexts_match (&contexts, query, false), ==,
                     cases[i].selected);
    g_assert_cmphex (im_nbd_contexts_match (&contexts, query, true), ==, cases[i].listed);
  }
  im_nbd_contexts_clear (&contexts);
}

static void
test_too_many_contexts (void)
{
  struct stat st = {0};
  g_autoptr (ImExportSet) set = im_export_set_new ("image", &st);
  g_autoptr (GError) error = NULL;
  ImNbdContexts contexts;
  for (unsigned i = 0; i < IM_NBD_CONTEXTS_MAX - 1; i++) {
    g_autofree char *name = g_strdup_printf ("b%u", i);
    add_bitmap (set, name);
  }
  g_assert_true (im_nbd_contexts_init (&contexts, set, &error));
  g_assert_cmphex (im_nbd_contexts_all (&contexts), ==, UINT32_MAX);
  im_nbd_contexts_clear (&contexts);
  add_bitmap (set, "one more");
  g_assert_false (im_nbd_contexts_init (&contexts, set, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_LIMIT);
  im_nbd_contexts_clear (&contexts);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/nbd/exports/names", test_names);
  g_test_add_func ("/nbd/exports/clash-is-refused", test_clash_is_refused);
  g_test_add_func ("/nbd/exports/unfit-strings-are-refused",
                   test_unfit_strings_are_refused);
  g_test_add_func ("/nbd/exports/flags", test_flags);
  g_test_add_func ("/nbd/exports/queries", test_queries);
  g_test_add_func ("/nbd/exports/too-many-contexts", test_too_many_contexts);
  return g_test_run ();
}
