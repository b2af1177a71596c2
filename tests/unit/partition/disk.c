/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks in memory: a block driver over a memory file, and writers of tables. */
#include "disk.h"

#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

typedef struct {
  ImBlock block;
  ImFile *file;
} MemoryBlock;

static bool
memory_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
            ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  extents[0] = (ImExtent){.offset = offset,
                          .length = length,
                          .kind = IM_EXTENT_FILE,
                          .allocated = true,
                          .stable = true,
                          .file = ((MemoryBlock *)block)->file,
                          .at = offset};
  *ret_n = 1;
  return true;
}

static void
memory_free (ImBlock *block)
{
  im_file_unref (((MemoryBlock *)block)->file);
  g_free (block);
}

static const ImBlockOps memory_ops = {
    .name = "memory", .map = memory_map, .free = memory_free};

TestDisk *
test_disk_new (uint64_t size)
{
  g_autoptr (GError) error = NULL;
  TestDisk *disk = g_new0 (TestDisk, 1);
  disk->fd = memfd_create ("disk", MFD_CLOEXEC);
  g_assert_cmpint (disk->fd, >=, 0);
  g_assert_cmpint (ftruncate (disk->fd, (off_t)size), ==, 0);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", disk->fd);
  MemoryBlock *memory = g_new0 (MemoryBlock, 1);
  memory->file = im_file_open_read_only (path, &error);
  g_assert_no_error (error);
  im_block_init (&memory->block, &memory_ops, size, NULL, NULL);
  disk->block = &memory->block;
  return disk;
}

void
test_disk_free (TestDisk *disk)
{
  im_block_unref (disk->block);
  close (disk->fd);
  g_free (disk);
}

void
test_disk_write (TestDisk *disk, uint64_t offset, const void *bytes, size_t n)
{
  g_assert_cmpint (pwrite (disk->fd, bytes, n, (off_t)offset), ==, (gssize)n);
}

void
test_disk_read (TestDisk *disk, uint64_t offset, void *bytes, size_t n)
{
  g_assert_cmpint (pread (disk->fd, bytes, n, (off_t)offset), ==, (gssize)n);
}

void
test_disk_poke (TestDisk *disk, uint64_t offset, uint8_t byte)
{
  test_disk_write (disk, offset, &byte, 1);
}

void
test_disk_poke32 (TestDisk *disk, uint64_t offset, uint32_t value)
{
  value = GUINT32_TO_LE (value);
  test_disk_write (disk, offset, &value, sizeof value);
}

void
test_disk_poke64 (TestDisk *disk, uint64_t offset, uint64_t value)
{
  value = GUINT64_TO_LE (value);
  test_disk_write (disk, offset, &value, sizeof value);
}

void
test_disk_sign (TestDisk *disk, uint64_t offset)
{
  test_disk_write (disk, offset + 510, "\x55\xaa", 2);
}

void
test_disk_entry (TestDisk *disk, uint64_t offset, unsigned slot, uint8_t type,
                 uint32_t first, uint32_t sectors)
{
  uint64_t at = offset + 446 + 16 * (uint64_t)(slot - 1);
  test_disk_poke (disk, at + 4, type);
  test_disk_poke32 (disk, at + 8, first);
  test_disk_poke32 (disk, at + 12, sectors);
}

static uint64_t
array_sectors (const TestGpt *gpt)
{
  uint64_t bytes = (uint64_t)gpt->entries * gpt->entry_size;
  return (bytes + gpt->sector_size - 1) / gpt->sector_size;
}

uint64_t
test_gpt_primary (const TestGpt *gpt)
{
  return gpt->sector_size;
}

uint64_t
test_gpt_backup (TestDisk *disk, const TestGpt *gpt)
{
  return (disk->block->size / gpt->sector_size - 1) * gpt->sector_size;
}

static uint64_t
array_lba (TestDisk *disk, const TestGpt *gpt, bool backup)
{
  uint64_t last = disk->block->size / gpt->sector_size - 1;
  return backup ? last - array_sectors (gpt) : 2;
}

