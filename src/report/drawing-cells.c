/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which cells a drawing has, and which columns each of them. */
#include "base/bytes.h"
#include "report/drawing.h"

#include <math.h>

/* The narrowest cell: a border and a column. */
#define NARROWEST 2u

/* Where there are too many for that, neighbours become one that has room to say which. */
#define MERGED 12u

/* While a drawing is made. */
typedef struct {
  const ImPartitionTable *table;
  GHashTable *parents;  /* partition → the one that it is drawn in */
  GHashTable *contains; /* the partitions that others are drawn in */
  GHashTable *whole;    /* the partitions that nothing hides */
} Maker;

static void
cell_free (void *data)
{
  ImCell *cell = data;
  if (cell && cell->inside)
    g_ptr_array_unref (cell->inside);
  g_free (cell);
}

char *
im_cell_label (const ImCell *cell)
{
  const ImPartition *p = cell->partition;
  if (!p)
    return g_strdup ("gap");
  if (cell->last)
    return g_strdup_printf ("p%u-p%u", p->number, cell->last->number);
  return g_strdup_printf ("%s%u", p->size ? "p" : "", p->number);
}

/* Where P is to be drawn; false: nowhere.  What stands for the whole disk would hide all
 * else. */
static bool
find_range (const ImPartitionTable *table, const ImPartition *p, uint64_t *ret_offset,
            uint64_t *ret_size)
{
  uint64_t sectors = 0;
  if (p->whole || p->number == 0)
    return false;
  if (p->container && p->first_lba < table->disk_sectors)
    sectors = im_min (p->sectors, table->disk_sectors - p->first_lba);
  *ret_offset = p->offset;
  *ret_size = p->size ? p->size : sectors * table->sector_size;
  return *ret_size > 0;
}

/* Which of OUTER, the partitions of the outer table, P lies in; NULL: none. */
static ImPartition *
find_parent (const GPtrArray *outer, const ImPartition *p)
{
  for (guint i = 0; i < outer->len; i++) {
    ImPartition *q = outer->pdata[i];
    if (p->inside ? q->number == p->inside
                  : q->container && p->first_lba >= q->first_lba &&
                        p->first_lba - q->first_lba < q->sectors)
      return q;
  }
  return NULL;
}

static gint
compare_places (gconstpointer a, gconstpointer b)
{
  const ImCell *x = *(const ImCell *const *)a, *y = *(const ImCell *const *)b;
  if (x->offset != y->offset)
    return x->offset < y->offset ? -1 : 1;
  return (x->size < y->size) - (x->size > y->size);
}

/* A cell for each partition that PARENT contains, as large as the partition. */
static GPtrArray *
find_cells (const Maker *maker, const ImPartition *parent)
{
  GPtrArray *cells = g_ptr_array_new_with_free_func (cell_free);
  for (guint i = 0; i < maker->table->partitions->len; i++) {
    const ImPartition *p = maker->table->partitions->pdata[i];
    ImCell cell = {.partition = p};
    if (g_hash_table_lookup (maker->parents, p) == parent &&
        find_range (maker->table, p, &cell.offset, &cell.size))
      g_ptr_array_add (cells, g_memdup2 (&cell, sizeof cell));
  }
  g_ptr_array_sort (cells, compare_places);
  return cells;
}

static void
add_gap (GPtrArray *cells, uint64_t from, uint64_t to)
{
  ImCell gap = {.offset = from, .size = to - from};
  if (from < to)
    g_ptr_array_add (cells, g_memdup2 (&gap, sizeof gap));
}

/* What lies between FROM and TO in PARENT, gaps included: where two overlap, the one that
 * begins first has the place. */
static GPtrArray *
make_cells (const Maker *maker, const ImPartition *parent, uint64_t from, uint64_t to)
{
  GPtrArray *cells = g_ptr_array_new_with_free_func (cell_free);
  g_autoptr (GPtrArray) found = find_cells (maker, parent);
  uint64_t at = from;
  for (guint i = 0; i < found->len; i++) {
    const ImCell *all = found->pdata[i];
    uint64_t begin = CLAMP (all->offset, at, to);
    uint64_t end = CLAMP (all->offset + all->size, begin, to);
    if (begin == end)
      continue;
    add_gap (cells, at, begin);
    ImCell *cell = g_memdup2 (all, sizeof *all);
    cell->offset = begin;
    cell->size = end - begin;
    if (cell->size == all->size)
      g_hash_table_add (maker->whole, (void *)cell->partition);
    if (cell->partition->container ||
        g_hash_table_contains (maker->contains, cell->partition))
      cell->inside = make_cells (maker, cell->partition, begin, end);
    g_ptr_array_add (cells, cell);
    at = end;
  }
  add_gap (cells, at, to);
  return cells;
}

