/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KEY=VALUE lists. */
#include "base/key-value.h"

#include <string.h>

/* TEXT, and its pairs as "[key|value]", "~" for no value. */
static const char *const cases[][2] = {
    {"", ""},
    {"a=b", "[a|b]"},
    {"a=b,c=d", "[a|b][c|d]"},
    {"secret,id=s,data=x", "[secret|~][id|s][data|x]"},
    {"a=b,,c,d=e", "[a|b,c][d|e]"},
    {"a=,,,,", "[a|,,]"},
    {"a=,,,b=c", "[a|,][b|c]"},
    {"a=b=c", "[a|b=c]"},
    {"a=", "[a|]"},
    {"a", "[a|~]"},
    {"=b", "[|b]"},
    {"a=b,", "[a|b]"},
    {",a=b", "[|~][a|b]"},
};

static void
test_pairs (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GPtrArray) pairs = im_key_values_parse (cases[i][0]);
    g_autoptr (GString) text = g_string_new (NULL);
    for (guint k = 0; k < pairs->len; k++) {
      const ImKeyValue *pair = pairs->pdata[k];
      g_string_append_printf (text, "[%s|%s]", pair->key,
                              pair->value ? pair->value : "~");
    }
    g_assert_cmpstr (text->str, ==, cases[i][1]);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/base/key-value/a-doubled-comma-is-one-in-a-value", test_pairs);
  return g_test_run ();
}
