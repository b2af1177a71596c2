/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names that sfdisk gives, times, flags. */
#include "report/sfdisk.h"
#include "report/words.h"

static void
test_nodes (void)
{
  static const struct {
    const char *device, *node;
  } cases[] = {
      {"x.img", "x.img7"},
      {"x9", "x9p7"},
      {"/tmp/a b", "/tmp/a b7"},
      {"q/disc", "q/part7"},
      {"q/disk", "q/disk7"},
      {"/dev/disk/by-id/absent", "/dev/disk/by-id/absent-part7"},
      {"", "7"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *node = im_sfdisk_node (cases[i].device, 7);
    g_assert_cmpstr (node, ==, cases[i].node);
  }
}

static void
test_attributes (void)
{
  static const struct {
    uint64_t bits;
    const char *text;
  } cases[] = {
      {0, NULL},
      {1 << 3, NULL},
      {1, "RequiredPartition"},
      {7, "RequiredPartition NoBlockIOProtocol LegacyBIOSBootable"},
      {UINT64_C (1) << 63 | 4, "LegacyBIOSBootable GUID:63"},
      {UINT64_C (5) << 48, "GUID:48,50"},
      {UINT64_MAX, "RequiredPartition NoBlockIOProtocol LegacyBIOSBootable "
                   "GUID:48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *text = im_sfdisk_attributes (cases[i].bits);
    g_assert_cmpstr (text, ==, cases[i].text);
  }
}

static void
test_times_are_utc (void)
{
  g_setenv ("TZ", "Asia/Tokyo", TRUE);
  g_autofree char *text = im_format_time (1700000000);
  g_assert_cmpstr (text, ==, "2023-11-14T22:13:20Z");
}

static void
test_flags (void)
{
  g_autofree const char **none = im_words_of_flags (0);
  g_assert_null (none[0]);
  g_autofree const char **all = im_words_of_flags (~0u);
  g_autofree char *joined = g_strjoinv (" ", (char **)all);
  g_assert_cmpstr (joined, ==, "truncated overlaps past-end bad-range outside");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/report/words/nodes", test_nodes);
  g_test_add_func ("/report/words/attributes", test_attributes);
  g_test_add_func ("/report/words/times-are-utc", test_times_are_utc);
  g_test_add_func ("/report/words/flags", test_flags);
  return g_test_run ();
}