/* Columns that CELL is given where there is room: its label fits. */
static unsigned
wished_width (const ImCell *cell)
{
  g_autofree char *label = im_cell_label (cell);
  unsigned width = cell->partition ? (unsigned)strlen (label) + 1 : NARROWEST, sum = 0;
  for (guint i = 0; cell->inside && i < cell->inside->len; i++)
    sum += wished_width (cell->inside->pdata[i]);
  return MAX (width, sum);
}

static double
sum_of_sizes (const GPtrArray *cells)
{
  double sum = 0;
  for (guint i = 0; i < cells->len; i++)
    sum += (double)((const ImCell *)cells->pdata[i])->size;
  return sum;
}

/* Gaps of less than a column's size would only take columns from partitions. */
static void
drop_small_gaps (GPtrArray *cells, unsigned span)
{
  double column = sum_of_sizes (cells) / span;
  for (guint i = cells->len; i-- > 0 && cells->len > 1;) {
    const ImCell *cell = cells->pdata[i];
    if (!cell->partition && (double)cell->size < 1.5 * column)
      g_ptr_array_remove_index (cells, i);
  }
}

/* Sets each cell's group, counted from 0: small neighbours that begin in the same of
 * PARTS parts of CELLS have one group.  How many there are. */
static unsigned
number_groups (const GPtrArray *cells, unsigned parts, unsigned *ret_numbers)
{
  const ImCell *first = cells->pdata[0], *end = cells->pdata[cells->len - 1];
  double part = (double)(end->offset + end->size - first->offset) / parts;
  double current = -1;
  unsigned groups = 0;
  for (guint i = 0; i < cells->len; i++) {
    const ImCell *cell = cells->pdata[i];
    bool small = (double)cell->size < part && !cell->inside;
    double begins = small ? floor ((double)(cell->offset - first->offset) / part) : -1;
    if (!small || begins != current)
      groups++;
    current = begins;
    ret_numbers[i] = groups - 1;
  }
  return groups;
}

/* Makes one cell of each group. */
static void
merge_groups (GPtrArray *cells, const unsigned *numbers)
{
  guint kept = 0;
  for (guint i = 1; i < cells->len; i++) {
    ImCell *cell = cells->pdata[i], *into = cells->pdata[kept];
    cells->pdata[i] = NULL;
    if (numbers[i] != numbers[i - 1]) {
      cells->pdata[++kept] = cell;
      continue;
    }
    into->size = cell->offset + cell->size - into->offset;
    if (cell->partition)
      *(into->partition ? &into->last : &into->partition) = cell->partition;
    cell_free (cell);
  }
  g_ptr_array_set_size (cells, (gint)kept + 1);
}

/* Merges no more than is needed for SPAN columns to do. */
static void
merge_cells (GPtrArray *cells, unsigned span)
{
  if (cells->len <= span / NARROWEST)
    return;
  unsigned parts = MAX (span / MERGED, 1);
  g_autofree unsigned *numbers = g_new (unsigned, cells->len);
  while (number_groups (cells, parts, numbers) > span / NARROWEST && parts > 1)
    parts--;
  merge_groups (cells, numbers);
  g_ptr_array_set_size (cells, (gint)MIN (cells->len, span / NARROWEST));
}

/* Gives each of CELLS its share of SPAN columns, and at least FLOORS. */
static void
share_columns (const GPtrArray *cells, unsigned span, const unsigned *floors,
               unsigned *ret_widths)
{
  double sizes = sum_of_sizes (cells);
  unsigned columns = span;
  memset (ret_widths, 0, cells->len * sizeof *ret_widths);
  for (bool again = true; again;) {
    double column = sizes / columns;
    again = false;
    for (guint i = 0; i < cells->len; i++) {
      double size = (double)((const ImCell *)cells->pdata[i])->size;
      if (ret_widths[i] > 0 || size >= floors[i] * column)
        continue;
      ret_widths[i] = floors[i];
      sizes -= size;
      columns -= MIN (columns, floors[i]);
      again = columns > 0 && sizes > 0;
    }
  }
  double size = 0, column = columns ? sizes / columns : 1;
  unsigned given = 0;
  for (guint i = 0; i < cells->len; i++) {
    if (ret_widths[i] > 0)
      continue;
    size += (double)((const ImCell *)cells->pdata[i])->size;
    unsigned ends = (unsigned)lround (MIN (size / column, span));
    ret_widths[i] = MAX (ends, given + NARROWEST) - given;
    given += ret_widths[i];
  }
}

