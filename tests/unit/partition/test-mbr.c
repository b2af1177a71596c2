/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What sector 0 is taken for, and its primary partitions. */
#include "disk.h"

#define MIB (UINT64_C (1) << 20)

static TestDisk *
disk_with_mbr (uint64_t size)
{
  TestDisk *disk = test_disk_new (size);
  test_disk_sign (disk, 0);
  test_disk_poke32 (disk, 440, 0x1a2b3c4d);
  return disk;
}

static void
test_numbers_are_slots (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (MIB);
  test_disk_entry (disk, 0, 2, 0x83, 64, 10);
  test_disk_entry (disk, 0, 4, 0x07, 32, 16);
  test_disk_poke (disk, 446 + 16, 0x80);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_MBR);
  g_assert_cmpstr (table->id, ==, "0x1a2b3c4d");
  g_assert_cmpuint (table->partitions->len, ==, 2);
  const ImPartition *p = test_table_entry (table, 0);
  g_assert_cmpuint (p->number, ==, 2);
  g_assert_cmpuint (p->offset, ==, 64 * 512);
  g_assert_cmpuint (p->size, ==, 10 * 512);
  g_assert_cmpuint (p->last_lba, ==, 73);
  g_assert_cmpuint (p->entry_at, ==, 446 + 16);
  g_assert_true (p->bootable);
  g_assert_cmpstr (p->uuid, ==, "1a2b3c4d-02");
  g_assert_cmpuint (p->flags, ==, 0);
  g_assert_true (im_partition_table_find (table, 4) == test_table_entry (table, 1));
  g_assert_null (im_partition_table_find (table, 1));
  g_assert_cmpuint (table->warnings->len, ==, 0);
}

static void
test_nothing_is_no_table (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (MIB);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
  g_assert_cmpuint (table->partitions->len, ==, 0);
  g_assert_cmpuint (table->disk_sectors, ==, 2048);
}

static void
test_tiny_disks_are_no_table (void)
{
  for (uint64_t size = 0; size < 1600; size += 511) {
    g_autoptr (TestDisk) disk = test_disk_new (size);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
    g_assert_cmpuint (table->disk_sectors, ==, size / 512);
  }
}

static void
test_a_blank_table_is_a_table (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (MIB);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_MBR);
  g_assert_cmpuint (table->partitions->len, ==, 0);
}

static void
test_a_boot_flag_beside_0_and_80_is_no_table (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (MIB);
  test_disk_entry (disk, 0, 1, 0x83, 64, 10);
  test_disk_poke (disk, 446 + 48, 0x01);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
  g_assert_true (test_table_warns (table, "boot flag of slot 4 is 0x01"));
}

static void
test_an_aix_disk_is_no_table (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (MIB);
  test_disk_entry (disk, 0, 1, 0x83, 64, 10);
  test_disk_write (disk, 0, "\xc9\xc2\xd4\xc1", 4);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
}

/* The fields of a FAT16 that make it one. */
static void
write_fat (TestDisk *disk)
{
  test_disk_write (disk, 0, "\xeb\x3c\x90mkfs.fat\x00\x02\x04\x01\x00\x02\x00\x02", 19);
  test_disk_poke (disk, 21, 0xf8);
}

static void
test_a_fat_is_no_table (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (MIB);
  write_fat (disk);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
}

static void
test_a_fat_with_an_entry_for_itself_is_no_table (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (MIB);
  write_fat (disk);
  test_disk_entry (disk, 0, 1, 0x0c, 0, 2048);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
}

static void
test_a_fat_sector_with_sane_entries_is_a_table (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (MIB);
  write_fat (disk);
  test_disk_entry (disk, 0, 1, 0x0c, 64, 100);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_MBR);
}

static void
test_ntfs_and_exfat_are_no_table (void)
{
  static const char *const starts[] = {"\xeb\x52\x90NTFS    ", "\xeb\x76\x90"
                                                               "EXFAT   "};
  for (size_t i = 0; i < G_N_ELEMENTS (starts); i++) {
    g_autoptr (TestDisk) disk = disk_with_mbr (MIB);
    test_disk_write (disk, 0, starts[i], 11);
    test_disk_entry (disk, 0, 1, 0x07, 0x20202020, 0x20202020);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
  }
}

