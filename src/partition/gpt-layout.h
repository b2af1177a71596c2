/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The GUID partition table (UEFI specification, chapter 5).  Integers are little-endian.
 *
 *   LBA 0        1        2 …                                        last
 *   +------------+--------+---------+--//--+---------+---------+--------+
 *   | protective | header | entries |      |         | entries | backup |
 *   | MBR        |        |         |      |         |         | header |
 *   +------------+--------+---------+--//--+---------+---------+--------+
 *
 *   header:  0 "EFI PART"        8 revision       12 header size     16 header's CRC32
 *           24 this LBA         32 the other's    40 first usable    48 last usable
 *           56 disk GUID        72 entries' LBA   80 entries         84 entry size
 *           88 entries' CRC32   92 end
 *
 *   entry:   0 type GUID        16 unique GUID    32 first LBA       40 last LBA
 *           48 attributes       56 name, 36 UTF-16 units            128 end
 *
 * The header's CRC32 is taken with its own four bytes zero, over as many bytes as the
 * header size says; that of the entries over all of them, used or not. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define IM_GPT_HEADER_SIZE 92u
#define IM_GPT_ENTRY_SIZE  128u

/* An entry is 128 bytes times a power of two.  A piece of the array (gpt.c) holds whole
 * entries, so none may be larger than that; nobody writes more than 128. */
#define IM_GPT_MAX_ENTRY_SIZE 65536u

/* The whole array.  The Linux kernel takes no more either; 16 KiB are usual. */
#define IM_GPT_MAX_ARRAY (4u << 20)

/* Longest text of a GUID with its NUL. */
#define IM_GUID_TEXT 37

typedef struct {
  uint32_t header_size;
  uint32_t crc;
  uint64_t this_lba, other_lba;
  uint64_t first_usable, last_usable;
  char disk_guid[IM_GUID_TEXT];
  uint64_t entries_lba;
  uint32_t entries;
  uint32_t entry_size;
  uint32_t entries_crc;
} ImGptHeader;

typedef struct {
  bool used;
  char type_guid[IM_GUID_TEXT];
  char unique_guid[IM_GUID_TEXT];
  uint64_t first, last;
  uint64_t attributes;
  char *name; /* UTF-8, caller frees; NULL where it is empty */
} ImGptEntry;

/* Decodes SECTOR, a whole one of SECTOR_SIZE bytes.  False: the signature is not there.
 */
bool im_gpt_header_decode (const uint8_t *sector, uint32_t sector_size,
                           ImGptHeader *ret_header);

/* The CRC32 that the header in SECTOR should have.  HEADER_SIZE has been checked. */
uint32_t im_gpt_header_crc (const uint8_t *sector, uint32_t header_size);

/* NULL where HEADER, found at sector LBA of a disk of DISK_SECTORS, makes sense;
 * otherwise what is wrong, with field, value and bound.  Caller frees. */
char *im_gpt_header_problem (const ImGptHeader *header, uint32_t sector_size,
                             uint64_t lba, uint64_t disk_sectors);

/* Decodes the first IM_GPT_ENTRY_SIZE bytes of an entry. */
void im_gpt_entry_decode (const uint8_t *bytes, ImGptEntry *ret_entry);

/* UNITS units of UTF-16, ended by a zero where they are fewer, as UTF-8; what is no valid
 * pair becomes U+FFFD.  NULL where it is empty. */
char *im_gpt_name_to_utf8 (const uint8_t *bytes, size_t units);
