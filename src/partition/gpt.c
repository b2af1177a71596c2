/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The GPT: both copies, whichever sector size they were written for, and the better of
 * them. */
#include "base/bytes.h"
#include "partition/gpt-layout.h"
#include "partition/scheme.h"

#include <zlib.h>

#define U64 "%" G_GUINT64_FORMAT

/* The entry array is read in pieces of this size, whole entries in each. */
#define PIECE IM_GPT_MAX_ENTRY_SIZE

/* In this order, since a disk of small sectors is by far the likelier. */
static const uint32_t sector_sizes[] = {512, 1024, 2048, 4096};

#define MAX_SECTOR_SIZE 4096u

/* One copy of the table, as good as it is. */
typedef struct {
  const char *which; /* "primary", "backup"; NULL: the disk is too small for any */
  uint32_t sector_size;
  uint64_t lba;
  bool present; /* the signature is there */
  bool usable;  /* the fields make sense, the entries can be read */
  bool header_good, entries_good;
  ImGptHeader header;
  char *problem; /* NULL: none */
} Copy;

static void
copy_clear (Copy *copy)
{
  g_clear_pointer (&copy->problem, g_free);
}

/* Calls TAKE for each entry of HEADER's array, where it is not NULL, and gives the CRC32
 * of the whole array.  False where it cannot be read. */
static bool
walk_entries (ImPartitionTable *table, ImBlock *disk, const Copy *copy,
              void (*take) (ImPartitionTable *table, const Copy *copy, uint32_t index,
                            const uint8_t *bytes),
              uint32_t *ret_crc)
{
  const ImGptHeader *h = &copy->header;
  g_autofree uint8_t *piece = g_malloc (PIECE);
  uint64_t total = (uint64_t)h->entries * h->entry_size;
  uint64_t base = h->entries_lba * copy->sector_size;
  uLong crc = crc32 (0, NULL, 0);
  for (uint64_t done = 0; done < total; done += PIECE) {
    size_t n = (size_t)im_min (PIECE, total - done);
    if (!im_block_pread (disk, piece, n, base + done, NULL))
      return false;
    crc = crc32 (crc, piece, (uInt)n);
    for (size_t at = 0; take && at < n; at += h->entry_size)
      take (table, copy, (uint32_t)((done + at) / h->entry_size), piece + at);
  }
  *ret_crc = (uint32_t)crc;
  return true;
}

static void
check_entries (ImBlock *disk, Copy *copy)
{
  uint32_t crc = 0;
  copy->usable = walk_entries (NULL, disk, copy, NULL, &crc);
  if (!copy->usable && !copy->problem)
    copy->problem = g_strdup ("entry array cannot be read");
  copy->entries_good = copy->usable && crc == copy->header.entries_crc;
  if (copy->usable && !copy->entries_good && !copy->problem)
    copy->problem = g_strdup_printf ("entries' checksum is 0x%08x, should be 0x%08x",
                                     copy->header.entries_crc, crc);
}

/* Judges the header in SECTOR, and then its entries. */
static void
check_copy (ImBlock *disk, Copy *copy, const uint8_t *sector)
{
  const ImGptHeader *h = &copy->header;
  copy->problem = im_gpt_header_problem (h, copy->sector_size, copy->lba,
                                         disk->size / copy->sector_size);
  if (copy->problem)
    return;
  uint32_t crc = im_gpt_header_crc (sector, h->header_size);
  copy->header_good = crc == h->crc;
  if (!copy->header_good)
    copy->problem =
        g_strdup_printf ("header's checksum is 0x%08x, should be 0x%08x", h->crc, crc);
  check_entries (disk, copy);
}

/* Looks for a header at sector LBA. */
static void
read_copy (ImBlock *disk, const char *which, uint32_t sector_size, uint64_t lba,
           Copy *ret_copy)
{
  *ret_copy = (Copy){.which = which, .sector_size = sector_size, .lba = lba};
  uint8_t sector[MAX_SECTOR_SIZE];
  if (lba >= disk->size / sector_size ||
      !im_block_pread (disk, sector, sector_size, lba * sector_size, NULL))
    return;
  ret_copy->present = im_gpt_header_decode (sector, sector_size, &ret_copy->header);
  if (ret_copy->present)
    check_copy (disk, ret_copy, sector);
}

/* 0: of no use; 4: flawless. */
static int
copy_score (const Copy *copy)
{
  return copy->usable ? 1 + 2 * copy->header_good + copy->entries_good : 0;
}

/* Keeps the better of the two in *BEST and clears the other. */
static void
keep_better (Copy *best, Copy *other)
{
  bool better =
      copy_score (other) > copy_score (best) || (other->present && !best->present);
  Copy *loser = better ? best : other;
  copy_clear (loser);
  if (better)
    *best = *other;
}

/* The backup is where an intact primary says, otherwise at the end; and each is worth a
 * try where the other has nothing. */