static void
test_past_the_end_is_clipped_and_said (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (MIB + 100);
  test_disk_entry (disk, 0, 1, 0x83, 2000, 100);
  test_disk_entry (disk, 0, 2, 0x83, 2048, 100);
  test_disk_entry (disk, 0, 3, 0x83, 0xffffffff, 0xffffffff);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  const ImPartition *p = test_table_entry (table, 0);
  g_assert_cmpuint (p->flags, ==, IM_PARTITION_TRUNCATED | IM_PARTITION_OVERLAPS);
  g_assert_cmpuint (p->sectors, ==, 100);
  g_assert_cmpuint (p->size, ==, 48 * 512);
  g_assert_true (test_table_warns (
      table, "partition 1 runs to sector 2099, past the disk's last, 2047"));
  p = test_table_entry (table, 1);
  g_assert_true (p->flags & IM_PARTITION_PAST_END);
  g_assert_cmpuint (p->size, ==, 0);
  g_assert_null (im_partition_table_find (table, 2));
  p = test_table_entry (table, 2);
  g_assert_cmpuint (p->flags, ==, IM_PARTITION_PAST_END);
  g_assert_cmpuint (p->last_lba, ==, UINT64_C (0x1fffffffd));
  g_assert_true (test_table_warns (table, "partitions 1 and 2 overlap"));
}

/* sfdisk lists such entries; the kernel makes nothing of the first kind, and a partition
 * of the second. */
static void
test_empty_entries_and_empty_types (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (MIB);
  test_disk_entry (disk, 0, 1, 0x83, 10, 0);
  test_disk_entry (disk, 0, 2, 0x00, 20, 5);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 2);
  g_assert_cmpuint (test_table_entry (table, 0)->flags, ==, IM_PARTITION_BAD_RANGE);
  g_assert_null (im_partition_table_find (table, 1));
  g_assert_nonnull (im_partition_table_find (table, 2));
}

static void
test_overlaps_are_flagged_on_both (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (MIB);
  test_disk_entry (disk, 0, 1, 0x83, 100, 100);
  test_disk_entry (disk, 0, 2, 0x83, 300, 100);
  test_disk_entry (disk, 0, 3, 0x83, 199, 2);
  test_disk_entry (disk, 0, 4, 0x83, 200, 100);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  unsigned flags[4];
  for (guint i = 0; i < 4; i++)
    flags[i] = test_table_entry (table, i)->flags;
  g_assert_cmpuint (flags[0], ==, IM_PARTITION_OVERLAPS);
  g_assert_cmpuint (flags[1], ==, 0);
  g_assert_cmpuint (flags[2], ==, IM_PARTITION_OVERLAPS);
  g_assert_cmpuint (flags[3], ==, IM_PARTITION_OVERLAPS);
}

static void
test_sector_size_scales_everything (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (16 * MIB);
  test_disk_entry (disk, 0, 1, 0x83, 10, 20);
  test_disk_entry (disk, 0, 2, 0x83, 4000, 200);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 4096);
  g_assert_cmpuint (table->disk_sectors, ==, 4096);
  g_assert_cmpuint (test_table_entry (table, 0)->offset, ==, 10 * 4096);
  g_assert_cmpuint (test_table_entry (table, 1)->size, ==, 96 * 4096);
}

static void
test_a_protective_entry_without_gpt_has_no_file (void)
{
  g_autoptr (TestDisk) disk = disk_with_mbr (MIB);
  test_disk_entry (disk, 0, 1, 0xee, 1, 2047);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_MBR);
  g_assert_cmpuint (table->partitions->len, ==, 1);
  g_assert_null (im_partition_table_find (table, 1));
  g_assert_true (test_table_warns (table, "no GPT"));
  g_assert_true (test_table_warns (table, "no primary header at sector 1"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, function) g_test_add_func ("/partition/mbr/" path, function)
  ADD ("numbers-are-slots", test_numbers_are_slots);
  ADD ("nothing-is-no-table", test_nothing_is_no_table);
  ADD ("tiny-disks-are-no-table", test_tiny_disks_are_no_table);
  ADD ("a-blank-table-is-a-table", test_a_blank_table_is_a_table);
  ADD ("an-odd-boot-flag-is-no-table", test_a_boot_flag_beside_0_and_80_is_no_table);
  ADD ("an-aix-disk-is-no-table", test_an_aix_disk_is_no_table);
  ADD ("a-fat-is-no-table", test_a_fat_is_no_table);
  ADD ("a-fat-with-an-entry-for-itself-is-no-table",
       test_a_fat_with_an_entry_for_itself_is_no_table);
  ADD ("a-fat-sector-with-sane-entries-is-a-table",
       test_a_fat_sector_with_sane_entries_is_a_table);
  ADD ("ntfs-and-exfat-are-no-table", test_ntfs_and_exfat_are_no_table);
  ADD ("past-the-end-is-clipped-and-said", test_past_the_end_is_clipped_and_said);
  ADD ("empty-entries-and-empty-types", test_empty_entries_and_empty_types);
  ADD ("overlaps-are-flagged-on-both", test_overlaps_are_flagged_on_both);
  ADD ("sector-size-scales-everything", test_sector_size_scales_everything);
  ADD ("a-protective-entry-without-gpt-has-no-file",
       test_a_protective_entry_without_gpt_has_no_file);
  return g_test_run ();
}
