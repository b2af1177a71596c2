/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --status for people. */
#include "report/report.h"
#include "report/words.h"

enum { WHERE, ACCESS, PID, IMAGE, COLUMNS };

static const char *const titles[COLUMNS] = {"where", "access", "pid", "image"};

typedef struct {
  char *cells[COLUMNS]; /* of one line each */
  const char *remark;   /* a word, or NULL */
} Row;

static void
row_free (void *data)
{
  Row *row = data;
  for (int i = 0; i < COLUMNS; i++)
    g_free (row->cells[i]);
  g_free (row);
}

static void
add_titles (GPtrArray *rows)
{
  Row *row = g_new0 (Row, 1);
  for (int i = 0; i < COLUMNS; i++)
    row->cells[i] = g_strdup (titles[i]);
  g_ptr_array_add (rows, row);
}

static void
add_rows (GPtrArray *rows, const GPtrArray *list)
{
  for (guint i = 0; i < list->len; i++) {
    const ImServed *served = list->pdata[i];
    Row *row = g_new0 (Row, 1);
    row->cells[WHERE] = im_format_line (served->where, false);
    row->cells[ACCESS] = g_strdup (served->read_only ? "ro" : "rw");
    row->cells[PID] =
        served->pid ? g_strdup_printf ("%d", (int)served->pid) : g_strdup ("-");
    row->cells[IMAGE] = im_format_line (served->image ? served->image : "-", false);
    if (served->state != IM_SERVED)
      row->remark = im_word_of_state (served->state);
    g_ptr_array_add (rows, row);
  }
}

/* Padded by characters; the last column is not. */
static void
append_row (GString *text, const Row *row, const long widths[COLUMNS])
{
  for (int i = 0; i < IMAGE; i++) {
    long pad = widths[i] - g_utf8_strlen (row->cells[i], -1);
    g_string_append_printf (text, "%s%*s  ", row->cells[i], (int)pad, "");
  }
  g_string_append (text, row->cells[IMAGE]);
  if (row->remark)
    g_string_append_printf (text, "  [%s]", row->remark);
  g_string_append_c (text, '\n');
}

char *
im_report_status (const GPtrArray *mounts, const GPtrArray *devices)
{
  GString *text = g_string_new (NULL);
  g_autoptr (GPtrArray) rows = g_ptr_array_new_with_free_func (row_free);
  long widths[COLUMNS] = {0};
  add_titles (rows);
  add_rows (rows, mounts);
  add_rows (rows, devices);
  for (guint i = 0; i < rows->len; i++)
    for (int c = 0; c < COLUMNS; c++)
      widths[c] = MAX (widths[c], g_utf8_strlen (((Row *)rows->pdata[i])->cells[c], -1));
  for (guint i = 0; rows->len > 1 && i < rows->len; i++)
    append_row (text, rows->pdata[i], widths);
  return g_string_free (text, FALSE);
}