static void
read_backup (ImBlock *disk, const Copy *primary, Copy *ret_backup)
{
  uint32_t size = primary->sector_size;
  uint64_t last = disk->size / size - 1;
  uint64_t named = primary->present ? primary->header.other_lba : last;
  bool trust = primary->header_good;
  const uint64_t tries[] = {trust ? named : last, trust ? last : named};
  *ret_backup = (Copy){.which = "backup", .sector_size = size, .lba = tries[0]};
  for (size_t i = 0; i < G_N_ELEMENTS (tries); i++) {
    /* A primary that names itself is no backup. */
    if (tries[i] == primary->lba || (i > 0 && tries[i] == tries[0]))
      continue;
    Copy copy;
    read_copy (disk, "backup", size, tries[i], &copy);
    keep_better (ret_backup, &copy);
    if (copy_score (ret_backup) == 4)
      return;
  }
}

/* The two copies for one sector size. */
typedef struct {
  Copy primary, backup;
} Pair;

static void
pair_clear (Pair *pair)
{
  copy_clear (&pair->primary);
  copy_clear (&pair->backup);
}

static int
pair_score (const Pair *pair)
{
  return MAX (copy_score (&pair->primary), copy_score (&pair->backup));
}

static bool
pair_present (const Pair *pair)
{
  return pair->primary.present || pair->backup.present;
}

/* The pair of SECTOR_SIZE, or, where that is 0, of the size that fits best; a flawless
 * primary of any size goes before a backup. */
static void
find_pair (ImBlock *disk, uint32_t sector_size, Pair *ret_pair)
{
  *ret_pair = (Pair){0};
  int best = -1;
  for (size_t i = 0; i < G_N_ELEMENTS (sector_sizes); i++) {
    uint32_t size = sector_sizes[i];
    if ((sector_size != 0 && size != sector_size) || disk->size / size < 3)
      continue;
    Pair pair;
    read_copy (disk, "primary", size, 1, &pair.primary);
    read_backup (disk, &pair.primary, &pair.backup);
    int score = 4 * pair_score (&pair) + 2 * (copy_score (&pair.primary) == 4) +
                pair_present (&pair);
    Pair *loser = score > best ? ret_pair : &pair;
    pair_clear (loser);
    if (score > best) {
      best = score;
      *ret_pair = pair;
    }
  }
}

static void
add_entry (ImPartitionTable *table, const Copy *copy, uint32_t index,
           const uint8_t *bytes)
{
  ImGptEntry e;
  im_gpt_entry_decode (bytes, &e);
  g_autofree char *name = e.name;
  if (!e.used)
    return;
  const ImGptHeader *h = &copy->header;
  bool good = e.last >= e.first && e.last - e.first < UINT64_MAX;
  ImPartition *p = im_table_add (table, index + 1, index + 1, e.first,
                                 good ? e.last - e.first + 1 : 0);
  p->last_lba = e.last;
  p->entry_at = h->entries_lba * copy->sector_size + (uint64_t)index * h->entry_size;
  p->source = table->source;
  p->type_guid = g_strdup (e.type_guid);
  p->unique_guid = g_strdup (e.unique_guid);
  p->uuid = g_ascii_strdown (e.unique_guid, -1);
  p->attributes = e.attributes;
  p->name = g_steal_pointer (&name);
  if (good && (e.first < h->first_usable || e.last > h->last_usable)) {
    p->flags |= IM_PARTITION_OUTSIDE;
    im_table_warn (table,
                   "GPT: partition %u (sectors " U64 " to " U64
                   ") lies outside the usable ones (" U64 " to " U64 ")",
                   p->number, e.first, e.last, h->first_usable, h->last_usable);
  }
}

static ImTableCheck
copy_check (const Copy *copy)
{
  if (!copy->present)
    return IM_CHECK_ABSENT;
  if (!copy->usable || !copy->header_good)
    return IM_CHECK_BAD_HEADER;
  return copy->entries_good ? IM_CHECK_GOOD : IM_CHECK_BAD_ENTRIES;
}

/* Says what is wrong with COPY, and FATE, what follows. */
static void
warn_of_copy (ImPartitionTable *table, const Copy *copy, const char *fate)
{
  if (!copy->which)
    return;
  if (!copy->present)
    im_table_warn (table, "GPT: no %s header at sector " U64 "%s", copy->which, copy->lba,
                   fate);
  else if (copy->problem)
    im_table_warn (table, "GPT: %s %s%s", copy->which, copy->problem, fate);
}

/* In what both say of the same disk. */
static bool
headers_differ (const ImGptHeader *a, const ImGptHeader *b)
{
  return a->entries_crc != b->entries_crc || a->first_usable != b->first_usable ||
         a->last_usable != b->last_usable || a->entries != b->entries ||
         a->entry_size != b->entry_size || strcmp (a->disk_guid, b->disk_guid) != 0;
}

