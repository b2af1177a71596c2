/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of who may connect: what they say, and what is no list. */
#include "base/error.h"
#include "nbd/nbd-authz.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

/* The list that TEXT of LENGTH bytes in a file is. */
static ImNbdAuthz *
read_list (const char *text, gssize length, GError **error)
{
  g_autofree char *path = NULL;
  int fd = g_file_open_tmp ("imgmount-list-XXXXXX", &path, NULL);
  g_assert_cmpint (fd, >=, 0);
  close (fd);
  g_assert_true (g_file_set_contents (path, text, length, NULL));
  ImNbdAuthz *authz = im_nbd_authz_read (AT_FDCWD, path, error);
  g_unlink (path);
  return authz;
}

static void
test_rules (void)
{
  static const char text[] =
      "{\"rules\": [{\"policy\": \"deny\", \"match\": \"CN=one\"},\n"
      "  {\"format\": \"glob\", \"match\": \"C=GB*\", \"policy\": \"allow\"},\n"
      "  {\"format\": \"exact\", \"match\": \"C\\u0044=*\", \"policy\": \"allow\"}]}\n";
  g_autoptr (GError) error = NULL;
  g_autoptr (ImNbdAuthz) authz = read_list (text, -1, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (authz->rules->len, ==, 3);
  g_assert_false (im_nbd_authz_allows (authz, "CN=one", NULL));
  g_assert_true (im_nbd_authz_allows (authz, "C=GB,CN=two", NULL));
  g_assert_true (im_nbd_authz_allows (authz, "CD=*", NULL));
  g_assert_false (im_nbd_authz_allows (authz, "CD=x", NULL));
}

static void
test_policy (void)
{
  static const char *const allow[] = {"{\"policy\": \"allow\"}",
                                      " {\"policy\":\"allow\",\"rules\":[]}\n\n"};
  for (size_t i = 0; i < G_N_ELEMENTS (allow); i++) {
    g_autoptr (ImNbdAuthz) authz = read_list (allow[i], -1, NULL);
    g_assert_true (im_nbd_authz_allows (authz, "anyone", NULL));
  }
  g_autoptr (ImNbdAuthz) empty = read_list ("{}", -1, NULL);
  g_assert_false (im_nbd_authz_allows (empty, "anyone", NULL));
}

#define RULE(members) "{\"rules\": [{" members "}]}"

/* LENGTH 0: that of the text. */
static const struct {
  const char *text;
  gssize length;
  const char *why;
} refused[] = {
    {"", 0, "line 1, column 0: "},
    {"[]", 0, "no JSON object"},
    {"{\"policy\": \"allow\"", 0, "line 1, column 18: '}' expected"},
    {"{\"policy\": \"allow\"} {}", 0, "line 1, column 21: end of file expected"},
    {"{}\0", 3, "line 1, column 3: "},
    {"{\"policy\":\n \"allow\",\n \"policy\": \"allow\"}", 0,
     "line 3, column 9: duplicate object key"},
    {"{\"rules\": [], \"rules\": []}", 0, "line 1, column 21: duplicate object key"},
    {RULE ("\"match\": \"a\", \"policy\": \"deny\", \"policy\": \"allow\""), 0,
     "line 1, column 52: duplicate object key"},
    /* A name cut there would match others. */
    {RULE ("\"match\": \"a\\u0000b\", \"policy\": \"allow\""), 0, "line 1, column "},
    {RULE ("\"match\": \"a\xff\", \"policy\": \"allow\""), 0, "line 1, column "},
    {RULE ("\"match\": [\"a\"], \"policy\": \"allow\""), 0, "rules[0]: what a rule says"},
    {RULE ("\"match\": \"a\""), 0, "rules[0]: match or policy is missing"},
    {RULE ("\"policy\": \"allow\""), 0, "rules[0]: match or policy is missing"},
};

static void
test_refused (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (refused); i++) {
    g_autoptr (GError) error = NULL;
    gssize length = refused[i].length ? refused[i].length : -1;
    g_assert_null (read_list (refused[i].text, length, &error));
    g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
    if (!strstr (error->message, refused[i].why) || strchr (error->message, '\n'))
      g_error ("\"%s\" does not say \"%s\" in one line", error->message, refused[i].why);
  }
}

static void
test_too_deep (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GString) text = g_string_new ("{\"rules\": ");
  for (int i = 0; i < 1000000; i++)
    g_string_append_c (text, '[');
  g_assert_null (read_list (text->str, -1, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
  g_assert_nonnull (strstr (error->message, "depth"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/nbd/authz-file/rules-are-what-the-file-says", test_rules);
  g_test_add_func ("/nbd/authz-file/policy-is-for-all-others", test_policy);
  g_test_add_func ("/nbd/authz-file/what-is-no-list-is-refused", test_refused);
  g_test_add_func ("/nbd/authz-file/too-deep-is-refused", test_too_deep);
  return g_test_run ();
}
