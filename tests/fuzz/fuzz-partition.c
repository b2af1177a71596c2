/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzes the partition tables and their report.  The first byte says how, the others are
 * the disk:
 *
 *   bits 0-2   sector size: found, 512, 1024, 2048, 4096
 *   bit 3      the checksums of GPTs are set right first, so that what lies behind them
 *              is reached
 *   bit 4      the disk is 1 MiB longer than its bytes */
#include "base/bytes.h"
#include "disk.h"
#include "partition/gaps.h"
#include "report/report.h"

#include <zlib.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

static void
put_le32 (uint8_t *p, uint32_t value)
{
  value = GUINT32_TO_LE (value);
  memcpy (p, &value, sizeof value);
}

/* Sets the checksums of the header at byte AT of a disk of SIZE bytes, if there is one.
 */
static void
seal (uint8_t *disk, size_t size, size_t at, size_t sector_size)
{
  if (at > size || size - at < 92 || memcmp (disk + at, "EFI PART", 8) != 0)
    return;
  uint8_t *h = disk + at;
  uint32_t header_size = im_get_le32 (h + 12);
  uint64_t array = im_get_le64 (h + 72);
  uint64_t n = (uint64_t)im_get_le32 (h + 80) * im_get_le32 (h + 84);
  if (array < size / sector_size && n <= size - array * sector_size)
    put_le32 (h + 88, (uint32_t)crc32 (0, disk + array * sector_size, (uInt)n));
  if (header_size < 92 || header_size > size - at)
    return;
  put_le32 (h + 16, 0);
  put_le32 (h + 16, (uint32_t)crc32 (0, h, header_size));
}

static void
seal_all (uint8_t *disk, size_t size)
{
  for (size_t sector_size = 512; sector_size <= 4096; sector_size *= 2) {
    seal (disk, size, sector_size, sector_size);
    if (size >= sector_size)
      seal (disk, size, (size / sector_size - 1) * sector_size, sector_size);
  }
}

static void
check_entry (const ImPartitionTable *table, const ImPartition *p)
{
  g_assert_true (p->offset <= table->disk_size);
  g_assert_true (p->size <= table->disk_size - p->offset);
  g_assert_true (p->number > 0);
  g_assert_true (!p->container || p->size == 0);
  g_assert_true (!p->name || g_utf8_validate (p->name, -1, NULL));
  g_assert_nonnull (im_partition_type_name (p));
}

static void
check_report (TestDisk *disk, const ImPartitionTable *table)
{
  static const ImFormat format = {.name = "raw"};
  ImImage image = {.path = (char *)"fuzz.img", .format = &format, .disk = disk->block};
  g_autofree char *text = im_report_list (&image, table);
  g_assert_true (g_utf8_validate (text, -1, NULL));
  if (!im_report_has_json ())
    return;
  g_autofree char *json = im_report_list_json (&image, table, NULL);
  g_assert_true (g_utf8_validate (json, -1, NULL));
}

/* No line is wider than the terminal; in ASCII every byte is a column. */
static void
check_drawing (TestDisk *disk, const ImPartitionTable *table, unsigned columns)
{
  const ImTerminal plain = {.columns = columns}, rich = {columns, true, true};
  g_autofree char *text = im_report_drawing (disk->block, table, &plain);
  g_autofree char *other = im_report_drawing (disk->block, table, &rich);
  g_assert_true (g_utf8_validate (other, -1, NULL));
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line; line++) {
    g_assert_true (g_str_is_ascii (*line));
    g_assert_true (!strpbrk (*line, "+|") || strlen (*line) <= columns);
  }
}

/* Gaps are in order, in the disk, and in no partition. */
static void
check_gaps (const ImPartitionTable *table)
{
  g_autoptr (GArray) gaps = im_partition_gaps (table);
  uint64_t at = 0;
  for (guint i = 0; i < gaps->len; i++) {
    const ImGap *gap = &g_array_index (gaps, ImGap, i);
    g_assert_true (gap->offset >= at && gap->size > 0);
    g_assert_true (im_range_fits (gap->offset, gap->size, table->disk_size));
    at = gap->offset + gap->size;
  }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static const uint32_t sector_sizes[8] = {0, 512, 1024, 2048, 4096};
  if (size < 1 || size > 1 << 20)
    return 0;
  uint8_t how = data[0];
  g_autofree uint8_t *bytes = g_memdup2 (data + 1, size - 1);
  if (how & 8)
    seal_all (bytes, size - 1);
  g_autoptr (TestDisk) disk = test_disk_new (size - 1 + (how & 16 ? 1 << 20 : 0));
  if (size > 1)
    test_disk_write (disk, 0, bytes, size - 1);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, sector_sizes[how & 7]);
  for (guint i = 0; i < table->partitions->len; i++)
    check_entry (table, table->partitions->pdata[i]);
  check_report (disk, table);
  check_drawing (disk, table, 20 + size % 97);
  check_gaps (table);
  return 0;
}
