/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading whatever table a disk has, and what holds for entries of every scheme. */
#include "base/bytes.h"
#include "base/error.h"
#include "partition/scheme.h"

#define U64 "%" G_GUINT64_FORMAT

#define DEFAULT_SECTOR_SIZE 512u

static void
partition_free (void *data)
{
  ImPartition *p = data;
  g_free (p->type_guid);
  g_free (p->type_text);
  g_free (p->unique_guid);
  g_free (p->name);
  g_free (p->uuid);
  g_free (p);
}

const char *
im_table_scheme (ImTableKind kind)
{
  static const char *const names[] = {
      [IM_TABLE_NONE] = NULL,
      [IM_TABLE_MBR] = "MBR",
      [IM_TABLE_GPT] = "GPT",
      [IM_TABLE_APPLE] = "Apple map",
      [IM_TABLE_SUN] = "Sun label",
      [IM_TABLE_SGI] = "SGI label",
      [IM_TABLE_ATARI] = "Atari root sector",
  };
  return names[kind];
}

ImPartitionTable *
im_table_new (uint64_t disk_size)
{
  ImPartitionTable *table = g_new0 (ImPartitionTable, 1);
  table->disk_size = disk_size;
  table->partitions = g_ptr_array_new_with_free_func (partition_free);
  table->warnings = g_ptr_array_new_with_free_func (g_free);
  return table;
}

void
im_partition_table_free (ImPartitionTable *table)
{
  if (!table)
    return;
  g_ptr_array_unref (table->partitions);
  g_ptr_array_unref (table->warnings);
  g_free (table->id);
  g_free (table);
}

void
im_table_set_sector_size (ImPartitionTable *table, uint32_t sector_size)
{
  table->sector_size = sector_size;
  table->disk_sectors = table->disk_size / sector_size;
}

void
im_table_warn (ImPartitionTable *table, const char *format, ...)
{
  if (table->warnings->len > IM_TABLE_MAX_WARNINGS)
    return;
  if (table->warnings->len == IM_TABLE_MAX_WARNINGS) {
    g_ptr_array_add (table->warnings, g_strdup ("further warnings are left out"));
    return;
  }
  va_list args;
  va_start (args, format);
  g_ptr_array_add (table->warnings, g_strdup_vprintf (format, args));
  va_end (args);
}

ImPartition *
im_table_add (ImPartitionTable *table, unsigned number, unsigned slot, uint64_t first_lba,
              uint64_t sectors)
{
  ImPartition *p = g_new0 (ImPartition, 1);
  p->number = number;
  p->slot = slot;
  p->first_lba = first_lba;
  p->sectors = sectors;
  p->last_lba = sectors ? first_lba + sectors - 1 : first_lba;
  g_ptr_array_add (table->partitions, p);
  return p;
}

bool
im_table_read_sector (ImPartitionTable *table, ImBlock *disk, uint64_t lba, void *buf,
                      size_t len, const char *what)
{
  g_autoptr (GError) error = NULL;
  if (lba >= table->disk_sectors) {
    if (what)
      im_table_warn (table,
                     "%s: the %s at sector " U64 " is past the disk's " U64 " sectors",
                     im_table_scheme (table->kind), what, lba, table->disk_sectors);
    return false;
  }
  if (im_block_pread (disk, buf, len, lba * table->sector_size, &error))
    return true;
  if (what)
    im_table_warn (table, "%s: the %s at sector " U64 " cannot be read: %s",
                   im_table_scheme (table->kind), what, lba, error->message);
  return false;
}

/* Bytes on the disk and the flags that follow from its size. */
static void
clip_entry (ImPartitionTable *table, ImPartition *p)
{
  const char *scheme = im_table_scheme (table->kind);
  if (p->sectors == 0) {
    p->flags |= IM_PARTITION_BAD_RANGE;
    if (p->last_lba < p->first_lba)
      im_table_warn (table,
                     "%s: partition %u ends at sector " U64 ", before its first, " U64,
                     scheme, p->number, p->last_lba, p->first_lba);
    else
      im_table_warn (table, "%s: partition %u has no sectors", scheme, p->number);
    return;
  }
  if (p->first_lba >= table->disk_sectors) {
    p->flags |= IM_PARTITION_PAST_END;
    im_table_warn (table,
                   "%s: partition %u begins at sector " U64 ", past the disk's " U64
                   " sectors",
                   scheme, p->number, p->first_lba, table->disk_sectors);
    return;
  }
  uint64_t fits = im_min (p->sectors, table->disk_sectors - p->first_lba);
  p->offset = p->first_lba * table->sector_size;
  if (fits < p->sectors) {
    p->flags |= IM_PARTITION_TRUNCATED;
    im_table_warn (table,
                   "%s: partition %u runs to sector " U64 ", past the disk's last, " U64
                   ": it is clipped",
                   scheme, p->number, p->last_lba, table->disk_sectors - 1);
  }
  bool protective = table->kind == IM_TABLE_MBR && p->mbr_type == IM_MBR_TYPE_PROTECTIVE;
  if (!p->container && !protective)
    p->size = fits * table->sector_size;
}

