/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much of each column of a drawing is allocated, by the disk's map. */
#include "base/bytes.h"
#include "report/drawing.h"

/* One look at the map for each column, which is mostly all; a column that has more to
 * tell gets so many further ones, spread over it. */
#define FURTHER_LOOKS 16u
#define EXTENTS       64u

/* People wait.  The first looks may take so long; further ones are cut short sooner. */
#define MAX_US     (3 * G_USEC_PER_SEC)
#define FURTHER_US (G_USEC_PER_SEC / 2)

/* The columns of CELLS, each with its part of the cell's bytes, at least one. */
static void
lay_columns (const GPtrArray *cells, ImColumn *columns)
{
  for (guint i = 0; i < cells->len; i++) {
    const ImCell *cell = cells->pdata[i];
    if (cell->inside) {
      lay_columns (cell->inside, columns);
      continue;
    }
    unsigned n = cell->right - cell->left - 1;
    uint64_t part = cell->size / n, rest = cell->size % n;
    for (unsigned k = 0; k < n; k++) {
      uint64_t begin = part * k + rest * k / n;
      uint64_t end = part * (k + 1) + rest * (k + 1) / n;
      columns[cell->left + 1 + k] =
          (ImColumn){.offset = cell->offset + MIN (begin, cell->size - 1),
                     .length = im_max (end - begin, 1)};
    }
  }
}

/* One look at [AT, AT + LENGTH), for COLUMN. */
static void
look (ImBlock *disk, ImColumn *column, uint64_t at, uint64_t length)
{
  ImExtent extents[EXTENTS];
  size_t n;
  if (!im_block_map (disk, at, length, IM_MAP_ZEROES, extents, EXTENTS, &n, NULL)) {
    column->unreadable = true;
    return;
  }
  for (size_t i = 0; i < n; i++) {
    if (extents[i].unread) {
      column->unreadable = true;
      return;
    }
    column->covered += extents[i].length;
    column->allocated += extents[i].kind == IM_EXTENT_ZERO ? 0 : extents[i].length;
    column->damaged |= extents[i].kind == IM_EXTENT_DAMAGED;
  }
}

/* The piece of COLUMN that is the Kth to be looked at: any number of the first ones is
 * spread over the column evenly. */
static void
look_further (ImBlock *disk, ImColumn *column, unsigned k)
{
  unsigned spread = 0;
  for (unsigned bit = 1; bit < FURTHER_LOOKS; bit *= 2)
    spread = spread * 2 + !!(k & bit);
  uint64_t piece = column->length / FURTHER_LOOKS;
  uint64_t at = piece * spread;
  uint64_t length = spread + 1 == FURTHER_LOOKS ? column->length - at : piece;
  if (length > 0)
    look (disk, column, column->offset + at, length);
}

/* False: it took too long. */
static bool
take_first_looks (const ImDrawing *drawing, ImBlock *disk, ImColumn *columns,
                  gint64 begun)
{
  for (unsigned i = 0; i < drawing->columns; i++) {
    if (columns[i].length == 0)
      continue;
    if (g_get_monotonic_time () - begun > MAX_US)
      return false;
    look (disk, &columns[i], columns[i].offset, columns[i].length);
  }
  return true;
}

static void
take_further_looks (const ImDrawing *drawing, ImBlock *disk, ImColumn *columns,
                    gint64 begun)
{
  g_autofree ImColumn *first = g_memdup2 (columns, drawing->columns * sizeof *columns);
  for (unsigned k = 0; k < FURTHER_LOOKS; k++) {
    for (unsigned i = 0; i < drawing->columns; i++) {
      if (first[i].covered == first[i].length || first[i].unreadable)
        continue;
      if (g_get_monotonic_time () - begun > FURTHER_US)
        return;
      /* The look at its beginning alone would weigh too much beside the spread ones. */
      if (k == 0)
        columns[i].covered = columns[i].allocated = 0;
      look_further (disk, &columns[i], k);
    }
  }
}

void
im_fill_measure (const ImDrawing *drawing, ImBlock *disk, ImFill *ret_fill)
{
  gint64 begun = g_get_monotonic_time ();
  *ret_fill = (ImFill){.columns = g_new0 (ImColumn, drawing->columns)};
  lay_columns (drawing->cells, ret_fill->columns);
  ret_fill->gave_up = !take_first_looks (drawing, disk, ret_fill->columns, begun);
  if (!ret_fill->gave_up)
    take_further_looks (drawing, disk, ret_fill->columns, begun);
}

void
im_fill_clear (ImFill *fill)
{
  g_clear_pointer (&fill->columns, g_free);
}
