/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Atari root sectors (AHDI, with ICD's additional entries), big-endian.
 *
 *   0          342                 450      454              502          512
 *   +----------+-------------------+--------+----------------+------------+
 *   | boot     | 8 entries of ICD  | disk's | 4 entries      | bad        |
 *   | code     | (342 to 438)      | sectors| 12 bytes each  | sectors, … |
 *   +----------+-------------------+--------+----------------+------------+
 *
 *   an entry:  0 flag, bit 0: in use   1 type, three letters   4 first   8 sectors
 *
 * An entry of type XGM is a container: its first sector has another root sector, whose
 * first entry is a partition, counted from that sector, and whose second leads to the
 * next one, counted from the container's first.
 *
 * There is no signature: what is taken for a root sector must make sense throughout. */
#include "base/bytes.h"
#include "partition/scheme.h"

#define ICD_AT     342u
#define ICD_SLOTS  8u
#define SIZE_AT    450u
#define ENTRY_AT   454u
#define SLOTS      4u
#define ENTRY_SIZE 12u
#define MAX_LINKS  256u

typedef struct {
  bool used;
  char type[4];
  uint32_t first, sectors;
} Entry;

static Entry
decode_entry (const uint8_t *p)
{
  Entry e = {
      .used = p[0] & 1, .first = im_get_be32 (p + 4), .sectors = im_get_be32 (p + 8)};
  memcpy (e.type, p + 1, 3);
  return e;
}

static Entry
entry_of (const uint8_t *sector, unsigned i)
{
  return decode_entry (sector + ENTRY_AT + i * ENTRY_SIZE);
}

static bool
is_sane (const Entry *e, uint64_t sectors)
{
  for (unsigned i = 0; i < 3; i++)
    if (!g_ascii_isalnum (e->type[i]))
      return false;
  return e->first > 0 && e->sectors > 0 && im_range_fits (e->first, e->sectors, sectors);
}

static bool
is_root_sector (const uint8_t *sector, uint64_t disk_sectors)
{
  uint32_t size = im_get_be32 (sector + SIZE_AT);
  unsigned used = 0;
  if (size == 0 || size > disk_sectors)
    return false;
  for (unsigned i = 0; i < SLOTS; i++) {
    Entry e = entry_of (sector, i);
    if (e.used && !is_sane (&e, size))
      return false;
    used += e.used;
  }
  return used > 0;
}

/* The types that ICD's tools write; the place may hold boot code as well. */
static bool
is_icd_entry (const Entry *e, uint64_t sectors)
{
  static const char *const known[] = {"GEM", "BGM", "LNX", "SWP", "RAW", NULL};
  return e->used && g_strv_contains (known, e->type) && is_sane (e, sectors);
}

static ImPartition *
add (ImPartitionTable *table, const Entry *e, unsigned number, unsigned slot,
     uint64_t base, uint64_t entry_at)
{
  ImPartition *p = im_table_add (table, number, slot, base + e->first, e->sectors);
  p->entry_at = entry_at;
  p->type_text = g_utf8_make_valid (e->type, -1);
  return p;
}

/* The partitions in the container at sector FIRST, numbered from *NUMBER on. */
static void
read_container (ImPartitionTable *table, ImBlock *disk, uint64_t first, unsigned *number)
{
  uint64_t at = first;
  for (unsigned links = 0; links < MAX_LINKS; links++) {
    uint8_t sector[IM_MBR_SIZE];
    if (!im_table_read_sector (table, disk, at, sector, sizeof sector, "XGM root sector"))
      return;
    Entry e = entry_of (sector, 0), next = entry_of (sector, 1);
    if (!e.used)
      return;
    add (table, &e, (*number)++, 1, at, at * table->sector_size + ENTRY_AT)->level = 1;
    if (!next.used || strcmp (next.type, "XGM") != 0)
      return;
    at = first + next.first;
  }
  im_table_warn (table, "Atari: more than %u root sectors in a chain: it ends there",
                 MAX_LINKS);
}

/* One slot of the root sector; a container takes the numbers of what it holds, and one at
 * the least. */
static void
read_slot (ImPartitionTable *table, ImBlock *disk, const Entry *e, unsigned slot,
           unsigned *number)
{
  unsigned before = *number;
  ImPartition *p =
      add (table, e, before, slot, 0, ENTRY_AT + (uint64_t)(slot - 1) * ENTRY_SIZE);
  p->container = strcmp (e->type, "XGM") == 0;
  if (p->container)
    read_container (table, disk, e->first, number);
  *number = MAX (*number, before + 1);
}

bool
im_atari_read (ImPartitionTable *table, ImBlock *disk, const uint8_t *sector)
{
  if (table->sector_size != IM_MBR_SIZE || !is_root_sector (sector, table->disk_sectors))
    return false;
  unsigned number = 1;
  bool contains = false;
  table->kind = IM_TABLE_ATARI;
  for (unsigned i = 0; i < SLOTS; i++) {
    Entry e = entry_of (sector, i);
    contains |= e.used && strcmp (e.type, "XGM") == 0;
    if (e.used)
      read_slot (table, disk, &e, i + 1, &number);
    else
      number++;
  }
  for (unsigned i = 0; i < ICD_SLOTS && !contains; i++, number++) {
    Entry e = decode_entry (sector + ICD_AT + i * ENTRY_SIZE);
    if (is_icd_entry (&e, im_get_be32 (sector + SIZE_AT)))
      add (table, &e, number, SLOTS + i + 1, 0, ICD_AT + i * ENTRY_SIZE);
    else if (i == 0)
      break;
  }
  return true;
}
