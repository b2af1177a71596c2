/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GPTs: whole, damaged in one copy or both, and beside all kinds of MBR. */
#include "disk.h"

#define MIB (UINT64_C (1) << 20)

static const uint32_t sector_sizes[] = {512, 1024, 2048, 4096};

static TestDisk *
disk_with_gpt (const TestGpt *gpt)
{
  TestDisk *disk = test_disk_new (8 * MIB);
  test_disk_gpt (disk, gpt);
  test_gpt_entry (disk, gpt, 1, 100, 199, "one");
  test_gpt_entry (disk, gpt, 4, 300, 300, "four");
  test_gpt_seal (disk, gpt);
  return disk;
}

static void
assert_both_partitions (const ImPartitionTable *table, uint32_t sector_size)
{
  g_assert_cmpint (table->kind, ==, IM_TABLE_GPT);
  g_assert_cmpuint (table->sector_size, ==, sector_size);
  g_assert_cmpuint (table->partitions->len, ==, 2);
  const ImPartition *p = test_table_entry (table, 1);
  g_assert_cmpuint (p->number, ==, 4);
  g_assert_cmpuint (p->offset, ==, 300 * (uint64_t)sector_size);
  g_assert_cmpuint (p->size, ==, sector_size);
  g_assert_cmpstr (p->name, ==, "four");
}

static void
test_a_whole_one (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_cmpuint (table->warnings->len, ==, 0);
  g_assert_true (table->protective);
  g_assert_false (table->hybrid);
  g_assert_cmpint (table->source, ==, IM_SOURCE_PRIMARY);
  g_assert_cmpint (table->primary, ==, IM_CHECK_GOOD);
  g_assert_cmpint (table->backup, ==, IM_CHECK_GOOD);
  g_assert_cmpstr (table->id, ==, "04030201-0605-0807-090A-0B0C0D0E0F10");
  g_assert_cmpuint (table->slots, ==, 128);
  g_assert_cmpuint (table->first_lba, ==, 34);
  g_assert_cmpuint (table->last_lba, ==, 16384 - 34);
  const ImPartition *p = test_table_entry (table, 0);
  g_assert_cmpstr (p->type_guid, ==, "0FC63DAF-8483-4772-8E79-3D69D8477DE4");
  g_assert_cmpstr (p->uuid, ==, "01010101-0101-0101-0101-010101010101");
  g_assert_cmpuint (p->entry_at, ==, 1024);
  g_assert_cmpuint (p->flags, ==, 0);
}

static void
test_sector_size_is_found (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (sector_sizes); i++) {
    TestGpt gpt = {sector_sizes[i], 128, 128};
    g_autoptr (TestDisk) disk = disk_with_gpt (&gpt);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    assert_both_partitions (table, sector_sizes[i]);
    g_autoptr (ImPartitionTable) forced = test_disk_table (disk, sector_sizes[i]);
    assert_both_partitions (forced, sector_sizes[i]);
    g_autoptr (ImPartitionTable) wrong =
        test_disk_table (disk, sector_sizes[i] == 512 ? 4096 : 512);
    g_assert_cmpint (wrong->kind, ==, IM_TABLE_MBR);
    g_assert_true (test_table_warns (wrong, "no GPT"));
  }
}

static void
test_backup_is_found_for_each_sector_size (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (sector_sizes); i++) {
    TestGpt gpt = {sector_sizes[i], 128, 128};
    g_autoptr (TestDisk) disk = disk_with_gpt (&gpt);
    uint8_t zeros[4096] = {0};
    test_disk_write (disk, test_gpt_primary (&gpt), zeros, sector_sizes[i]);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    assert_both_partitions (table, sector_sizes[i]);
    g_assert_cmpint (table->source, ==, IM_SOURCE_BACKUP);
    g_assert_cmpint (table->primary, ==, IM_CHECK_ABSENT);
    g_assert_cmpint (test_table_entry (table, 0)->source, ==, IM_SOURCE_BACKUP);
    g_assert_true (test_table_warns (
        table, "GPT: no primary header at sector 1: the backup is used"));
  }
}

