/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gaps and partitions divide the disk. */
#include "disk.h"
#include "partition/gaps.h"

#define MIB (UINT64_C (1) << 20)

/* "0+1 100+50": first sectors and lengths. */
static void
assert_gaps (TestDisk *disk, const char *expected)
{
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_autoptr (GArray) gaps = im_partition_gaps (table);
  g_autoptr (GString) text = g_string_new (NULL);
  for (guint i = 0; i < gaps->len; i++) {
    const ImGap *gap = &g_array_index (gaps, ImGap, i);
    g_string_append_printf (text, "%s%" G_GUINT64_FORMAT "+%" G_GUINT64_FORMAT,
                            i ? " " : "", gap->first_lba, gap->sectors);
    g_assert_cmpuint (gap->offset, ==, gap->first_lba * table->sector_size);
    g_assert_cmpuint (gap->size, <=, gap->sectors * table->sector_size);
    g_assert_cmpuint (gap->offset + gap->size, <=, table->disk_size);
  }
  g_assert_cmpstr (text->str, ==, expected);
}

static void
test_without_table (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (1 * MIB);
  assert_gaps (disk, "0+2048");
  g_autoptr (TestDisk) odd = test_disk_new (1025);
  assert_gaps (odd, "0+3");
  g_autoptr (TestDisk) empty = test_disk_new (0);
  assert_gaps (empty, "");
}

static void
test_around_partitions (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (1 * MIB);
  test_disk_sign (disk, 0);
  test_disk_entry (disk, 0, 1, 0x83, 100, 50);
  test_disk_entry (disk, 0, 2, 0x83, 150, 10);
  assert_gaps (disk, "0+100 160+1888");
  /* Overlapping, in any order; to the end, and past it. */
  test_disk_entry (disk, 0, 3, 0x83, 90, 200);
  assert_gaps (disk, "0+90 290+1758");
  test_disk_entry (disk, 0, 4, 0x83, 300, UINT32_MAX);
  assert_gaps (disk, "0+90 290+10");
  test_disk_entry (disk, 0, 1, 0x83, 0, 2048);
  assert_gaps (disk, "");
}

static void
test_containers_are_gaps_but_for_what_they_hold (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (1 * MIB);
  test_disk_sign (disk, 0);
  test_disk_entry (disk, 0, 1, 0x05, 100, 1000);
  test_disk_sign (disk, 100 * 512);
  test_disk_entry (disk, 100 * 512, 1, 0x83, 63, 200);
  assert_gaps (disk, "0+163 363+1685");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, function) g_test_add_func ("/partition/gaps/" path, function)
  ADD ("without-table", test_without_table);
  ADD ("around-partitions", test_around_partitions);
  ADD ("containers-are-gaps-but-for-what-they-hold",
       test_containers_are_gaps_but_for_what_they_hold);
  return g_test_run ();
}
