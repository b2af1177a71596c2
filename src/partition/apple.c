/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Apple partition maps, big-endian.
 *
 *   block 0            block 1           block 2
 *   +------------------+-----------------+-----------------+--//
 *   | "ER", bytes of a | "PM", entries,  | "PM", …         |
 *   | block, …         | first, blocks,  |                 |
 *   |                  | name, type, …   |                 |
 *   +------------------+-----------------+-----------------+--//
 *
 *   an entry:  0 "PM"   4 entries of the map   8 first block   12 blocks
 *              16 name, 32 bytes   48 type, 32 bytes
 *
 * Every entry has one block, and repeats how many there are; the map is one of its own
 * partitions. */
#include "base/bytes.h"
#include "partition/scheme.h"

#define DRIVER_MAGIC 0x4552u
#define ENTRY_MAGIC  0x504du
#define ENTRY_SIZE   512u
#define TEXT_SIZE    32u
/* As many as the kernel makes nodes for. */
#define MAX_ENTRIES 255u

/* A text that fills its field or ends with a NUL; its own encoding is not ours. */
static char *
take_text (const uint8_t *field)
{
  g_autofree char *text = g_strndup ((const char *)field, TEXT_SIZE);
  return g_utf8_make_valid (text, -1);
}

/* Blocks of any other size would not lie on sectors. */
static uint32_t
block_size (const uint8_t *sector)
{
  uint32_t size = im_get_be16 (sector + 2);
  return im_is_power_of_2 (size) && size >= 512 && size <= 4096 ? size : 0;
}

static bool
read_entry (ImPartitionTable *table, ImBlock *disk, unsigned slot, uint8_t *entry)
{
  return im_table_read_sector (table, disk, slot, entry, ENTRY_SIZE,
                               slot == 1 ? NULL : "partition map's entry") &&
         im_get_be16 (entry) == ENTRY_MAGIC;
}

static void
add_entry (ImPartitionTable *table, unsigned slot, const uint8_t *entry)
{
  ImPartition *p =
      im_table_add (table, slot, slot, im_get_be32 (entry + 8), im_get_be32 (entry + 12));
  p->entry_at = (uint64_t)slot * table->sector_size;
  p->name = take_text (entry + 16);
  p->type_text = take_text (entry + 48);
}

bool
im_apple_read (ImPartitionTable *table, ImBlock *disk, const uint8_t *sector)
{
  uint8_t entry[ENTRY_SIZE];
  uint32_t size = block_size (sector);
  if (im_get_be16 (sector) != DRIVER_MAGIC || size == 0)
    return false;
  uint32_t before = table->sector_size;
  im_table_set_sector_size (table, size);
  if (!read_entry (table, disk, 1, entry)) {
    im_table_set_sector_size (table, before);
    return false;
  }
  table->kind = IM_TABLE_APPLE;
  uint32_t entries = im_get_be32 (entry + 4);
  if (entries > MAX_ENTRIES)
    im_table_warn (table, "Apple map: %u entries are more than the limit of %u", entries,
                   MAX_ENTRIES);
  entries = MIN (entries, MAX_ENTRIES);
  for (unsigned slot = 1; slot <= entries; slot++) {
    if (!read_entry (table, disk, slot, entry)) {
      im_table_warn (table,
                     "Apple map: entry %u of %u has no signature: the map ends there",
                     slot, entries);
      break;
    }
    add_entry (table, slot, entry);
  }
  return true;
}
