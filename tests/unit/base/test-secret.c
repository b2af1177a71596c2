/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Secrets from files and from base64. */
#include "base/error.h"
#include "base/secret.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

static void
test_file (void)
{
  static const size_t sizes[] = {0, 1, 12, 4095, 4096, 4097, 8192, 100000};
  g_autofree char *path = NULL;
  close (g_file_open_tmp ("imgmount-secret-XXXXXX", &path, NULL));
  for (size_t i = 0; i < G_N_ELEMENTS (sizes); i++) {
    g_autoptr (GError) error = NULL;
    g_autofree char *bytes = g_malloc0 (sizes[i] + 1);
    for (size_t k = 0; k < sizes[i]; k++)
      bytes[k] = (char)(k % 251 - 3);
    g_file_set_contents (path, bytes, (gssize)sizes[i], NULL);
    g_autoptr (ImSecret) secret = im_secret_read_file (path, &error);
    g_assert_no_error (error);
    g_assert_cmpmem (secret->bytes, secret->length, bytes, sizes[i]);
    g_assert_cmpuint (secret->bytes[secret->length], ==, 0);
  }
  g_unlink (path);
}

static void
test_file_refused (void)
{
  g_autoptr (GError) endless = NULL, absent = NULL;
  g_assert_null (im_secret_read_file ("/dev/zero", &endless));
  g_assert_error (endless, IM_ERROR, IM_ERROR_LIMIT);
  g_assert_null (im_secret_read_file ("/nonexistent", &absent));
  g_assert_true (absent->domain == IM_ERRNO);
}

static void
test_base64 (void)
{
  static const struct {
    const char *text, *plain; /* NULL: refused */
  } cases[] = {
      {"", ""},        {"YQ==", "a"},        {"YWI=", "ab"},
      {"YWJj", "abc"}, {"YW Jj\n", "abc"},   {"YWJjZA==\n", "abcd"},
      {"YWJ", NULL},   {"pass word?", NULL}, {"YW-j", NULL},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (ImSecret) coded = im_secret_new (cases[i].text, strlen (cases[i].text));
    g_autoptr (ImSecret) plain = im_secret_decode_base64 (coded, &error);
    g_assert_true ((plain == NULL) == (cases[i].plain == NULL));
    if (plain)
      g_assert_cmpmem (plain->bytes, plain->length, cases[i].plain,
                       strlen (cases[i].plain));
    else
      g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/base/secret/a-file-counts-to-its-last-byte", test_file);
  g_test_add_func ("/base/secret/an-endless-file-is-refused", test_file_refused);
  g_test_add_func ("/base/secret/base64", test_base64);
  return g_test_run ();
}
