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

static void
test_queries (void)
{
  g_assert_cmphex (im_nbd_contexts_match (1, "base:allocation", false), ==, 1);
  g_assert_cmphex (im_nbd_contexts_match (1, "base:", false), ==, 0);
  g_assert_cmphex (im_nbd_contexts_match (1, "base:", true), ==, 1);
  g_assert_cmphex (im_nbd_contexts_match (1, "base:alloc", true), ==, 0);
  g_assert_cmphex (im_nbd_contexts_match (1, "qemu:", true), ==, 0);
  g_assert_cmphex (im_nbd_contexts_match (1, ":", true), ==, 0);
  g_assert_cmphex (im_nbd_contexts_match (1, "", true), ==, 0);
  g_assert_cmphex (im_nbd_contexts_match (0, "base:allocation", false), ==, 0);
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
  return g_test_run ();
}