static void
test_a_bad_header_checksum_is_named (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  test_disk_poke (disk, 512 + 60, 0xff);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_cmpint (table->source, ==, IM_SOURCE_BACKUP);
  g_assert_cmpint (table->primary, ==, IM_CHECK_BAD_HEADER);
  g_assert_true (test_table_warns (table, "GPT: primary header's checksum is 0x"));
  g_assert_true (test_table_warns (table, ": the backup is used"));
}

static void
test_a_bad_array_checksum_is_named (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  test_disk_poke (disk, 1024 + 56, 'X');
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_cmpstr (test_table_entry (table, 0)->name, ==, "one");
  g_assert_cmpint (table->primary, ==, IM_CHECK_BAD_ENTRIES);
  g_assert_true (test_table_warns (table, "GPT: primary entries' checksum is 0x"));
}

static void
test_with_both_bad_the_rest_is_read (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  test_disk_poke (disk, 1024 + 56, 'X');
  test_disk_poke (disk, test_gpt_backup (disk, &TEST_GPT) + 60, 0xff);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_cmpint (table->source, ==, IM_SOURCE_PRIMARY);
  g_assert_cmpstr (test_table_entry (table, 0)->name, ==, "Xne");
  g_assert_cmpint (table->backup, ==, IM_CHECK_BAD_HEADER);
  g_assert_true (test_table_warns (table, "it is used nevertheless"));
}

static void
test_a_damaged_backup_is_said (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  test_disk_poke (disk, test_gpt_backup (disk, &TEST_GPT), 'e');
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_cmpint (table->source, ==, IM_SOURCE_PRIMARY);
  g_assert_cmpint (table->backup, ==, IM_CHECK_ABSENT);
  g_assert_true (test_table_warns (table, "GPT: no backup header at sector 16383"));
}

static void
test_copies_that_differ_are_said (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  test_disk_poke (disk, test_gpt_backup (disk, &TEST_GPT) + 56, 0xff);
  test_gpt_seal_header (disk, test_gpt_backup (disk, &TEST_GPT), &TEST_GPT);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_true (test_table_warns (table, "primary and backup differ"));
}

/* A grown image: its backup is where the primary says. */
static void
test_a_backup_off_the_end_is_found (void)
{
  g_autoptr (TestDisk) small = disk_with_gpt (&TEST_GPT);
  g_autoptr (TestDisk) disk = test_disk_new (16 * MIB);
  g_autofree uint8_t *bytes = g_malloc (8 * MIB);
  test_disk_read (small, 0, bytes, 8 * MIB);
  test_disk_write (disk, 0, bytes, 8 * MIB);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_cmpint (table->backup, ==, IM_CHECK_GOOD);
  g_assert_true (test_table_warns (table, "the backup header is at sector 16383, not"));

  /* The primary's own entries fail: the same backup serves. */
  test_disk_poke (disk, 1024 + 56, 'X');
  g_autoptr (ImPartitionTable) second = test_disk_table (disk, 0);
  g_assert_cmpint (second->source, ==, IM_SOURCE_BACKUP);
  /* Its header fails too: the sector that it names is still tried. */
  test_disk_poke (disk, 512 + 56, 'X');
  g_autoptr (ImPartitionTable) third = test_disk_table (disk, 0);
  g_assert_cmpint (third->source, ==, IM_SOURCE_BACKUP);
  assert_both_partitions (third, 512);
}

static void
test_a_truncated_image_keeps_its_table (void)
{
  g_autoptr (TestDisk) whole = disk_with_gpt (&TEST_GPT);
  g_autoptr (TestDisk) disk = test_disk_new (150 * 512);
  uint8_t bytes[150 * 512];
  test_disk_read (whole, 0, bytes, sizeof bytes);
  test_disk_write (disk, 0, bytes, sizeof bytes);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_GPT);
  g_assert_cmpuint (test_table_entry (table, 0)->flags, ==, IM_PARTITION_TRUNCATED);
  g_assert_cmpuint (test_table_entry (table, 0)->size, ==, 50 * 512);
  g_assert_cmpuint (test_table_entry (table, 1)->flags, ==, IM_PARTITION_PAST_END);
  g_assert_true (test_table_warns (table, "the image is truncated"));
}

