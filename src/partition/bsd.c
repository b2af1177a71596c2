/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BSD disklabels in an MBR's slices: sector 1 of the slice, little-endian.
 *
 *   0       4         132     136   138     140         148         148 + 16 n
 *   +-------+---------+-------+-----+-------+-----------+-----------+
 *   | magic | …       | magic | sum | slots | sizes     | slots     |
 *   +-------+---------+-------+-----+-------+-----------+-----------+
 *
 *   a slot:  0 sectors   4 first   8 fragment   12 type   13 …
 *
 * First sectors count from the disk's beginning, in FreeBSD's labels also from the
 * slice's: then the third slot, which is the whole slice, begins at 0.  The rules are the
 * Linux kernel's, since its numbers are ours. */
#include "base/bytes.h"
#include "partition/scheme.h"

#define MAGIC     0x82564557u
#define SLOTS_AT  148u
#define SLOT_SIZE 16u
#define SLOTS_MAX 16u
#define WHOLE     2u

static const char *const types[] = {
    "Unused",  "BSD swap",       "Version 6", "Version 7", "System V",
    "4.1BSD",  "Eighth edition", "4.2BSD",    "MS-DOS",    "4.4LFS",
    "Unknown", "HPFS",           "ISO 9660",  "Boot",      "Vinum",
    "RAID",    "File system 16", "Ext2",      "NTFS",
};

typedef struct {
  uint32_t sectors, first;
  uint8_t type;
} Slot;

static Slot
slot_of (const uint8_t *label, unsigned i)
{
  const uint8_t *p = label + SLOTS_AT + i * SLOT_SIZE;
  return (Slot){.sectors = im_get_le32 (p), .first = im_get_le32 (p + 4), .type = p[12]};
}

static bool
counts_from_slice (const uint8_t *label, uint8_t mbr_type)
{
  return mbr_type == IM_MBR_TYPE_FREEBSD && slot_of (label, WHOLE).first == 0;
}

static void
add_slot (ImPartitionTable *table, const ImPartition *slice, const Slot *slot, unsigned i,
          uint64_t base, unsigned *number)
{
  uint64_t first = base + slot->first;
  if (first == slice->first_lba && slot->sectors == slice->sectors)
    return; /* the slice itself */
  if (first < slice->first_lba ||
      !im_range_fits (first - slice->first_lba, slot->sectors, slice->sectors)) {
    im_table_warn (table,
                   "BSD: slot %c of partition %u lies outside it: the Linux kernel "
                   "ignores it",
                   'a' + (int)i, slice->number);
    return;
  }
  uint64_t label_at = (slice->first_lba + 1) * table->sector_size;
  unsigned inside = slice->number;
  ImPartition *p = im_table_add (table, (*number)++, i + 1, first, slot->sectors);
  p->entry_at = label_at + SLOTS_AT + i * SLOT_SIZE;
  p->inside = inside;
  p->level = 1;
  p->source = IM_SOURCE_DISKLABEL;
  p->type_code = slot->type;
  p->type_name = slot->type < G_N_ELEMENTS (types) ? types[slot->type] : "BSD";
}

void
im_bsd_read (ImPartitionTable *table, ImBlock *disk, const ImPartition *slice,
             unsigned *number)
{
  uint8_t label[IM_MBR_SIZE];
  if (!im_table_read_sector (table, disk, slice->first_lba + 1, label, sizeof label,
                             NULL) ||
      im_get_le32 (label) != MAGIC)
    return;
  unsigned slots = im_get_le16 (label + 138);
  unsigned most = slice->mbr_type == IM_MBR_TYPE_FREEBSD ? 8 : SLOTS_MAX;
  uint64_t base = counts_from_slice (label, slice->mbr_type) ? slice->first_lba : 0;
  for (unsigned i = 0; i < MIN (slots, most); i++) {
    Slot slot = slot_of (label, i);
    if (slot.type != 0)
      add_slot (table, slice, &slot, i, base, number);
  }
}
