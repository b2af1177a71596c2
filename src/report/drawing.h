/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk drawn to scale, in three steps; nobody outside src/report includes it.
 *
 *   drawing-cells.c   the table and a width ──► cells, each with its columns
 *   drawing-fill.c    the disk's map        ──► how full each column is
 *   drawing.c         both                  ──► text
 *
 *   column  0      7                                      46
 *           +------+---------------------------------------+
 *           | p1   | 2 Extended                            |   a header, and
 *           |      +----------+-------------------+--------+
 *           |      | p5       | p6 home           | gap    |   what is inside it
 *           +------+----------+-------------------+--------+
 *
 * Neighbours share a border, which is where the one ends and the other begins. */
#pragma once

#include "base/terminal.h"
#include "partition/partition.h"

/* A partition, a gap, or several that are too small to be drawn apart. */
typedef struct {
  uint64_t offset, size;        /* bytes on the disk, size ≥ 1 */
  const ImPartition *partition; /* NULL: a gap */
  const ImPartition *last;      /* the last of several partitions; NULL: there is one */
  unsigned left, right;         /* columns of its borders, right - left ≥ 2 */
  GPtrArray *inside;            /* of ImCell, what it contains; NULL: it is no header */
} ImCell;

typedef struct {
  GPtrArray *cells;    /* of ImCell, in order; together they have all columns */
  GPtrArray *obscured; /* of ImPartition: what others hide in part or as a whole */
  unsigned columns;    /* borders included */
  unsigned depth;      /* headers above one another; 0: none */
  bool bare;           /* there is no table: the only cell is no gap */
} ImDrawing;

/* Lays out TABLE's disk, of at least one byte, on COLUMNS columns, 16 at the least. */
ImDrawing *im_drawing_new (const ImPartitionTable *table, unsigned columns);
void im_drawing_free (ImDrawing *drawing);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImDrawing, im_drawing_free)

/* What the label of CELL says, the shortest form: "p5", "2", "p5-p60", "gap". */
char *im_cell_label (const ImCell *cell);

/* What is known of one column's part of the disk. */
typedef struct {
  uint64_t offset, length;     /* bytes on the disk; length 0: a border */
  uint64_t covered, allocated; /* of how many the map was read, how many are there */
  bool unreadable;             /* the map cannot be read */
  bool damaged;                /* the map has damage */
} ImColumn;

typedef struct {
  ImColumn *columns; /* as many as the drawing has */
  bool gave_up;      /* it took too long: what is known is too little to be shown */
} ImFill;

/* Asks DISK's map.  The work is bounded by the number of columns and by time. */
void im_fill_measure (const ImDrawing *drawing, ImBlock *disk, ImFill *ret_fill);
void im_fill_clear (ImFill *fill);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (ImFill, im_fill_clear)

/* Paints DRAWING with FILL. */
char *im_drawing_paint (const ImDrawing *drawing, const ImFill *fill,
                        const ImTerminal *terminal);
