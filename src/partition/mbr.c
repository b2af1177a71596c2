/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The MBR: what sector 0 is, and its primary partitions. */
#include "base/bytes.h"
#include "partition/scheme.h"

static bool
flags_are_sane (const ImMbr *mbr)
{
  for (size_t i = 0; i < IM_MBR_ENTRIES; i++)
    if (mbr->entries[i].flag != 0 && mbr->entries[i].flag != 0x80)
      return false;
  return true;
}

/* True where what looks like entries could be somebody's partitions.  In a file system's
 * boot sector these bytes are boot code, or the entry of a table made up to please a
 * BIOS, which covers the file system itself from sector 0 on. */
static bool
entries_are_sane (const ImMbr *mbr, uint64_t disk_sectors)
{
  unsigned used = 0;
  for (size_t i = 0; i < IM_MBR_ENTRIES; i++) {
    const ImMbrEntry *e = &mbr->entries[i];
    if (e->type == 0 && e->sectors == 0)
      continue;
    used++;
    if (e->type == 0 || e->sectors == 0 || e->first == 0 ||
        !im_range_fits (e->first, e->sectors, disk_sectors))
      return false;
  }
  return used > 0;
}

/* The first protective entry, the one at sector 1 preferred; NULL: none. */
static const ImMbrEntry *
find_protective (const ImMbr *mbr)
{
  const ImMbrEntry *found = NULL;
  for (size_t i = 0; i < IM_MBR_ENTRIES; i++) {
    const ImMbrEntry *e = &mbr->entries[i];
    if (e->type == IM_MBR_TYPE_PROTECTIVE &&
        (!found || (found->first != 1 && e->first == 1)))
      found = e;
  }
  return found;
}

ImMbrState
im_mbr_classify (const ImMbr *mbr, const uint8_t *sector, uint64_t disk_sectors)
{
  if (!mbr->signature || im_mbr_is_aix (sector))
    return IM_MBR_ABSENT;
  /* The kernel looks for a GPT before it minds the boot flags. */
  const ImMbrEntry *protective = find_protective (mbr);
  if (protective && protective->first == 1)
    return IM_MBR_PROTECTIVE;
  if (!flags_are_sane (mbr))
    return IM_MBR_ABSENT;
  if (im_mbr_is_boot_sector (sector) && !entries_are_sane (mbr, disk_sectors))
    return IM_MBR_ABSENT;
  if (protective)
    return IM_MBR_ODD;
  for (size_t i = 0; i < IM_MBR_ENTRIES; i++)
    if (!mbr->entries[i].blank)
      return IM_MBR_TABLE;
  return IM_MBR_BLANK;
}

void
im_mbr_warn_of_flags (ImPartitionTable *table, const ImMbr *mbr, const uint8_t *sector)
{
  if (!mbr->signature || im_mbr_is_aix (sector) || im_mbr_is_boot_sector (sector) ||
      !entries_are_sane (mbr, table->disk_sectors))
    return;
  for (unsigned i = 0; i < IM_MBR_ENTRIES; i++)
    if (mbr->entries[i].flag != 0 && mbr->entries[i].flag != 0x80)
      im_table_warn (table,
                     "MBR: the boot flag of slot %u is 0x%02x, neither 0 nor 0x80: it is "
                     "not taken for a table",
                     i + 1, mbr->entries[i].flag);
}

bool
im_mbr_is_hybrid (const ImMbr *mbr)
{
  for (size_t i = 0; i < IM_MBR_ENTRIES; i++)
    if (mbr->entries[i].type != 0 && mbr->entries[i].type != IM_MBR_TYPE_PROTECTIVE)
      return true;
  return false;
}

ImPartition *
im_mbr_add_entry (ImPartitionTable *table, const ImMbrEntry *entry, unsigned number,
                  unsigned slot, uint64_t base, uint64_t entry_at, uint32_t disk_id)
{
  ImPartition *p =
      im_table_add (table, number, slot, base + entry->first, entry->sectors);
  p->entry_at = entry_at;
  p->mbr_type = entry->type;
  p->bootable = entry->flag == 0x80;
  p->container = im_mbr_type_is_extended (entry->type);
  if (!p->container)
    p->uuid = g_strdup_printf ("%08x-%02x", disk_id, number);
  return p;
}

/* In the primary partitions alone, as in the kernel. */
static void
read_disklabels (ImPartitionTable *table, ImBlock *disk, unsigned *number)
{
  guint primaries = table->partitions->len;
  for (guint i = 0; i < primaries; i++) {
    const ImPartition *p = table->partitions->pdata[i];
    bool bsd = p->mbr_type == IM_MBR_TYPE_FREEBSD || p->mbr_type == IM_MBR_TYPE_OPENBSD ||
               p->mbr_type == IM_MBR_TYPE_NETBSD;
    if (bsd && p->level == 0 && p->sectors > 0)
      im_bsd_read (table, disk, p, number);
  }
}

void
im_mbr_read (ImPartitionTable *table, ImBlock *disk, const ImMbr *mbr)
{
  table->kind = IM_TABLE_MBR;
  table->id = g_strdup_printf ("0x%08x", mbr->id);
  for (unsigned i = 0; i < IM_MBR_ENTRIES; i++)
    if (!mbr->entries[i].blank)
      im_mbr_add_entry (table, &mbr->entries[i], i + 1, i + 1, 0,
                        IM_MBR_ENTRY_AT + i * IM_MBR_ENTRY_SIZE, mbr->id);

  /* As in the kernel, every container is walked, and one count runs through them all. */
  unsigned number = 5;
  for (unsigned i = 0; i < IM_MBR_ENTRIES; i++)
    if (mbr->entries[i].sectors != 0 && im_mbr_type_is_extended (mbr->entries[i].type))
      im_ebr_read (table, disk, mbr->id, mbr->entries[i].first, mbr->entries[i].sectors,
                   &number);
  read_disklabels (table, disk, &number);
}
