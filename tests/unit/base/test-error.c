/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What clients are told for each kind of error. */
#include "base/error.h"

#include <errno.h>

static void
test_errno_is_kept (void)
{
  g_autoptr (GError) error = NULL;
  im_set_errno (&error, ENOSPC, "cannot write %d bytes", 5);
  g_assert_error (error, IM_ERRNO, ENOSPC);
  g_assert_cmpstr (error->message, ==, "cannot write 5 bytes: No space left on device");
  g_assert_cmpint (im_error_to_errno (error), ==, ENOSPC);
}

static void
test_codes_map_to_errno (void)
{
  static const struct {
    ImError code;
    int expected;
  } cases[] = {
      {IM_ERROR_CORRUPT, EIO},  {IM_ERROR_UNSUPPORTED, ENOTSUP}, {IM_ERROR_LIMIT, ENOMEM},
      {IM_ERROR_RANGE, EINVAL}, {IM_ERROR_NOT_FOUND, ENOENT},    {IM_ERROR_LOCKED, EBUSY},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = g_error_new_literal (IM_ERROR, cases[i].code, "x");
    g_assert_cmpint (im_error_to_errno (error), ==, cases[i].expected);
  }
}

static void
test_foreign_domain_is_eio (void)
{
  g_autoptr (GError) error = g_error_new_literal (G_FILE_ERROR, G_FILE_ERROR_PERM, "x");
  g_assert_cmpint (im_error_to_errno (error), ==, EIO);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/base/error/errno-is-kept", test_errno_is_kept);
  g_test_add_func ("/base/error/codes-map-to-errno", test_codes_map_to_errno);
  g_test_add_func ("/base/error/foreign-domain-is-eio", test_foreign_domain_is_eio);
  return g_test_run ();
}
