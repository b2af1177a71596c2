/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Slices: their bounds and their bytes. */
#include "base/error.h"
#include "fixture.h"

enum { LENGTH = 8192 };

static void
test_bytes_and_bounds (void)
{
  g_autofree uint8_t *bytes = fixture_pattern (LENGTH, 4);
  g_autoptr (ImFile) file = fixture_file (bytes, LENGTH);
  const ImExtent whole = {.length = LENGTH, .kind = IM_EXTENT_FILE, .file = file};
  g_autoptr (ImBlock) base = fixture_block (&whole, 1, 1, NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (ImBlock) slice = im_slice_new (base, 1000, 3000, &error);
  g_autoptr (ImBlock) inner = im_slice_new (slice, 10, 20, &error);
  uint8_t buf[3000];
  g_assert_true (im_block_pread (slice, buf, 3000, 0, &error));
  g_assert_cmpmem (buf, 3000, bytes + 1000, 3000);
  g_assert_true (im_block_pread (inner, buf, 20, 0, &error));
  g_assert_cmpmem (buf, 20, bytes + 1010, 20);
  g_assert_false (im_block_pread (slice, buf, 2, 2999, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_RANGE);
}

static void
test_outside_is_refused (void)
{
  const ImExtent whole = {.length = LENGTH, .kind = IM_EXTENT_ZERO};
  g_autoptr (ImBlock) base = fixture_block (&whole, 1, 1, NULL);
  static const struct {
    uint64_t offset, size;
  } cases[] = {{0, LENGTH + 1}, {LENGTH, 1}, {1, UINT64_MAX}, {UINT64_MAX, 1}};
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_assert_null (im_slice_new (base, cases[i].offset, cases[i].size, &error));
    g_assert_error (error, IM_ERROR, IM_ERROR_RANGE);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/slice/bytes-and-bounds", test_bytes_and_bounds);
  g_test_add_func ("/block/slice/outside-is-refused", test_outside_is_refused);
  return g_test_run ();
}
