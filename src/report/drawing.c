/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of a drawing: boxes, what they are, and how full. */
#include "report/drawing.h"
#include "base/bytes.h"
#include "base/parse.h"
#include "base/text.h"
#include "report/report.h"
#include "report/words.h"

#include <stdio.h>

/* Below this there is no room for a drawing, above it nothing to be won. */
#define MIN_COLUMNS 24u
#define MAX_COLUMNS 320u

/* Blanks on both sides, the right one lest the terminal break the line. */
#define INDENT 2u

/* Rows of bars. */
#define BAR_ROWS 2u

/* A note names no more partitions than this. */
#define MAX_NAMED 8u

typedef enum { PLAIN, DIM, ALARM, PALETTE } Colour;

/* SGR parameters; from PALETTE on those that partitions take in turns. */
static const char *const colours[] = {
    [PLAIN] = "0", [DIM] = "2", [ALARM] = "1;31", "36", "33", "32", "35", "34"};
#define PALETTE_SIZE (G_N_ELEMENTS (colours) - PALETTE)

/* One place of the paper. */
typedef struct {
  gunichar c;     /* 0: see lines */
  uint8_t lines;  /* which of its sides a line leads to; 0: blank */
  uint8_t colour; /* a Colour */
  bool covered;   /* the right half of the wide character before it */
} Spot;

enum { UP = 1, DOWN = 2, LEFT = 4, RIGHT = 8 };

typedef struct {
  const ImDrawing *drawing;
  const ImTerminal *terminal;
  const ImFill *fill;
  unsigned columns, rows;
  unsigned bars;  /* the first row of bars */
  unsigned drawn; /* partitions so far, for their colours */
  Spot *spots;
} Paper;

static Spot *
spot_at (Paper *paper, unsigned row, unsigned column)
{
  return &paper->spots[row * paper->columns + column];
}

static void
draw_across (Paper *paper, unsigned row, unsigned left, unsigned right)
{
  for (unsigned x = left; x <= right; x++)
    spot_at (paper, row, x)->lines |=
        (uint8_t)((x > left ? LEFT : 0) | (x < right ? RIGHT : 0));
}

static void
draw_down (Paper *paper, unsigned column, unsigned top, unsigned bottom)
{
  for (unsigned y = top; y <= bottom; y++)
    spot_at (paper, y, column)->lines |=
        (uint8_t)((y > top ? UP : 0) | (y < bottom ? DOWN : 0));
}

/* Columns that C takes on PAPER, and what stands there for it. */
static unsigned
width_of (const Paper *paper, gunichar *c)
{
  if (!paper->terminal->utf8 && *c >= 0x80)
    *c = '?';
  return g_unichar_iszerowidth (*c) ? 0 : g_unichar_iswide (*c) ? 2 : 1;
}

static unsigned
text_width (const Paper *paper, const char *text)
{
  unsigned width = 0;
  for (const char *p = text; *p; p = g_utf8_next_char (p)) {
    gunichar c = g_utf8_get_char (p);
    width += width_of (paper, &c);
  }
  return width;
}

static void
write_text (Paper *paper, unsigned row, unsigned column, const char *text, Colour colour)
{
  for (const char *p = text; *p; p = g_utf8_next_char (p)) {
    gunichar c = g_utf8_get_char (p);
    unsigned width = width_of (paper, &c);
    for (unsigned i = 0; i < width; i++)
      *spot_at (paper, row, column + i) =
          (Spot){.c = c, .colour = (uint8_t)colour, .covered = i > 0};
    column += width;
  }
}

/* Writes the first of TEXTS, NULL-ended, that CELL has room for; a blank before it where
 * there is room for that too. */
static void
write_fitting (Paper *paper, unsigned row, const ImCell *cell, const char *const *texts,
               Colour colour)
{
  unsigned room = cell->right - cell->left - 1;
  for (; *texts; texts++) {
    unsigned width = text_width (paper, *texts);
    if (width > room)
      continue;
    unsigned margin = width + 2 <= room;
    write_text (paper, row, cell->left + 1 + margin, *texts, colour);
    return;
  }
}

/* Label and name, or less of that. */
static void
write_label (Paper *paper, unsigned row, const ImCell *cell, Colour colour)
{
  const ImPartition *p = cell->partition;
  g_autofree char *label =
      paper->drawing->bare ? g_strdup ("disk") : im_cell_label (cell);
  const char *said = p && !cell->last ? p->name : NULL;
  if (cell->inside && !said)
    said = im_partition_type_name (p);
  g_autofree char *name = said && *said ? im_text_line (said, false) : NULL;
  g_autofree char *both = name ? g_strconcat (label, " ", name, NULL) : NULL;
  const char *texts[] = {both ? both : label, label, cell->last ? ".." : NULL, NULL};
  write_fitting (paper, row, cell, texts, colour);
}