static void
write_header (TestDisk *disk, const TestGpt *gpt, bool backup)
{
  uint64_t last = disk->block->size / gpt->sector_size - 1;
  uint64_t at = (backup ? last : 1) * gpt->sector_size;
  test_disk_write (disk, at, "EFI PART\0\0\1\0", 12);
  test_disk_poke32 (disk, at + 12, 92);
  test_disk_poke64 (disk, at + 24, backup ? last : 1);
  test_disk_poke64 (disk, at + 32, backup ? 1 : last);
  test_disk_poke64 (disk, at + 40, 2 + array_sectors (gpt));
  test_disk_poke64 (disk, at + 48, last - array_sectors (gpt) - 1);
  test_disk_write (disk, at + 56, "\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10",
                   16);
  test_disk_poke64 (disk, at + 72, array_lba (disk, gpt, backup));
  test_disk_poke32 (disk, at + 80, gpt->entries);
  test_disk_poke32 (disk, at + 84, gpt->entry_size);
}

void
test_disk_gpt (TestDisk *disk, const TestGpt *gpt)
{
  test_disk_sign (disk, 0);
  test_disk_entry (disk, 0, 1, 0xee, 1,
                   (uint32_t)(disk->block->size / gpt->sector_size - 1));
  write_header (disk, gpt, false);
  write_header (disk, gpt, true);
  test_gpt_seal (disk, gpt);
}

void
test_gpt_entry (TestDisk *disk, const TestGpt *gpt, unsigned slot, uint64_t first,
                uint64_t last, const char *name)
{
  static const uint8_t linux_data[16] = {0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47,
                                         0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4};
  uint8_t entry[128] = {0};
  memcpy (entry, linux_data, sizeof linux_data);
  memset (entry + 16, (int)slot, 16);
  for (size_t i = 0; i < strlen (name); i++)
    entry[56 + 2 * i] = (uint8_t)name[i];
  for (int backup = 0; backup < 2; backup++) {
    uint64_t at = array_lba (disk, gpt, backup) * gpt->sector_size +
                  (uint64_t)(slot - 1) * gpt->entry_size;
    test_disk_write (disk, at, entry, sizeof entry);
    test_disk_poke64 (disk, at + 32, first);
    test_disk_poke64 (disk, at + 40, last);
  }
}

void
test_gpt_seal_header (TestDisk *disk, uint64_t at, const TestGpt *gpt)
{
  uint8_t header[512];
  test_disk_poke32 (disk, at + 16, 0);
  test_disk_read (disk, at, header, gpt->sector_size < 512 ? gpt->sector_size : 512);
  uint32_t size = header[12] | (uint32_t)header[13] << 8;
  uint32_t crc = (uint32_t)crc32 (0, header, MIN (size, 512));
  test_disk_poke32 (disk, at + 16, crc);
}

void
test_gpt_seal (TestDisk *disk, const TestGpt *gpt)
{
  size_t n = (size_t)gpt->entries * gpt->entry_size;
  g_autofree uint8_t *array = g_malloc (n + 1);
  for (int backup = 0; backup < 2; backup++) {
    uint64_t at = backup ? test_gpt_backup (disk, gpt) : test_gpt_primary (gpt);
    test_disk_read (disk, array_lba (disk, gpt, backup) * gpt->sector_size, array, n);
    test_disk_poke32 (disk, at + 88, (uint32_t)crc32 (0, array, (uInt)n));
    test_gpt_seal_header (disk, at, gpt);
  }
}

ImPartitionTable *
test_disk_table (TestDisk *disk, uint32_t sector_size)
{
  return im_partition_table_read (disk->block, sector_size);
}

const ImPartition *
test_table_entry (const ImPartitionTable *table, guint i)
{
  g_assert_cmpuint (i, <, table->partitions->len);
  return table->partitions->pdata[i];
}

bool
test_table_warns (const ImPartitionTable *table, const char *text)
{
  for (guint i = 0; i < table->warnings->len; i++)
    if (strstr (table->warnings->pdata[i], text))
      return true;
  return false;
}
