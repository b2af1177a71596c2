/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text that somebody else chose, made fit to be shown. */
#include "base/text.h"

char *
im_text_line (const char *text, bool quoted)
{
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  GString *line = g_string_new (NULL);
  for (const char *p = valid; *p; p = g_utf8_next_char (p)) {
    gunichar c = g_utf8_get_char (p);
    if (quoted && (c == '"' || c == '\\'))
      g_string_append_printf (line, "\\%c", (char)c);
    else if (im_text_is_hidden (c))
      g_string_append_printf (line, "\\x%02x", c);
    else
      g_string_append_unichar (line, c);
  }
  return g_string_free (line, FALSE);
}
