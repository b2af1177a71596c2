/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The complement of the partitions. */
#include "partition/gaps.h"
#include "base/bytes.h"

static gint
compare_offsets (gconstpointer a, gconstpointer b)
{
  const ImPartition *x = *(const ImPartition *const *)a;
  const ImPartition *y = *(const ImPartition *const *)b;
  return (x->offset > y->offset) - (x->offset < y->offset);
}

/* What is handed out, by where it begins; but what stands for the whole disk, as Sun's
 * third slot does, says nothing of what is in use. */
static GPtrArray *
sorted_partitions (const ImPartitionTable *table)
{
  GPtrArray *sorted = g_ptr_array_new ();
  for (guint i = 0; i < table->partitions->len; i++) {
    ImPartition *partition = table->partitions->pdata[i];
    if (partition->number != 0 && partition->size != 0 && !partition->whole)
      g_ptr_array_add (sorted, partition);
  }
  g_ptr_array_sort (sorted, compare_offsets);
  return sorted;
}

static void
add_gap (GArray *gaps, const ImPartitionTable *table, uint64_t from, uint64_t to)
{
  if (from >= to)
    return;
  ImGap gap = {.first_lba = from / table->sector_size,
               .sectors = im_div_up (to - from, table->sector_size),
               .offset = from,
               .size = to - from};
  g_array_append_val (gaps, gap);
}

GArray *
im_partition_gaps (const ImPartitionTable *table)
{
  GArray *gaps = g_array_new (FALSE, FALSE, sizeof (ImGap));
  g_autoptr (GPtrArray) sorted = sorted_partitions (table);
  uint64_t at = 0;
  for (guint i = 0; i < sorted->len; i++) {
    const ImPartition *partition = sorted->pdata[i];
    add_gap (gaps, table, at, partition->offset);
    at = im_max (at, partition->offset + partition->size);
  }
  add_gap (gaps, table, at, table->disk_size);
  return gaps;
}