/* "12 %"; 0 and 100 are said of nothing else.  NULL: it is not known. */
static char *
format_share (const ImFill *fill, const ImCell *cell)
{
  bool known = !fill->gave_up, exact = true, some = false, all = true;
  double length = 0, allocated = 0;
  for (unsigned x = cell->left + 1; x < cell->right; x++) {
    const ImColumn *c = &fill->columns[x];
    known &= c->covered > 0;
    exact &= c->covered == c->length;
    some |= c->allocated > 0;
    all &= c->allocated == c->covered;
    length += (double)c->length;
    allocated +=
        (double)c->length * (double)c->allocated / (double)im_max (c->covered, 1);
  }
  if (!known)
    return NULL;
  const char *about = exact ? "" : "~";
  if (!some || all)
    return g_strdup_printf ("%s%u %%", about, some ? 100 : 0);
  double percent = allocated / length * 100;
  if (percent < 1)
    return g_strdup ("<1 %");
  return g_strdup_printf ("%s%u %%", about, MIN ((unsigned)(percent + 0.5), 99));
}

static void
write_size (Paper *paper, unsigned row, const ImCell *cell, Colour colour)
{
  g_autofree char *size = im_format_size (cell->size);
  g_autofree char *share = format_share (paper->fill, cell);
  g_autofree char *most =
      share ? g_strconcat (size, ", ", share, " allocated", NULL) : NULL;
  g_autofree char *less = share ? g_strconcat (size, ", ", share, NULL) : NULL;
  const char *texts[] = {most ? most : size, less ? less : size, share, NULL};
  write_fitting (paper, row, cell, texts, colour);
}

/* How high COLUMN's bar is, in FULL steps: only what is empty has none, only what is full
 * all of them. */
static unsigned
bar_height (const ImColumn *column, unsigned full)
{
  if (column->allocated == 0 || column->covered == 0)
    return 0;
  if (column->allocated == column->covered)
    return full;
  double share = (double)column->allocated / (double)column->covered;
  return 1 + (unsigned)(share * (full - 1));
}

static void
draw_bar (Paper *paper, unsigned x, Colour colour)
{
  static const gunichar fine[] = {' ',    0x2581, 0x2582, 0x2583, 0x2584,
                                  0x2585, 0x2586, 0x2587, 0x2588};
  static const gunichar coarse[] = {' ', '.', ':', '#'};
  const gunichar *steps = paper->terminal->utf8 ? fine : coarse;
  unsigned n =
      (unsigned)(paper->terminal->utf8 ? G_N_ELEMENTS (fine) : G_N_ELEMENTS (coarse)) - 1;
  const ImColumn *column = &paper->fill->columns[x];
  unsigned height = bar_height (column, n * BAR_ROWS);
  for (unsigned row = BAR_ROWS; row-- > 0;) {
    unsigned step = MIN (height, n);
    *spot_at (paper, paper->bars + row, x) =
        (Spot){.c = steps[step], .colour = (uint8_t)colour};
    height -= step;
  }
  if (column->unreadable || column->damaged)
    *spot_at (paper, paper->bars + BAR_ROWS - 1, x) =
        (Spot){.c = column->unreadable ? '?' : '!', .colour = ALARM};
}

/* CELLS from row TOP, their upper border, down. */
static void
draw_cells (Paper *paper, const GPtrArray *cells, unsigned top)
{
  for (guint i = 0; i < cells->len; i++) {
    const ImCell *cell = cells->pdata[i];
    Colour colour = !cell->partition || cell->inside
                        ? DIM
                        : (Colour)(PALETTE + paper->drawn++ % PALETTE_SIZE);
    draw_across (paper, top, cell->left, cell->right);
    draw_down (paper, cell->left, top, paper->rows - 1);
    draw_down (paper, cell->right, top, paper->rows - 1);
    draw_across (paper, paper->rows - 1, cell->left, cell->right);
    write_label (paper, top + 1, cell, cell->inside ? PLAIN : colour);
    if (cell->inside) {
      draw_cells (paper, cell->inside, top + 2);
      continue;
    }
    write_size (paper, top + 2, cell, DIM);
    for (unsigned x = cell->left + 1; x < cell->right && !paper->fill->gave_up; x++)
      draw_bar (paper, x, colour);
  }
}

