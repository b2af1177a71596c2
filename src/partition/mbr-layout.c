/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MBR, EBR and boot sectors: pure functions of 512 bytes. */
#include "partition/mbr-layout.h"
#include "base/bytes.h"

#define ID_AT        440u
#define SIGNATURE_AT 510u

static ImMbrEntry
decode_entry (const uint8_t *p)
{
  static const uint8_t zeros[IM_MBR_ENTRY_SIZE];
  return (ImMbrEntry){
      .flag = p[0],
      .type = p[4],
      .first = im_get_le32 (p + 8),
      .sectors = im_get_le32 (p + 12),
      .blank = memcmp (p, zeros, sizeof zeros) == 0,
  };
}

void
im_mbr_decode (const uint8_t *sector, ImMbr *ret_mbr)
{
  ret_mbr->signature = sector[SIGNATURE_AT] == 0x55 && sector[SIGNATURE_AT + 1] == 0xaa;
  ret_mbr->id = im_get_le32 (sector + ID_AT);
  for (size_t i = 0; i < IM_MBR_ENTRIES; i++)
    ret_mbr->entries[i] = decode_entry (sector + IM_MBR_ENTRY_AT + i * IM_MBR_ENTRY_SIZE);
}

bool
im_mbr_type_is_extended (uint8_t type)
{
  return type == 0x05 || type == 0x0f || type == 0x85;
}

/* The fields that every FAT has, from FAT12 to FAT32. */
static bool
has_fat_parameters (const uint8_t *s)
{
  uint16_t sector_size = im_get_le16 (s + 11);
  bool sizes = im_is_power_of_2 (sector_size) && sector_size >= 512 &&
               sector_size <= 4096 && im_is_power_of_2 (s[13]);
  bool reserved = im_get_le16 (s + 14) != 0;
  bool tables = s[16] == 1 || s[16] == 2;
  bool media = s[21] == 0xf0 || s[21] >= 0xf8;
  return sizes && reserved && tables && media;
}

bool
im_mbr_is_boot_sector (const uint8_t *sector)
{
  bool jump = (sector[0] == 0xeb && sector[2] == 0x90) || sector[0] == 0xe9;
  if (!jump)
    return false;
  if (memcmp (sector + 3, "NTFS    ", 8) == 0 || memcmp (sector + 3, "EXFAT   ", 8) == 0)
    return true;
  return has_fat_parameters (sector);
}

bool
im_mbr_is_aix (const uint8_t *sector)
{
  /* "IBMA" in EBCDIC. */
  return im_get_be32 (sector) == 0xc9c2d4c1;
}