/* What COPY, where it can be believed, says of the place of OTHER. */
static void
warn_of_other_place (ImPartitionTable *table, const Copy *copy, const Copy *other)
{
  if (copy->header_good && other->present && copy->header.other_lba != other->lba)
    im_table_warn (table,
                   "GPT: the %s header says that the %s is at sector " U64
                   ", and it is at " U64,
                   copy->which, other->which, copy->header.other_lba, other->lba);
}

/* What of the pair is odd though each copy may be flawless in itself. */
static void
warn_of_pair (ImPartitionTable *table, const Pair *pair)
{
  const ImGptHeader *p = &pair->primary.header, *b = &pair->backup.header;
  const ImGptHeader *used = table->source == IM_SOURCE_PRIMARY ? p : b;
  uint64_t last = table->disk_sectors - 1;
  if (used->last_usable > last)
    im_table_warn (table,
                   "GPT: the last usable sector is " U64 ", past the disk's last, " U64
                   ": the image is truncated",
                   used->last_usable, last);
  if (pair->backup.present && pair->backup.lba != last)
    im_table_warn (table,
                   "GPT: the backup header is at sector " U64
                   ", not at the disk's last, " U64,
                   pair->backup.lba, last);
  warn_of_other_place (table, &pair->primary, &pair->backup);
  warn_of_other_place (table, &pair->backup, &pair->primary);
  if (copy_score (&pair->primary) == 4 && copy_score (&pair->backup) == 4 &&
      headers_differ (p, b))
    im_table_warn (table, "GPT: primary and backup differ: the primary is used");
}

static void
use_pair (ImPartitionTable *table, ImBlock *disk, const Pair *pair)
{
  bool backup = copy_score (&pair->backup) > copy_score (&pair->primary);
  const Copy *copy = backup ? &pair->backup : &pair->primary;
  im_table_set_sector_size (table, copy->sector_size);
  table->kind = IM_TABLE_GPT;
  table->source = backup ? IM_SOURCE_BACKUP : IM_SOURCE_PRIMARY;
  table->id = g_strdup (copy->header.disk_guid);
  table->first_lba = copy->header.first_usable;
  table->last_lba = copy->header.last_usable;
  table->slots = copy->header.entries;
  table->primary = copy_check (&pair->primary);
  table->backup = copy_check (&pair->backup);
  const char *fate = copy->problem ? ": it is used nevertheless" : "";
  warn_of_copy (table, &pair->primary, backup ? ": the backup is used" : fate);
  warn_of_copy (table, &pair->backup, backup ? fate : "");
  warn_of_pair (table, pair);
  uint32_t crc;
  if (!walk_entries (table, disk, copy, add_entry, &crc))
    im_table_warn (table, "GPT: the entries could not be read to their end");
}

/* True where nothing but zeros stands before the first usable sector of a usual table, or
 * what stands there cannot be read: the start of the disk was wiped, and no file system
 * is there instead. */
static bool
start_is_wiped (ImBlock *disk)
{
  uint8_t start[34 * 512];
  if (disk->size < sizeof start)
    return false;
  if (!im_block_pread (disk, start, sizeof start, 0, NULL))
    return true;
  return start[0] == 0 && memcmp (start, start + 1, sizeof start - 1) == 0;
}

/* Whether PAIR may be used beside an MBR in STATE.  The kernel wants a protective MBR;
 * where sector 0 claims nothing, an intact primary is believed too, and after a wipe a
 * flawless backup.  Otherwise a GPT is what somebody left behind. */
static bool
pair_is_admitted (ImPartitionTable *table, ImBlock *disk, const Pair *pair,
                  ImMbrState state)
{
  switch (state) {
  case IM_MBR_PROTECTIVE:
    return true;
  case IM_MBR_ODD:
    im_table_warn (table, "MBR: the protective entry does not begin at sector 1: the "
                          "Linux kernel ignores this GPT");
    return true;
  case IM_MBR_TABLE:
    im_table_warn (table, "GPT: ignored, since the MBR has partitions and no protective "
                          "entry");
    return false;
  case IM_MBR_ABSENT:
  case IM_MBR_BLANK:
    break;
  }
  bool admitted = copy_score (&pair->primary) == 4 ||
                  (copy_score (&pair->backup) == 4 && start_is_wiped (disk));
  if (admitted)
    im_table_warn (table, "MBR: no protective entry: the Linux kernel ignores this GPT");
  return admitted;
}

bool
im_gpt_read (ImPartitionTable *table, ImBlock *disk, uint32_t sector_size,
             ImMbrState state)
{
  Pair pair;
  find_pair (disk, sector_size, &pair);
  bool use = pair_score (&pair) > 0 && pair_is_admitted (table, disk, &pair, state);
  if (use)
    use_pair (table, disk, &pair);
  else if (state == IM_MBR_PROTECTIVE || state == IM_MBR_ODD) {
    warn_of_copy (table, &pair.primary, "");
    warn_of_copy (table, &pair.backup, "");
  }
  pair_clear (&pair);
  return use;
}
