/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SGI volume headers: one sector, big-endian.
 *
 *   0       4                 72                312                  504    508  512
 *   +-------+-----------------+-----------------+--------------------+------+----+
 *   | magic | boot file, …    | 15 files of the | 16 × sectors,      | sum  |    |
 *   |       |                 | volume header   | first sector, type |      |    |
 *   +-------+-----------------+-----------------+--------------------+------+----+
 *
 * The sum of all 32-bit words is 0. */
#include "base/bytes.h"
#include "partition/scheme.h"

#define MAGIC    0x0be5a941u
#define SLOTS    16u
#define ENTRY_AT 312u

static const char *const types[] = {
    [0x00] = "SGI volume header",
    [0x01] = "SGI track replacements",
    [0x02] = "SGI sector replacements",
    [0x03] = "SGI raw",
    [0x04] = "SGI bsd",
    [0x05] = "SGI sysv",
    [0x06] = "Whole disk",
    [0x07] = "SGI efs",
    [0x08] = "SGI lvol",
    [0x09] = "SGI rlvol",
    [0x0a] = "SGI xfs",
    [0x0b] = "SGI xfslog",
    [0x0c] = "SGI xlv",
    [0x0d] = "SGI xvm",
    [0x82] = "Linux swap",
    [0x83] = "Linux native",
    [0x8e] = "Linux LVM",
    [0xfd] = "Linux RAID",
};

bool
im_sgi_is_label (const uint8_t *sector)
{
  uint32_t sum = 0;
  for (size_t i = 0; i < IM_MBR_SIZE; i += 4)
    sum += im_get_be32 (sector + i);
  return im_get_be32 (sector) == MAGIC && sum == 0;
}

void
im_sgi_read (ImPartitionTable *table, const uint8_t *sector)
{
  table->kind = IM_TABLE_SGI;
  for (unsigned i = 0; i < SLOTS; i++) {
    const uint8_t *entry = sector + ENTRY_AT + i * 12;
    uint32_t sectors = im_get_be32 (entry);
    if (sectors == 0)
      continue;
    ImPartition *p = im_table_add (table, i + 1, i + 1, im_get_be32 (entry + 4), sectors);
    p->entry_at = ENTRY_AT + i * 12;
    p->type_code = im_get_be32 (entry + 8);
    p->type_name = p->type_code < G_N_ELEMENTS (types) ? types[p->type_code] : NULL;
    if (!p->type_name)
      p->type_text = g_strdup_printf ("0x%02x", p->type_code);
    /* Slots 9 and 11 are the volume header and the whole disk by custom. */
    p->whole = p->type_code == 6;
  }
}
