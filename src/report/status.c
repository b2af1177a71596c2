/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --status for people. */
#include "base/text.h"
#include "report/report.h"
#include "report/words.h"

enum { WHERE, ACCESS, PID, IMAGE, COLUMNS };

static const char *const titles[COLUMNS + 1] = {"where", "access", "pid", "image", NULL};

/* The image, and in brackets what is remarkable. */
static char *
format_image (const ImServed *served)
{
  char *image = im_text_line (served->image ? served->image : "-", false);
  if (served->state == IM_SERVED)
    return image;
  g_autofree char *bare = image;
  return g_strdup_printf ("%s  [%s]", bare, im_word_of_state (served->state));
}

static void
add_rows (GPtrArray *rows, const GPtrArray *list)
{
  for (guint i = 0; i < list->len; i++) {
    const ImServed *served = list->pdata[i];
    char **row = g_new0 (char *, COLUMNS + 1);
    row[WHERE] = im_text_line (served->where, false);
    row[ACCESS] = g_strdup (served->read_only ? "ro" : "rw");
    row[PID] = served->pid ? g_strdup_printf ("%d", (int)served->pid) : g_strdup ("-");
    row[IMAGE] = format_image (served);
    g_ptr_array_add (rows, row);
  }
}

/* Padded by characters; the last column is not. */
static void
append_row (GString *text, char *const *row, const long widths[COLUMNS])
{
  for (int i = 0; i < IMAGE; i++) {
    long pad = widths[i] - g_utf8_strlen (row[i], -1);
    g_string_append_printf (text, "%s%*s  ", row[i], (int)pad, "");
  }
  g_string_append_printf (text, "%s\n", row[IMAGE]);
}

char *
im_report_status (const GPtrArray *mounts, const GPtrArray *devices)
{
  GString *text = g_string_new (NULL);
  g_autoptr (GPtrArray) rows =
      g_ptr_array_new_with_free_func ((GDestroyNotify)g_strfreev);
  long widths[COLUMNS] = {0};
  g_ptr_array_add (rows, g_strdupv ((char **)titles));
  add_rows (rows, mounts);
  add_rows (rows, devices);
  for (guint i = 0; i < rows->len; i++)
    for (int c = 0; c < COLUMNS; c++)
      widths[c] = MAX (widths[c], g_utf8_strlen (((char **)rows->pdata[i])[c], -1));
  for (guint i = 0; rows->len > 1 && i < rows->len; i++)
    append_row (text, rows->pdata[i], widths);
  return g_string_free (text, FALSE);
}
