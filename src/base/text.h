/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What of a text from an image may be shown to people as it is. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* True for what would act on a terminal or in a line rather than stand there: control
 * characters, ends of lines and paragraphs, and what is invisible, such as the marks that
 * turn the direction of writing.  The joiners are parts of words and of emoji. */
static inline bool
im_text_is_hidden (gunichar c)
{
  if (c == 0x200c || c == 0x200d)
    return false;
  switch (g_unichar_type (c)) {
  case G_UNICODE_CONTROL:
  case G_UNICODE_FORMAT:
  case G_UNICODE_LINE_SEPARATOR:
  case G_UNICODE_PARAGRAPH_SEPARATOR:
    return true;
  default:
    return false;
  }
}

/* TEXT as part of one line of valid UTF-8: hidden characters escaped, and what QUOTED
 * text needs besides.  Caller frees. */
char *im_text_line (const char *text, bool quoted);
