/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is shown of text that somebody else chose. */
#include "base/text.h"

static void
test_lines (void)
{
  g_autofree char *plain = im_text_line ("a\"b\\\t\x7f\xc2\x85\xff", false);
  g_assert_cmpstr (plain, ==, "a\"b\\\\x09\\x7f\\x85\xef\xbf\xbd");
  /* A name must not turn the line around, nor hide anything; emoji stay whole. */
  g_autofree char *turned = im_text_line ("a\u202eb\u200b\u2029c\u200dd", false);
  g_assert_cmpstr (turned, ==, "a\\x202eb\\x200b\\x2029c\u200dd");
  g_autofree char *quoted = im_text_line ("a\"\\", true);
  g_assert_cmpstr (quoted, ==, "a\\\"\\\\");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/base/text/lines", test_lines);
  return g_test_run ();
}