static void
test_large_entries_and_many (void)
{
  static const TestGpt shapes[] = {
      {512, 128, 256}, {512, 4, 4096}, {512, 2, 65536}, {512, 1024, 128}, {4096, 9, 512}};
  for (size_t i = 0; i < G_N_ELEMENTS (shapes); i++) {
    const TestGpt *gpt = &shapes[i];
    g_autoptr (TestDisk) disk = test_disk_new (8 * MIB);
    test_disk_gpt (disk, gpt);
    test_gpt_entry (disk, gpt, gpt->entries, 600, 700, "last");
    test_gpt_seal (disk, gpt);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    g_assert_cmpuint (table->partitions->len, ==, 1);
    g_assert_cmpuint (test_table_entry (table, 0)->number, ==, gpt->entries);
    g_assert_cmpuint (table->warnings->len, ==, 0);
    g_assert_cmpint (table->backup, ==, IM_CHECK_GOOD);
  }
}

static void
test_an_absurd_count_falls_back (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  test_disk_poke32 (disk, 512 + 80, UINT32_MAX);
  test_gpt_seal_header (disk, 512, &TEST_GPT);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_cmpint (table->source, ==, IM_SOURCE_BACKUP);
  g_assert_true (test_table_warns (table, "entry count is 4294967295"));
}

static void
test_hostile_ranges (void)
{
  static const struct {
    uint64_t first, last;
    unsigned flags;
    uint64_t sectors;
  } cases[] = {
      {200, 199, IM_PARTITION_BAD_RANGE, 0},
      {0, UINT64_MAX, IM_PARTITION_BAD_RANGE, 0},
      {UINT64_MAX, UINT64_MAX, IM_PARTITION_PAST_END | IM_PARTITION_OUTSIDE, 1},
      {1, UINT64_MAX, IM_PARTITION_TRUNCATED | IM_PARTITION_OUTSIDE, UINT64_MAX},
      {16384, 16384, IM_PARTITION_PAST_END | IM_PARTITION_OUTSIDE, 1},
      {33, 40, IM_PARTITION_OUTSIDE, 8},
      {16300, 16351, IM_PARTITION_OUTSIDE, 52},
      {34, 16350, 0, 16317},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (TestDisk) disk = test_disk_new (8 * MIB);
    test_disk_gpt (disk, &TEST_GPT);
    test_gpt_entry (disk, &TEST_GPT, 7, cases[i].first, cases[i].last, "");
    test_gpt_seal (disk, &TEST_GPT);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    const ImPartition *p = test_table_entry (table, 0);
    g_assert_cmpuint (p->number, ==, 7);
    g_assert_cmphex (p->flags, ==, cases[i].flags);
    g_assert_cmpuint (p->sectors, ==, cases[i].sectors);
    g_assert_cmpuint (p->last_lba, ==, cases[i].last);
    g_assert_null (p->name);
    g_assert_true (p->size <= 8 * MIB && p->offset <= 8 * MIB - p->size);
  }
}

static void
test_warnings_are_bounded (void)
{
  TestGpt gpt = {512, 1024, 128};
  g_autoptr (TestDisk) disk = test_disk_new (8 * MIB);
  test_disk_gpt (disk, &gpt);
  for (unsigned slot = 1; slot <= gpt.entries; slot++)
    test_gpt_entry (disk, &gpt, slot, 2000, 1000, "x");
  test_gpt_seal (disk, &gpt);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 1024);
  g_assert_cmpuint (table->warnings->len, ==, 65);
  g_assert_true (test_table_warns (table, "further warnings are left out"));
}

static void
test_a_hybrid_mbr_yields_to_the_gpt (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  test_disk_entry (disk, 0, 1, 0x83, 100, 100);
  test_disk_entry (disk, 0, 3, 0xee, 1, 99);
  /* The kernel does not mind the boot flags of these. */
  test_disk_poke (disk, 446, 0x17);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_true (table->hybrid);
  g_assert_false (table->protective);
}

static void
test_an_mbr_with_partitions_wins_over_a_forgotten_gpt (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  test_disk_entry (disk, 0, 1, 0x83, 100, 100);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_MBR);
  g_assert_cmpuint (table->partitions->len, ==, 1);
  g_assert_true (test_table_warns (table, "GPT: ignored"));
}

static void
test_a_protective_entry_elsewhere_is_said (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  test_disk_entry (disk, 0, 1, 0xee, 2, 99);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_false (table->protective);
  g_assert_true (test_table_warns (table, "does not begin at sector 1"));
}