/* Spreads CELLS, and what is in them, over the columns from border LEFT to RIGHT. */
static void
spread (GPtrArray *cells, unsigned left, unsigned right)
{
  unsigned span = right - left, wishes = 0;
  drop_small_gaps (cells, span);
  merge_cells (cells, span);
  g_autofree unsigned *floors = g_new (unsigned, cells->len);
  g_autofree unsigned *widths = g_new (unsigned, cells->len);
  for (guint i = 0; i < cells->len; i++)
    wishes += floors[i] = wished_width (cells->pdata[i]);
  for (guint i = 0; wishes > span / 3 * 2 && i < cells->len; i++)
    floors[i] = NARROWEST;
  share_columns (cells, span, floors, widths);
  for (guint i = 0; i < cells->len; i++) {
    ImCell *cell = cells->pdata[i];
    cell->left = left;
    left = MIN (left + widths[i], right);
    cell->right = i + 1 == cells->len ? right : left;
    if (cell->inside)
      spread (cell->inside, cell->left, cell->right);
  }
}

static unsigned
depth_of (const GPtrArray *cells)
{
  unsigned depth = 0;
  for (guint i = 0; i < cells->len; i++) {
    const ImCell *cell = cells->pdata[i];
    if (cell->inside)
      depth = MAX (depth, 1 + depth_of (cell->inside));
  }
  return depth;
}

static GPtrArray *
find_obscured (const Maker *maker)
{
  GPtrArray *obscured = g_ptr_array_new ();
  uint64_t offset, size;
  for (guint i = 0; i < maker->table->partitions->len; i++) {
    ImPartition *p = maker->table->partitions->pdata[i];
    if (find_range (maker->table, p, &offset, &size) &&
        !g_hash_table_contains (maker->whole, p))
      g_ptr_array_add (obscured, p);
  }
  return obscured;
}

/* A table that nests has but a few outer partitions. */
static void
find_parents (const Maker *maker)
{
  g_autoptr (GPtrArray) outer = g_ptr_array_new ();
  for (guint i = 0; i < maker->table->partitions->len; i++) {
    ImPartition *p = maker->table->partitions->pdata[i];
    if (p->level == 0)
      g_ptr_array_add (outer, p);
  }
  for (guint i = 0; i < maker->table->partitions->len; i++) {
    ImPartition *p = maker->table->partitions->pdata[i];
    ImPartition *parent = p->level > 0 ? find_parent (outer, p) : NULL;
    if (parent) {
      g_hash_table_insert (maker->parents, p, parent);
      g_hash_table_add (maker->contains, parent);
    }
  }
}

ImDrawing *
im_drawing_new (const ImPartitionTable *table, unsigned columns)
{
  g_autoptr (GHashTable) parents = g_hash_table_new (NULL, NULL);
  g_autoptr (GHashTable) contains = g_hash_table_new (NULL, NULL);
  g_autoptr (GHashTable) whole = g_hash_table_new (NULL, NULL);
  Maker maker = {table, parents, contains, whole};
  find_parents (&maker);
  ImDrawing *drawing = g_new0 (ImDrawing, 1);
  drawing->columns = columns;
  drawing->bare = table->kind == IM_TABLE_NONE;
  drawing->cells = make_cells (&maker, NULL, 0, table->disk_size);
  drawing->obscured = find_obscured (&maker);
  drawing->depth = depth_of (drawing->cells);
  spread (drawing->cells, 0, columns - 1);
  return drawing;
}

void
im_drawing_free (ImDrawing *drawing)
{
  if (!drawing)
    return;
  g_ptr_array_unref (drawing->cells);
  g_ptr_array_unref (drawing->obscured);
  g_free (drawing);
}
