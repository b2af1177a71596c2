/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chain of EBRs in an extended partition: logical partitions, of any number.
 *
 *   container           EBR 2 = container + link          EBR 3
 *   +-------+----------+-------+----------+--//--+-------+----------+
 *   | EBR 1 | 1st ···  | EBR 2 | 2nd ···  |      | EBR 3 | 3rd ···  |
 *   +---+---+----------+---+---+----------+--//--+-------+----------+
 *       └── link ──────────┘└── link ────────────────┘
 *
 * The rules are the Linux kernel's, since its numbers are ours: a slot is a partition
 * when it has sectors and no extended type, and the first slot with sectors and an
 * extended type is the link. */
#include "base/bytes.h"
#include "partition/scheme.h"

/* A chain visits no sector twice, so only a disk made of EBRs comes near these: they
 * bound the time and the memory that it may cost.  A GPT has no more entries either. */
#define MAX_LINKS      32768u
#define MAX_PARTITIONS 32768u

typedef struct {
  ImPartitionTable *table;
  ImBlock *disk;
  uint32_t disk_id;
  uint64_t first, sectors; /* the container */
  GHashTable *seen;        /* the sectors of all EBRs so far */
  unsigned *number;
} Chain;

/* The third and fourth slot often hold rubbish: they count only where they lie within
 * this link (LINK_SECTORS) and within the container. */
static bool
spare_slot_counts (const Chain *chain, const ImMbrEntry *e, uint64_t ebr,
                   uint64_t link_sectors)
{
  uint64_t in_container = ebr + e->first - chain->first;
  return im_range_fits (e->first, e->sectors, link_sectors) &&
         im_range_fits (in_container, e->sectors, chain->sectors);
}

static void
add_logical (Chain *chain, const ImMbrEntry *e, unsigned slot, uint64_t ebr)
{
  uint64_t at = ebr * chain->table->sector_size + IM_MBR_ENTRY_AT +
                (uint64_t)(slot - 1) * IM_MBR_ENTRY_SIZE;
  ImPartition *p = im_mbr_add_entry (chain->table, e, (*chain->number)++, slot, ebr, at,
                                     chain->disk_id);
  p->level = 1;
  p->source = IM_SOURCE_EBR;
  if (!im_range_fits (p->first_lba - chain->first, p->sectors, chain->sectors)) {
    p->flags |= IM_PARTITION_OUTSIDE;
    im_table_warn (chain->table,
                   "MBR: logical partition %u (sectors %" G_GUINT64_FORMAT
                   " to %" G_GUINT64_FORMAT ") lies outside its extended partition "
                   "(%" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT ")",
                   p->number, p->first_lba, p->first_lba + p->sectors - 1, chain->first,
                   chain->first + chain->sectors - 1);
  }
}

/* Reads the EBR at sector EBR and decodes it; false, and a warning, where there is none.
 */
static bool
read_link (Chain *chain, uint64_t ebr, ImMbr *ret_mbr)
{
  uint8_t sector[IM_MBR_SIZE];
  if (!im_table_read_sector (chain->table, chain->disk, ebr, sector, sizeof sector,
                             "EBR"))
    return false;
  im_mbr_decode (sector, ret_mbr);
  if (!ret_mbr->signature)
    im_table_warn (chain->table,
                   "MBR: the EBR at sector %" G_GUINT64_FORMAT
                   " has no signature 0x55aa: the chain ends there",
                   ebr);
  return ret_mbr->signature;
}

/* Adds the partitions of one EBR; the link to the next, or NULL at the chain's end. */
static const ImMbrEntry *
take_slots (Chain *chain, const ImMbr *mbr, uint64_t ebr, uint64_t link_sectors)
{
  const ImMbrEntry *link = NULL;
  for (unsigned i = 0; i < IM_MBR_ENTRIES; i++) {
    const ImMbrEntry *e = &mbr->entries[i];
    if (e->sectors == 0)
      continue;
    if (im_mbr_type_is_extended (e->type))
      link = link ? link : e;
    else if (i < 2 || spare_slot_counts (chain, e, ebr, link_sectors))
      add_logical (chain, e, i + 1, ebr);
  }
  return link;
}

/* True where the chain may go on to the EBR that LINK names from the one at sector EBR.
 */
static bool
link_is_good (Chain *chain, const ImMbrEntry *link, uint64_t ebr)
{
  uint64_t next = chain->first + link->first;
  const char *problem = NULL;
  if (link->first >= chain->sectors)
    problem = "which is outside the extended partition";
  else if (g_hash_table_contains (chain->seen, &next))
    problem = "where the chain has been: a loop";
  else if (g_hash_table_size (chain->seen) >= MAX_LINKS)
    problem = "beyond the limit of 32768 links";
  else if (chain->table->partitions->len >= MAX_PARTITIONS)
    problem = "beyond the limit of 32768 partitions";
  if (problem)
    im_table_warn (chain->table,
                   "MBR: the EBR at sector %" G_GUINT64_FORMAT
                   " links to sector %" G_GUINT64_FORMAT ", %s: the chain ends there",
                   ebr, next, problem);
  return !problem;
}

void
im_ebr_read (ImPartitionTable *table, ImBlock *disk, uint32_t disk_id, uint64_t first_lba,
             uint64_t sectors, unsigned *number)
{
  g_autoptr (GHashTable) seen =
      g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  Chain chain = {table, disk, disk_id, first_lba, sectors, seen, number};
  uint64_t ebr = first_lba, link_sectors = sectors;
  ImMbr mbr;
  while (read_link (&chain, ebr, &mbr)) {
    g_hash_table_add (seen, g_memdup2 (&ebr, sizeof ebr));
    const ImMbrEntry *link = take_slots (&chain, &mbr, ebr, link_sectors);
    if (!link || !link_is_good (&chain, link, ebr))
      return;
    ebr = first_lba + link->first;
    link_sectors = link->sectors;
  }
}