static void
test_without_mbr_an_intact_primary_counts (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  uint8_t zeros[512] = {0};
  test_disk_write (disk, 0, zeros, sizeof zeros);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_true (test_table_warns (table, "the Linux kernel ignores this GPT"));
}

static void
test_after_a_wipe_the_backup_counts (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  uint8_t zeros[34 * 512] = {0};
  test_disk_write (disk, 0, zeros, sizeof zeros);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_cmpint (table->source, ==, IM_SOURCE_BACKUP);
}

/* An ext4 made on the whole disk leaves the backup alone. */
static void
test_a_backup_behind_a_file_system_is_no_table (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  uint8_t zeros[34 * 512] = {0};
  test_disk_write (disk, 0, zeros, sizeof zeros);
  test_disk_write (disk, 1024 + 56, "\x53\xef", 2);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
  g_assert_cmpuint (table->warnings->len, ==, 0);
}

/* The primary must not be taken for its own backup. */
static void
test_a_primary_that_names_itself_has_no_backup (void)
{
  g_autoptr (TestDisk) disk = disk_with_gpt (&TEST_GPT);
  test_disk_poke64 (disk, 512 + 32, 1);
  test_gpt_seal_header (disk, 512, &TEST_GPT);
  test_disk_poke (disk, test_gpt_backup (disk, &TEST_GPT), 0);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  assert_both_partitions (table, 512);
  g_assert_cmpint (table->backup, ==, IM_CHECK_ABSENT);
}

static void
test_a_partial_last_sector_is_not_counted (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (8 * MIB + 300);
  test_disk_gpt (disk, &TEST_GPT);
  test_gpt_entry (disk, &TEST_GPT, 1, 100, 20000, "long");
  test_gpt_seal (disk, &TEST_GPT);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->disk_sectors, ==, 16384);
  g_assert_cmpint (table->backup, ==, IM_CHECK_GOOD);
  g_assert_cmpuint (test_table_entry (table, 0)->size, ==, (16384 - 100) * 512);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, function) g_test_add_func ("/partition/gpt/" path, function)
  ADD ("a-whole-one", test_a_whole_one);
  ADD ("sector-size-is-found", test_sector_size_is_found);
  ADD ("backup-is-found-for-each-sector-size", test_backup_is_found_for_each_sector_size);
  ADD ("a-bad-header-checksum-is-named", test_a_bad_header_checksum_is_named);
  ADD ("a-bad-array-checksum-is-named", test_a_bad_array_checksum_is_named);
  ADD ("with-both-bad-the-rest-is-read", test_with_both_bad_the_rest_is_read);
  ADD ("a-damaged-backup-is-said", test_a_damaged_backup_is_said);
  ADD ("copies-that-differ-are-said", test_copies_that_differ_are_said);
  ADD ("a-backup-off-the-end-is-found", test_a_backup_off_the_end_is_found);
  ADD ("a-truncated-image-keeps-its-table", test_a_truncated_image_keeps_its_table);
  ADD ("large-entries-and-many", test_large_entries_and_many);
  ADD ("an-absurd-count-falls-back", test_an_absurd_count_falls_back);
  ADD ("hostile-ranges", test_hostile_ranges);
  ADD ("warnings-are-bounded", test_warnings_are_bounded);
  ADD ("a-hybrid-mbr-yields-to-the-gpt", test_a_hybrid_mbr_yields_to_the_gpt);
  ADD ("an-mbr-with-partitions-wins",
       test_an_mbr_with_partitions_wins_over_a_forgotten_gpt);
  ADD ("a-protective-entry-elsewhere-is-said", test_a_protective_entry_elsewhere_is_said);
  ADD ("without-mbr-an-intact-primary-counts", test_without_mbr_an_intact_primary_counts);
  ADD ("after-a-wipe-the-backup-counts", test_after_a_wipe_the_backup_counts);
  ADD ("a-backup-behind-a-file-system-is-no-table",
       test_a_backup_behind_a_file_system_is_no_table);
  ADD ("a-primary-that-names-itself-has-no-backup",
       test_a_primary_that_names_itself_has_no_backup);
  ADD ("a-partial-last-sector-is-not-counted", test_a_partial_last_sector_is_not_counted);
  return g_test_run ();
}
