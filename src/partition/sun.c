/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sun disk labels: one sector, big-endian.
 *
 *   0      128       142      188      436      438     444         508     510     512
 *   +------+---------+--------+--------+--------+-------+-----------+-------+-------+
 *   | text | VTOC 1: | 8 tags | sanity | tracks | sec-  | 8 × first | magic | check |
 *   |      | slots   | flags  |        | a cyl. | tors  | cylinder, | 0xdabe| sum   |
 *   |      | at 140  |        |        |        |       | sectors   |       |       |
 *   +------+---------+--------+--------+--------+-------+-----------+-------+-------+
 *
 * The sum of all 16-bit words, by exclusive or, is 0.  Without a valid VTOC there are
 * eight slots and no tags. */
#include "base/bytes.h"
#include "partition/scheme.h"

#define MAGIC    0xdabeu
#define SANITY   0x600ddeeeu
#define SLOTS    8u
#define ENTRY_AT 444u

static const char *const tags[] = {
    [0x00] = "Unassigned",    [0x01] = "Boot",
    [0x02] = "SunOS root",    [0x03] = "SunOS swap",
    [0x04] = "SunOS usr",     [0x05] = "Whole disk",
    [0x06] = "SunOS stand",   [0x07] = "SunOS var",
    [0x08] = "SunOS home",    [0x09] = "SunOS alternate sectors",
    [0x0a] = "SunOS cachefs", [0x0b] = "SunOS reserved",
    [0x82] = "Linux swap",    [0x83] = "Linux native",
    [0x8e] = "Linux LVM",     [0xfd] = "Linux RAID",
};

static bool
checksum_holds (const uint8_t *sector)
{
  uint16_t sum = 0;
  for (size_t i = 0; i < IM_MBR_SIZE; i += 2)
    sum ^= im_get_be16 (sector + i);
  return sum == 0;
}

bool
im_sun_is_label (const uint8_t *sector)
{
  return im_get_be16 (sector + 508) == MAGIC && checksum_holds (sector);
}

/* How many slots there are, and whether they have tags. */
static unsigned
count_slots (const uint8_t *sector, bool *ret_tags)
{
  unsigned slots = im_get_be16 (sector + 140);
  *ret_tags = im_get_be32 (sector + 128) == 1 && im_get_be32 (sector + 188) == SANITY &&
              slots <= SLOTS;
  return *ret_tags ? slots : SLOTS;
}

void
im_sun_read (ImPartitionTable *table, const uint8_t *sector)
{
  uint64_t cylinder = (uint64_t)im_get_be16 (sector + 436) * im_get_be16 (sector + 438);
  bool has_tags;
  unsigned slots = count_slots (sector, &has_tags);
  table->kind = IM_TABLE_SUN;
  for (unsigned i = 0; i < slots; i++) {
    const uint8_t *entry = sector + ENTRY_AT + i * 8;
    uint32_t sectors = im_get_be32 (entry + 4);
    if (sectors == 0)
      continue;
    ImPartition *p =
        im_table_add (table, i + 1, i + 1, im_get_be32 (entry) * cylinder, sectors);
    p->entry_at = ENTRY_AT + i * 8;
    p->type_code = has_tags ? im_get_be16 (sector + 142 + i * 4) : 0;
    p->type_name = p->type_code < G_N_ELEMENTS (tags) ? tags[p->type_code] : NULL;
    if (!p->type_name)
      p->type_text = g_strdup_printf ("0x%02x", p->type_code);
    /* The third slot is the whole disk by custom, and overlaps the others. */
    p->whole = p->type_code == 5;
  }
}
