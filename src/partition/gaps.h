/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What of a disk lies in no partition: unallocated space, and the tables themselves. */
#pragma once

#include "partition/partition.h"

typedef struct {
  uint64_t first_lba;    /* sectors of the table's size */
  uint64_t sectors;      /* a partial last sector of the disk counts as one */
  uint64_t offset, size; /* bytes on the disk */
} ImGap;

/* All gaps of TABLE's disk, in order; together with what its partitions hand out, those
 * for the whole disk aside, they cover the disk, once where those do not overlap.  A
 * GArray of ImGap; caller frees. */
GArray *im_partition_gaps (const ImPartitionTable *table);
