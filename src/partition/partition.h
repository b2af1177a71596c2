/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partition tables: disk → named slices, numbered as the Linux kernel numbers them. */
#pragma once

#include "block/block.h"

typedef enum {
  IM_TABLE_NONE, /* no table: a bare file system, or nothing */
  IM_TABLE_MBR,
  IM_TABLE_GPT,
  IM_TABLE_APPLE,
  IM_TABLE_SUN,
  IM_TABLE_SGI,
  IM_TABLE_ATARI,
} ImTableKind;

/* Where an entry was found. */
typedef enum {
  IM_SOURCE_PRIMARY,
  IM_SOURCE_BACKUP,
  IM_SOURCE_EBR,
  IM_SOURCE_DISKLABEL, /* a BSD one, inside a partition */
} ImTableSource;

/* What became of one copy of a GPT. */
typedef enum {
  IM_CHECK_NONE,        /* the table has no such copy (every MBR) */
  IM_CHECK_GOOD,        /* both checksums hold */
  IM_CHECK_BAD_ENTRIES, /* the header's holds, the entry array's does not */
  IM_CHECK_BAD_HEADER,  /* the header's does not, or its fields contradict the disk */
  IM_CHECK_ABSENT,      /* no header where one should be */
} ImTableCheck;

/* What is wrong with an entry; bits. */
typedef enum {
  IM_PARTITION_TRUNCATED = 1 << 0, /* runs past the disk's end and was clipped */
  IM_PARTITION_OVERLAPS = 1 << 1,  /* shares sectors with another entry */
  IM_PARTITION_PAST_END = 1 << 2,  /* begins past the disk's end: no file */
  IM_PARTITION_BAD_RANGE = 1 << 3, /* last before first, or empty: no file */
  IM_PARTITION_OUTSIDE = 1 << 4,   /* a logical one outside its container, a GPT one
                                    * outside the usable sectors */
} ImPartitionFlags;

typedef struct {
  unsigned number;       /* the kernel's: p<number>; a container has its slot's */
  unsigned slot;         /* in its table, from 1 */
  unsigned level;        /* 0 in the outer table, 1 a logical or nested one */
  unsigned inside;       /* nested in the partition of that number; 0: in none */
  bool whole;            /* stands for the whole disk: overlapping others is its way */
  bool container;        /* an extended partition: listed, never handed out */
  uint64_t first_lba;    /* sectors of the table's size, on the disk */
  uint64_t last_lba;     /* as the table states it; first_lba where it is empty */
  uint64_t sectors;      /* as the table states it, unclipped; 0 with BAD_RANGE */
  uint64_t offset, size; /* bytes, clipped to the disk; size 0: nothing to hand out, as
                          * with containers and protective entries */
  uint64_t entry_at;     /* byte on the disk where the entry itself stands */
  ImTableSource source;
  unsigned flags; /* ImPartitionFlags */
  /* All but MBR and GPT: the type as a number, where it is one, … */
  uint32_t type_code;
  const char *type_name; /* … in words, static, or NULL; … */
  char *type_text;       /* … or as the table has it */
  /* MBR */
  uint8_t mbr_type;
  bool bootable;
  /* GPT; strings in upper case, as sfdisk prints them */
  char *type_guid;
  char *unique_guid;
  uint64_t attributes;
  char *name; /* UTF-8, or NULL */
  char *uuid; /* PARTUUID as Linux forms it: lower case GUID for a GPT, 8 hex digits, '-',
               * the number in 2 hex digits for an MBR; NULL for a container */
} ImPartition;

typedef struct {
  ImTableKind kind;
  uint32_t sector_size;
  uint64_t disk_sectors;        /* of sector_size; a partial last one not counted */
  uint64_t disk_size;           /* bytes */
  char *id;                     /* "0x1a2b3c4d" or an upper-case GUID; NULL for NONE */
  uint64_t first_lba, last_lba; /* GPT: the usable range */
  uint32_t slots;               /* GPT: entries that the table has room for */
  bool protective, hybrid; /* GPT: what the MBR beside it is, as the kernel sees it */
  ImTableSource source;    /* PRIMARY, or BACKUP where the primary failed */
  ImTableCheck primary, backup; /* GPT: the two copies */
  GPtrArray *partitions; /* of ImPartition, in listing order: by slot, logical ones after
                          * the primary ones in chain order */
  GPtrArray *warnings;   /* of char *: one sentence each of what is damaged */
} ImPartitionTable;

/* Reads the tables of DISK.  SECTOR_SIZE 0: found by where a GPT lies, else 512.  Damage,
 * unreadable sectors included, is warnings and flags: there is always a table, if one of
 * kind NONE. */
ImPartitionTable *im_partition_table_read (ImBlock *disk, uint32_t sector_size);
void im_partition_table_free (ImPartitionTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImPartitionTable, im_partition_table_free)

/* What the scheme is called: "MBR", "GPT", "Apple map", …; NULL for NONE. */
const char *im_table_scheme (ImTableKind kind);

/* By the kernel's number; NULL: none, or nothing to hand out. */
const ImPartition *im_partition_table_find (const ImPartitionTable *table,
                                            unsigned number);

/* For people: "Linux filesystem", "HPFS/NTFS/exFAT"; the code or GUID itself where it is
 * unknown.  Static, or owned by PARTITION. */
const char *im_partition_type_name (const ImPartition *partition);
