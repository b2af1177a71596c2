/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ranges that wrap, cursors that run out. */
#include "base/bytes.h"

#include <glib.h>

static void
test_range_fits (void)
{
  static const struct {
    uint64_t offset, len, size;
    bool fits;
  } cases[] = {
      {0, 0, 0, true},
      {0, 1, 0, false},
      {1, 0, 0, false},
      {5, 5, 10, true},
      {5, 6, 10, false},
      {10, 0, 10, true},
      {UINT64_MAX, 1, UINT64_MAX, false},
      {UINT64_MAX, UINT64_MAX, 10, false},
      {1, UINT64_MAX, UINT64_MAX, false},
      {0, UINT64_MAX, UINT64_MAX, true},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    g_assert_cmpint (im_range_fits (cases[i].offset, cases[i].len, cases[i].size), ==,
                     cases[i].fits);
}

static void
test_cursor_overrun (void)
{
  const uint8_t bytes[] = {1, 2, 3, 4, 5};
  ImCursor c = im_cursor (bytes, sizeof bytes);
  g_assert_cmphex (im_cursor_be32 (&c), ==, 0x01020304);
  g_assert_cmpuint (im_cursor_left (&c), ==, 1);
  g_assert_false (c.overrun);
  g_assert_cmphex (im_cursor_be16 (&c), ==, 0);
  g_assert_true (c.overrun);
  /* Once overrun, also what would fit gives zero. */
  g_assert_cmphex (im_cursor_u8 (&c), ==, 0);
  g_assert_cmpuint (im_cursor_left (&c), ==, 0);
}

static void
test_cursor_huge_length (void)
{
  const uint8_t bytes[] = {1, 2};
  ImCursor c = im_cursor (bytes, sizeof bytes);
  im_cursor_u8 (&c);
  g_assert_null (im_cursor_bytes (&c, SIZE_MAX));
  g_assert_true (c.overrun);
}

static void
test_byte_orders (void)
{
  const uint8_t bytes[] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
  g_assert_cmphex (im_get_be64 (bytes), ==, UINT64_C (0x1122334455667788));
  g_assert_cmphex (im_get_le64 (bytes), ==, UINT64_C (0x8877665544332211));
  g_assert_cmphex (im_get_be16 (bytes), ==, 0x1122);
  g_assert_cmphex (im_get_le32 (bytes), ==, 0x44332211);
  uint8_t out[8];
  im_put_be64 (out, UINT64_C (0x1122334455667788));
  g_assert_cmpmem (out, 8, bytes, 8);
}

static void
test_div_up_does_not_wrap (void)
{
  g_assert_cmpuint (im_div_up (UINT64_MAX, 2), ==, UINT64_C (1) << 63);
  g_assert_cmpuint (im_div_up (0, 7), ==, 0);
  g_assert_cmpuint (im_div_up (8, 7), ==, 2);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/base/bytes/range-fits-cannot-wrap", test_range_fits);
  g_test_add_func ("/base/bytes/cursor-overrun-gives-zeros", test_cursor_overrun);
  g_test_add_func ("/base/bytes/cursor-refuses-huge-lengths", test_cursor_huge_length);
  g_test_add_func ("/base/bytes/byte-orders", test_byte_orders);
  g_test_add_func ("/base/bytes/div-up-cannot-wrap", test_div_up_does_not_wrap);
  return g_test_run ();
}
