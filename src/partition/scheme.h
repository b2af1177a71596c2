/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the readers of the schemes share; nobody outside src/partition includes it.
 *
 *   table.c ── sector 0 ──► mbr.c: what is it?
 *      │                      │ a boot sector, nothing      ──► NONE
 *      │                      │ entries                     ──► mbr.c ──► ebr.c
 *      └── gpt.c ◄────────────┘ a protective entry
 *            └── both copies, four sector sizes ──► the best one's entries
 *
 * Readers add entries as their table states them; table.c then clips, flags and
 * compares them all in one place. */
#pragma once

#include "partition/mbr-layout.h"
#include "partition/partition.h"

/* More of them would bury the first ones, and a hostile table can cause thousands. */
#define IM_TABLE_MAX_WARNINGS 64u

ImPartitionTable *im_table_new (uint64_t disk_size);
void im_table_set_sector_size (ImPartitionTable *table, uint32_t sector_size);

/* Adds one sentence; past the limit only a last one that says so. */
void im_table_warn (ImPartitionTable *table, const char *format, ...)
    G_GNUC_PRINTF (2, 3);

/* A new entry of SECTORS sectors at FIRST_LBA, appended to TABLE, which owns it. */
ImPartition *im_table_add (ImPartitionTable *table, unsigned number, unsigned slot,
                           uint64_t first_lba, uint64_t sectors);

/* Reads LEN bytes of sector LBA, LEN at most a sector.  False where it is not on the disk
 * or cannot be read; WHAT names it in the warning, NULL for none. */
bool im_table_read_sector (ImPartitionTable *table, ImBlock *disk, uint64_t lba,
                           void *buf, size_t len, const char *what);

/* What sector 0 says. */
typedef enum {
  IM_MBR_ABSENT,     /* no signature, bad boot flags, or a file system's boot sector */
  IM_MBR_BLANK,      /* a signature, and four empty slots */
  IM_MBR_TABLE,      /* entries, none of them protective */
  IM_MBR_PROTECTIVE, /* type 0xee at sector 1, as the kernel wants it */
  IM_MBR_ODD,        /* type 0xee elsewhere: for the kernel no table at all */
} ImMbrState;

/* DISK_SECTORS, in the MBR's own sectors, judges the entries of what may be a file
 * system's boot sector. */
ImMbrState im_mbr_classify (const ImMbr *mbr, const uint8_t *sector,
                            uint64_t disk_sectors);

/* Says so where only the boot flags keep what is in SECTOR from being a table. */
void im_mbr_warn_of_flags (ImPartitionTable *table, const ImMbr *mbr,
                           const uint8_t *sector);

/* True where other entries stand beside the protective one. */
bool im_mbr_is_hybrid (const ImMbr *mbr);

/* Makes TABLE that of MBR, with the logical partitions of every container. */
void im_mbr_read (ImPartitionTable *table, ImBlock *disk, const ImMbr *mbr);

/* Follows the chain of the container that has SECTORS sectors at FIRST_LBA, and numbers
 * what it finds from *NUMBER on. */
void im_ebr_read (ImPartitionTable *table, ImBlock *disk, uint32_t disk_id,
                  uint64_t first_lba, uint64_t sectors, unsigned *number);

/* Adds ENTRY, whose sector numbers count from BASE, and which stands at byte ENTRY_AT. */
ImPartition *im_mbr_add_entry (ImPartitionTable *table, const ImMbrEntry *entry,
                               unsigned number, unsigned slot, uint64_t base,
                               uint64_t entry_at, uint32_t disk_id);

/* Reads the disklabel in SLICE, a partition of TABLE, if there is one, and numbers what
 * it finds from *NUMBER on. */
void im_bsd_read (ImPartitionTable *table, ImBlock *disk, const ImPartition *slice,
                  unsigned *number);

/* Labels that are SECTOR, the first, alone: is it one, and what it says. */
bool im_sun_is_label (const uint8_t *sector);
void im_sun_read (ImPartitionTable *table, const uint8_t *sector);
bool im_sgi_is_label (const uint8_t *sector);
void im_sgi_read (ImPartitionTable *table, const uint8_t *sector);

/* Makes TABLE the one that begins in SECTOR, the first.  False: there is none. */
bool im_apple_read (ImPartitionTable *table, ImBlock *disk, const uint8_t *sector);
bool im_atari_read (ImPartitionTable *table, ImBlock *disk, const uint8_t *sector);

/* Makes TABLE that of the GPT on DISK, its sectors of SECTOR_SIZE bytes or, where that is
 * 0, of the size that fits best.  False: there is none that may be used beside an MBR in
 * STATE. */
bool im_gpt_read (ImPartitionTable *table, ImBlock *disk, uint32_t sector_size,
                  ImMbrState state);
