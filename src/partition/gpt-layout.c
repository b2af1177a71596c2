/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GPT headers and entries: pure functions of bytes. */
#include "partition/gpt-layout.h"
#include "base/bytes.h"

#include <zlib.h>

#define CRC_AT      16u
#define NAME_UNITS  36u
#define REPLACEMENT 0xfffdu
#define U64         "%" G_GUINT64_FORMAT

/* The first three fields of a GUID are little-endian, the rest is as it stands. */
static void
format_guid (const uint8_t *b, char *ret_text)
{
  g_snprintf (ret_text, IM_GUID_TEXT, "%08X-%04X-%04X-%02X%02X-%02X%02X%02X%02X%02X%02X",
              im_get_le32 (b), im_get_le16 (b + 4), im_get_le16 (b + 6), b[8], b[9],
              b[10], b[11], b[12], b[13], b[14], b[15]);
}

bool
im_gpt_header_decode (const uint8_t *sector, uint32_t sector_size,
                      ImGptHeader *ret_header)
{
  if (sector_size < IM_GPT_HEADER_SIZE || memcmp (sector, "EFI PART", 8) != 0)
    return false;
  *ret_header = (ImGptHeader){
      .header_size = im_get_le32 (sector + 12),
      .crc = im_get_le32 (sector + CRC_AT),
      .this_lba = im_get_le64 (sector + 24),
      .other_lba = im_get_le64 (sector + 32),
      .first_usable = im_get_le64 (sector + 40),
      .last_usable = im_get_le64 (sector + 48),
      .entries_lba = im_get_le64 (sector + 72),
      .entries = im_get_le32 (sector + 80),
      .entry_size = im_get_le32 (sector + 84),
      .entries_crc = im_get_le32 (sector + 88),
  };
  format_guid (sector + 56, ret_header->disk_guid);
  return true;
}

uint32_t
im_gpt_header_crc (const uint8_t *sector, uint32_t header_size)
{
  static const uint8_t zeros[4];
  uLong crc = crc32 (crc32 (0, NULL, 0), sector, CRC_AT);
  crc = crc32 (crc, zeros, sizeof zeros);
  return (uint32_t)crc32 (crc, sector + CRC_AT + 4, header_size - CRC_AT - 4);
}

static char *
size_problem (const ImGptHeader *h, uint32_t sector_size)
{
  if (h->header_size < IM_GPT_HEADER_SIZE || h->header_size > sector_size)
    return g_strdup_printf ("header size is %u, should be %u to %u", h->header_size,
                            IM_GPT_HEADER_SIZE, sector_size);
  if (h->entry_size < IM_GPT_ENTRY_SIZE || h->entry_size % IM_GPT_ENTRY_SIZE != 0 ||
      !im_is_power_of_2 (h->entry_size / IM_GPT_ENTRY_SIZE))
    return g_strdup_printf ("entry size is %u, should be %u times a power of two",
                            h->entry_size, IM_GPT_ENTRY_SIZE);
  if (h->entry_size > IM_GPT_MAX_ENTRY_SIZE)
    return g_strdup_printf ("entry size is %u, beyond the limit of %u", h->entry_size,
                            IM_GPT_MAX_ENTRY_SIZE);
  if ((uint64_t)h->entries * h->entry_size > IM_GPT_MAX_ARRAY)
    return g_strdup_printf (
        "entry count is %u, with %u bytes each beyond the limit of %u bytes", h->entries,
        h->entry_size, IM_GPT_MAX_ARRAY);
  return NULL;
}

char *
im_gpt_header_problem (const ImGptHeader *h, uint32_t sector_size, uint64_t lba,
                       uint64_t disk_sectors)
{
  char *problem = size_problem (h, sector_size);
  if (problem)
    return problem;
  if (h->this_lba != lba)
    return g_strdup_printf ("header at sector " U64 " says that it is at sector " U64,
                            lba, h->this_lba);
  uint64_t array = im_div_up ((uint64_t)h->entries * h->entry_size, sector_size);
  if (!im_range_fits (h->entries_lba, array, disk_sectors))
    return g_strdup_printf ("entry array (" U64 " sectors at " U64
                            ") runs past the disk's " U64 " sectors",
                            array, h->entries_lba, disk_sectors);
  if (h->last_usable < h->first_usable)
    return g_strdup_printf ("last usable sector " U64 " is before the first, " U64,
                            h->last_usable, h->first_usable);
  return NULL;
}

static uint32_t
next_character (const uint8_t *bytes, size_t units, size_t *at)
{
  uint16_t high = im_get_le16 (bytes + 2 * (*at)++);
  if (high < 0xd800 || high > 0xdfff)
    return high;
  if (high > 0xdbff || *at == units)
    return REPLACEMENT;
  uint16_t low = im_get_le16 (bytes + 2 * *at);
  if (low < 0xdc00 || low > 0xdfff)
    return REPLACEMENT;
  (*at)++;
  return 0x10000u + ((uint32_t)(high - 0xd800) << 10) + (low - 0xdc00u);
}

char *
im_gpt_name_to_utf8 (const uint8_t *bytes, size_t units)
{
  GString *name = g_string_new (NULL);
  size_t at = 0;
  while (at < units) {
    uint32_t character = next_character (bytes, units, &at);
    if (character == 0)
      break;
    g_string_append_unichar (name, character);
  }
  return g_string_free (name, name->len == 0);
}

void
im_gpt_entry_decode (const uint8_t *bytes, ImGptEntry *ret_entry)
{
  static const uint8_t zeros[16];
  ret_entry->used = memcmp (bytes, zeros, sizeof zeros) != 0;
  format_guid (bytes, ret_entry->type_guid);
  format_guid (bytes + 16, ret_entry->unique_guid);
  ret_entry->first = im_get_le64 (bytes + 32);
  ret_entry->last = im_get_le64 (bytes + 40);
  ret_entry->attributes = im_get_le64 (bytes + 48);
  ret_entry->name = im_gpt_name_to_utf8 (bytes + 56, NAME_UNITS);
}