static gunichar
line_of (const Paper *paper, uint8_t lines)
{
  static const gunichar boxes[] = {[UP | DOWN] = 0x2502,
                                   [LEFT | RIGHT] = 0x2500,
                                   [DOWN | RIGHT] = 0x250c,
                                   [DOWN | LEFT] = 0x2510,
                                   [UP | RIGHT] = 0x2514,
                                   [UP | LEFT] = 0x2518,
                                   [UP | DOWN | RIGHT] = 0x251c,
                                   [UP | DOWN | LEFT] = 0x2524,
                                   [DOWN | LEFT | RIGHT] = 0x252c,
                                   [UP | LEFT | RIGHT] = 0x2534,
                                   [UP | DOWN | LEFT | RIGHT] = 0x253c};
  if (lines == 0)
    return ' ';
  if (paper->terminal->utf8)
    return boxes[lines];
  return lines == (UP | DOWN) ? '|' : lines == (LEFT | RIGHT) ? '-' : '+';
}

static void
append_colour (GString *text, const Paper *paper, Colour *current, Colour colour)
{
  if (!paper->terminal->colours || *current == colour)
    return;
  /* Faint stays until it is reset. */
  g_string_append_printf (text, "\033[%s%sm",
                          *current == PLAIN || colour == PLAIN ? "" : "0;",
                          colours[colour]);
  *current = colour;
}

static void
append_row (GString *text, Paper *paper, unsigned row)
{
  Colour current = PLAIN;
  unsigned n = paper->columns;
  while (n > 0 && spot_at (paper, row, n - 1)->c == ' ')
    n--;
  g_string_append_printf (text, "%*s", (int)INDENT, "");
  for (unsigned x = 0; x < n; x++) {
    const Spot *spot = spot_at (paper, row, x);
    if (spot->covered)
      continue;
    gunichar c = spot->c ? spot->c : line_of (paper, spot->lines);
    if (c != ' ')
      append_colour (text, paper, &current, spot->c ? (Colour)spot->colour : DIM);
    g_string_append_unichar (text, c);
  }
  append_colour (text, paper, &current, PLAIN);
  g_string_append_c (text, '\n');
}

/* "p2, p7 and 3 more". */
static void
append_numbers (GString *text, const GPtrArray *partitions)
{
  for (guint i = 0; i < partitions->len && i < MAX_NAMED; i++) {
    const ImPartition *p = partitions->pdata[i];
    g_string_append_printf (text, "%s%s%u", i ? ", " : "", p->size ? "p" : "", p->number);
  }
  if (partitions->len > MAX_NAMED)
    g_string_append_printf (text, " and %u more", partitions->len - MAX_NAMED);
}

static void
append_notes (GString *text, const ImDrawing *drawing, const ImFill *fill)
{
  bool estimated = false, unreadable = false, damaged = false;
  for (unsigned x = 0; x < drawing->columns; x++) {
    estimated |= fill->columns[x].covered < fill->columns[x].length;
    unreadable |= fill->columns[x].unreadable;
    damaged |= fill->columns[x].damaged;
  }
  if (drawing->obscured->len > 0) {
    g_string_append (text, "  ");
    append_numbers (text, drawing->obscured);
    g_string_append (text, ": drawn only where no other partition is\n");
  }
  if (fill->gave_up)
    g_string_append (text, "  what is allocated is not shown: reading the image's map "
                           "takes too long\n");
  else if (estimated && !unreadable)
    g_string_append (text, "  estimated: the image's map was read in part\n");
  if (unreadable)
    g_string_append (text, "  ?: the image's map cannot be read there\n");
  if (damaged)
    g_string_append (text, "  !: the image's map is damaged there\n");
}

char *
im_drawing_paint (const ImDrawing *drawing, const ImFill *fill,
                  const ImTerminal *terminal)
{
  unsigned bars = 3 + 2 * drawing->depth;
  Paper paper = {.drawing = drawing,
                 .terminal = terminal,
                 .fill = fill,
                 .columns = drawing->columns,
                 .rows = bars + BAR_ROWS + 1,
                 .bars = bars};
  paper.spots = g_new0 (Spot, (size_t)paper.rows * paper.columns);
  draw_cells (&paper, drawing->cells, 0);
  GString *text = g_string_new (NULL);
  for (unsigned row = 0; row < paper.rows; row++)
    append_row (text, &paper, row);
  append_notes (text, drawing, fill);
  g_free (paper.spots);
  return g_string_free (text, FALSE);
}

char *
im_report_drawing (ImBlock *disk, const ImPartitionTable *table,
                   const ImTerminal *terminal)
{
  if (terminal->columns < MIN_COLUMNS || table->disk_size == 0)
    return g_strdup ("");
  unsigned columns = MIN (terminal->columns, MAX_COLUMNS) - 2 * INDENT;
  g_autoptr (ImDrawing) drawing = im_drawing_new (table, columns);
  g_auto (ImFill) fill = {0};
  im_fill_measure (drawing, disk, &fill);
  return im_drawing_paint (drawing, &fill, terminal);
}
