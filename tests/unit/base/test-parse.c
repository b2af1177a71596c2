/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers and sizes: what is taken, and what is refused. */
#include "base/error.h"
#include "base/parse.h"

static void
test_sizes_taken (void)
{
  static const struct {
    const char *text;
    uint64_t value;
  } cases[] = {
      {"0", 0},
      {"512", 512},
      {"0x200", 512},
      {"010", 8},
      {"1K", 1024},
      {"1k", 1024},
      {"3M", 3 << 20},
      {"2G", UINT64_C (2) << 30},
      {"1T", UINT64_C (1) << 40},
      {"5P", UINT64_C (5) << 50},
      {"15E", UINT64_C (15) << 60},
      {"18446744073709551615", UINT64_MAX},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    uint64_t value = 1;
    g_assert_true (im_parse_size (cases[i].text, "--size", &value, &error));
    g_assert_no_error (error);
    g_assert_cmpuint (value, ==, cases[i].value);
  }
}

static void
test_sizes_refused (void)
{
  static const char *const cases[] = {"",
                                      " 1",
                                      "1 ",
                                      "-1",
                                      "+1",
                                      "1KB",
                                      "K",
                                      "1.5G",
                                      "0x",
                                      "16E",
                                      "1X",
                                      "1K1",
                                      "18446744073709551616",
                                      "nan"};
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    uint64_t value;
    g_assert_false (im_parse_size (cases[i], "--size", &value, &error));
    g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
    g_assert_true (g_str_has_prefix (error->message, "--size: "));
  }
}

static void
test_number_bound (void)
{
  g_autoptr (GError) error = NULL;
  uint64_t value;
  g_assert_true (im_parse_number ("65535", "--port", 65535, &value, &error));
  g_assert_false (im_parse_number ("65536", "--port", 65535, &value, &error));
  g_assert_cmpstr (error->message, ==, "--port: 65536 is more than 65535");
}

static void
test_number_has_no_suffix (void)
{
  g_autoptr (GError) error = NULL;
  uint64_t value;
  g_assert_false (im_parse_number ("1K", "--port", 65535, &value, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
}

static void
test_sizes_written (void)
{
  static const struct {
    uint64_t bytes;
    const char *text;
  } cases[] = {
      {0, "0 bytes"},
      {1, "1 byte"},
      {1023, "1023 bytes"},
      {1024, "1 KiB"},
      {1536, "1.5 KiB"},
      {512 << 20, "512 MiB"},
      {UINT64_C (21474836480), "20 GiB"},
      {UINT64_C (20936892416), "19.5 GiB"},
      {(UINT64_C (1) << 40) - 1, "1 TiB"},
      {UINT64_MAX, "16 EiB"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *text = im_format_size (cases[i].bytes);
    g_assert_cmpstr (text, ==, cases[i].text);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/base/parse/sizes-taken", test_sizes_taken);
  g_test_add_func ("/base/parse/sizes-refused", test_sizes_refused);
  g_test_add_func ("/base/parse/number-bound", test_number_bound);
  g_test_add_func ("/base/parse/number-has-no-suffix", test_number_has_no_suffix);
  g_test_add_func ("/base/parse/sizes-written", test_sizes_written);
  return g_test_run ();
}
