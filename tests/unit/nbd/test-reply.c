/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Heads of replies, byte by byte. */
#include "base/bytes.h"
#include "nbd/nbd-reply.h"
#include <glib.h>

static const ImNbdReplyTo simple = {IM_NBD_MODE_SIMPLE, 0x0102030405060708, 0x10};
static const ImNbdReplyTo structured = {IM_NBD_MODE_STRUCTURED, 0x0102030405060708, 0x10};
static const ImNbdReplyTo extended = {IM_NBD_MODE_EXTENDED, 0x0102030405060708, 0x10};

static void
assert_wire (const uint8_t *p, size_t n, const char *hex)
{
  g_autoptr (GString) text = g_string_new (NULL);
  for (size_t i = 0; i < n; i++)
    g_string_append_printf (text, "%02x", p[i]);
  g_assert_cmpstr (text->str, ==, hex);
}

static void
test_data (void)
{
  uint8_t p[IM_NBD_HEAD_MAX];
  assert_wire (p, im_nbd_put_data (p, &simple, true, 0x20, 512),
               "67446698"
               "00000000"
               "0102030405060708");
  assert_wire (p, im_nbd_put_data (p, &structured, true, 0x20, 512),
               "668e33ef"
               "0001"
               "0001"
               "0102030405060708"
               "00000208"
               "0000000000000020");
  assert_wire (p, im_nbd_put_data (p, &extended, false, 0x20, 512),
               "6e8a278c"
               "0000"
               "0001"
               "0102030405060708"
               "0000000000000010"
               "0000000000000208"
               "0000000000000020");
}

static void
test_hole (void)
{
  uint8_t p[IM_NBD_HEAD_MAX];
  assert_wire (p, im_nbd_put_hole (p, &structured, false, 0x20, 0x10000),
               "668e33ef"
               "0000"
               "0002"
               "0102030405060708"
               "0000000c"
               "0000000000000020"
               "00010000");
}

static void
test_status (void)
{
  uint8_t p[IM_NBD_HEAD_MAX];
  assert_wire (p, im_nbd_put_status (p, &structured, true, 7, 2),
               "668e33ef"
               "0001"
               "0005"
               "0102030405060708"
               "00000014"
               "00000007");
  assert_wire (p, im_nbd_put_status (p, &extended, true, 7, 2),
               "6e8a278c"
               "0001"
               "0006"
               "0102030405060708"
               "0000000000000010"
               "0000000000000028"
               "00000007"
               "00000002");
}

static void
test_success (void)
{
  uint8_t p[IM_NBD_HEAD_MAX];
  assert_wire (p, im_nbd_put_success (p, &simple),
               "67446698"
               "00000000"
               "0102030405060708");
  assert_wire (p, im_nbd_put_success (p, &structured),
               "668e33ef"
               "0001"
               "0000"
               "0102030405060708"
               "00000000");
}

static void
test_error (void)
{
  uint8_t p[IM_NBD_HEAD_MAX];
  assert_wire (p, im_nbd_put_error (p, &simple, IM_NBD_EIO, "no"),
               "67446698"
               "00000005"
               "0102030405060708");
  assert_wire (p, im_nbd_put_error (p, &structured, IM_NBD_EIO, "no"),
               "668e33ef"
               "0001"
               "8001"
               "0102030405060708"
               "00000008"
               "00000005"
               "0002"
               "6e6f");
  assert_wire (p, im_nbd_put_error_at (p, &structured, IM_NBD_EIO, "no", 0x1234),
               "668e33ef"
               "0001"
               "8002"
               "0102030405060708"
               "00000010"
               "00000005"
               "0002"
               "6e6f"
               "0000000000001234");
}

static void
test_long_text_is_cut_at_a_character (void)
{
  uint8_t p[IM_NBD_HEAD_MAX];
  g_autoptr (GString) text = g_string_new ("x");
  for (int i = 0; i < 200; i++)
    g_string_append (text, "\u00fc");
  size_t n = im_nbd_put_error (p, &extended, IM_NBD_EIO, text->str);
  g_assert_cmpuint (n, <=, sizeof p);
  size_t length = im_get_be16 (p + 36);
  g_assert_cmpuint (length, ==, n - 38);
  g_assert_cmpuint (length, >, IM_NBD_ERROR_TEXT_MAX - 4);
  g_assert_true (g_utf8_validate ((const char *)p + 38, (gssize)length, NULL));
  n = im_nbd_put_error_at (p, &extended, IM_NBD_EIO, text->str, 0x1234);
  g_assert_cmpuint (n, <=, sizeof p);
  g_assert_cmpuint (im_get_be64 (p + n - 8), ==, 0x1234);
}

static void
test_text_that_is_none_is_left_out (void)
{
  uint8_t p[IM_NBD_HEAD_MAX];
  g_assert_cmpuint (im_nbd_put_error (p, &structured, IM_NBD_EIO, "\xff\xfe"), ==, 26);
  g_assert_cmpuint (im_get_be16 (p + 24), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/nbd/reply/data", test_data);
  g_test_add_func ("/nbd/reply/hole", test_hole);
  g_test_add_func ("/nbd/reply/status", test_status);
  g_test_add_func ("/nbd/reply/success", test_success);
  g_test_add_func ("/nbd/reply/error", test_error);
  g_test_add_func ("/nbd/reply/long-text-is-cut-at-a-character",
                   test_long_text_is_cut_at_a_character);
  g_test_add_func ("/nbd/reply/text-that-is-none-is-left-out",
                   test_text_that_is_none_is_left_out);
  return g_test_run ();
}
