/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The MBR and the EBR, 512 bytes each whatever the sector's size.  Integers are
 * little-endian.
 *
 *   0          440    446       462       478       494       510    512
 *   +----//----+------+---------+---------+---------+---------+------+
 *   | boot     | disk | entry 1 | entry 2 | entry 3 | entry 4 | 0x55 |
 *   | code     | id   |         |         |         |         | 0xaa |
 *   +----//----+------+---------+---------+---------+---------+------+
 *
 *   an entry:  0 boot flag   1 first CHS   4 type   5 last CHS   8 first   12 sectors
 *
 * In an EBR the first entry is a partition, counted from the EBR's own sector, and the
 * second one links to the next EBR, counted from the container's first sector. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IM_MBR_SIZE       512u
#define IM_MBR_ENTRIES    4u
#define IM_MBR_ENTRY_AT   446u
#define IM_MBR_ENTRY_SIZE 16u

#define IM_MBR_TYPE_PROTECTIVE 0xee
#define IM_MBR_TYPE_FREEBSD    0xa5
#define IM_MBR_TYPE_OPENBSD    0xa6
#define IM_MBR_TYPE_NETBSD     0xa9

typedef struct {
  uint8_t flag; /* 0x80: bootable */
  uint8_t type;
  uint32_t first;
  uint32_t sectors;
  bool blank; /* all its bytes are zero */
} ImMbrEntry;

typedef struct {
  bool signature;
  uint32_t id;
  ImMbrEntry entries[IM_MBR_ENTRIES];
} ImMbr;

/* Decodes the IM_MBR_SIZE bytes of SECTOR. */
void im_mbr_decode (const uint8_t *sector, ImMbr *ret_mbr);

/* An extended partition's type. */
bool im_mbr_type_is_extended (uint8_t type);

/* True for the boot sector of a FAT, exFAT or NTFS file system. */
bool im_mbr_is_boot_sector (const uint8_t *sector);

/* True for a disk of AIX, whose first sector only looks like a table. */
bool im_mbr_is_aix (const uint8_t *sector);