static int
compare_first (gconstpointer a, gconstpointer b)
{
  const ImPartition *p = *(ImPartition *const *)a, *q = *(ImPartition *const *)b;
  return (p->first_lba > q->first_lba) - (p->first_lba < q->first_lba);
}

static void
mark_overlap (ImPartitionTable *table, ImPartition *p, ImPartition *q)
{
  p->flags |= IM_PARTITION_OVERLAPS;
  q->flags |= IM_PARTITION_OVERLAPS;
  im_table_warn (table, "%s: partitions %u and %u overlap", im_table_scheme (table->kind),
                 MIN (p->number, q->number), MAX (p->number, q->number));
}

/* Compares each entry that TAKES picks with the one that reaches furthest of those
 * before it, which finds every entry that shares sectors with another. */
static void
find_overlaps (ImPartitionTable *table, bool (*takes) (const ImPartition *p))
{
  g_autoptr (GPtrArray) sorted = g_ptr_array_new ();
  for (guint i = 0; i < table->partitions->len; i++) {
    ImPartition *p = table->partitions->pdata[i];
    if (p->sectors != 0 && takes (p))
      g_ptr_array_add (sorted, p);
  }
  g_ptr_array_sort (sorted, compare_first);
  ImPartition *furthest = NULL;
  for (guint i = 0; i < sorted->len; i++) {
    ImPartition *p = sorted->pdata[i];
    if (furthest && p->first_lba <= furthest->last_lba)
      mark_overlap (table, furthest, p);
    if (!furthest || p->last_lba > furthest->last_lba)
      furthest = p;
  }
}

static bool
is_outer (const ImPartition *p)
{
  return p->level == 0 && !p->whole && p->mbr_type != IM_MBR_TYPE_PROTECTIVE;
}

/* Where logical partitions lie inside their container, nothing of the outer table does:
 * a logical one can only meet its like and primary ones. */
static bool
is_data (const ImPartition *p)
{
  return !p->container && !p->inside && !p->whole &&
         p->mbr_type != IM_MBR_TYPE_PROTECTIVE;
}

static void
finish_entries (ImPartitionTable *table)
{
  bool logical = false;
  for (guint i = 0; i < table->partitions->len; i++) {
    ImPartition *p = table->partitions->pdata[i];
    clip_entry (table, p);
    logical = logical || (p->level > 0 && !p->inside);
  }
  find_overlaps (table, is_outer);
  if (logical)
    find_overlaps (table, is_data);
}

/* Those that the kernel looks for after the MBR, in its order: the last has no signature
 * to speak of. */
static bool
read_other_tables (ImPartitionTable *table, ImBlock *disk, const uint8_t *sector)
{
  if (im_sun_is_label (sector)) {
    im_sun_read (table, sector);
    return true;
  }
  return im_atari_read (table, disk, sector) || im_apple_read (table, disk, sector);
}

static void
read_tables (ImPartitionTable *table, ImBlock *disk, uint32_t sector_size,
             const uint8_t *sector)
{
  ImMbr mbr;
  im_mbr_decode (sector, &mbr);
  ImMbrState state = im_mbr_classify (&mbr, sector, table->disk_sectors);
  if (im_gpt_read (table, disk, sector_size, state)) {
    table->hybrid = state == IM_MBR_PROTECTIVE && im_mbr_is_hybrid (&mbr);
    table->protective = state == IM_MBR_PROTECTIVE && !table->hybrid;
    return;
  }
  if (im_sgi_is_label (sector)) {
    im_sgi_read (table, sector);
    return;
  }
  if (state == IM_MBR_ABSENT) {
    if (!read_other_tables (table, disk, sector))
      im_mbr_warn_of_flags (table, &mbr, sector);
    return;
  }
  if (state == IM_MBR_PROTECTIVE || state == IM_MBR_ODD)
    im_table_warn (table, "MBR: a protective entry, but no GPT: the Linux kernel sees no "
                          "partitions here");
  im_mbr_read (table, disk, &mbr);
}

ImPartitionTable *
im_partition_table_read (ImBlock *disk, uint32_t sector_size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImPartitionTable) table = im_table_new (disk->size);
  im_table_set_sector_size (table, sector_size ? sector_size : DEFAULT_SECTOR_SIZE);
  if (disk->size < IM_MBR_SIZE)
    return g_steal_pointer (&table);
  uint8_t sector[IM_MBR_SIZE] = {0};
  if (!im_block_pread (disk, sector, sizeof sector, 0, &error)) {
    im_table_warn (table, "sector 0 cannot be read: %s", error->message);
    memset (sector, 0, sizeof sector);
  }
  read_tables (table, disk, sector_size, sector);
  finish_entries (table);
  return g_steal_pointer (&table);
}

const ImPartition *
im_partition_table_find (const ImPartitionTable *table, unsigned number)
{
  for (guint i = 0; i < table->partitions->len; i++) {
    const ImPartition *p = table->partitions->pdata[i];
    /* An Atari container has the number of the first one in it. */
    if (p->number == number && p->size > 0)
      return p;
  }
  return NULL;
}
