/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chains of logical partitions, whole and broken. */
#include "disk.h"

#define MIB   (UINT64_C (1) << 20)
#define START 64u /* the container's first sector */
#define STEP  16u /* sectors from one EBR to the next */

/* A disk whose first slot is a container of SECTORS sectors. */
static TestDisk *
disk_with_container (uint64_t size, uint8_t type, uint32_t sectors)
{
  TestDisk *disk = test_disk_new (size);
  test_disk_sign (disk, 0);
  test_disk_poke32 (disk, 440, 0x1a2b3c4d);
  test_disk_entry (disk, 0, 1, type, START, sectors);
  return disk;
}

static uint64_t
ebr_at (unsigned link)
{
  return (START + (uint64_t)link * STEP) * 512;
}

/* Link I (from 0): a partition in its second sector, and a link to NEXT, or none for 0.
 */
static void
write_ebr (TestDisk *disk, unsigned i, unsigned next)
{
  test_disk_sign (disk, ebr_at (i));
  test_disk_entry (disk, ebr_at (i), 1, 0x83, 1, STEP - 1);
  if (next)
    test_disk_entry (disk, ebr_at (i), 2, 0x05, next * STEP, STEP);
}

static void
write_chain (TestDisk *disk, unsigned links)
{
  for (unsigned i = 0; i < links; i++)
    write_ebr (disk, i, i + 1 < links ? i + 1 : 0);
}

static void
test_long_chains_are_read_whole (void)
{
  enum { LINKS = 3000 };
  g_autoptr (TestDisk) disk =
      disk_with_container (MIB + LINKS * STEP * 512, 0x05, LINKS * STEP);
  write_chain (disk, LINKS);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, LINKS + 1);
  g_assert_cmpuint (table->warnings->len, ==, 0);
  for (unsigned i = 0; i < LINKS; i++) {
    const ImPartition *p = test_table_entry (table, i + 1);
    g_assert_cmpuint (p->number, ==, 5 + i);
    g_assert_cmpuint (p->first_lba, ==, START + i * STEP + 1);
    g_assert_cmpuint (p->flags, ==, 0);
    g_assert_cmpint (p->source, ==, IM_SOURCE_EBR);
    g_assert_cmpuint (p->level, ==, 1);
    g_assert_cmpuint (p->entry_at, ==, ebr_at (i) + 446);
  }
}

static void
test_all_three_types_hold_logical_ones (void)
{
  static const uint8_t types[] = {0x05, 0x0f, 0x85};
  for (size_t i = 0; i < G_N_ELEMENTS (types); i++) {
    g_autoptr (TestDisk) disk = disk_with_container (MIB, types[i], 1000);
    write_chain (disk, 2);
    test_disk_poke (disk, ebr_at (0) + 446 + 16 + 4, types[i]);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    g_assert_cmpuint (table->partitions->len, ==, 3);
    const ImPartition *container = test_table_entry (table, 0);
    g_assert_true (container->container);
    g_assert_cmpuint (container->number, ==, 1);
    g_assert_cmpuint (container->size, ==, 0);
    g_assert_null (container->uuid);
    g_assert_null (im_partition_table_find (table, 1));
    g_assert_cmpstr (im_partition_table_find (table, 6)->uuid, ==, "1a2b3c4d-06");
  }
}

static void
test_empty_links_take_no_number (void)
{
  g_autoptr (TestDisk) disk = disk_with_container (MIB, 0x05, 1000);
  write_chain (disk, 3);
  test_disk_entry (disk, ebr_at (1), 1, 0, 0, 0);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 3);
  g_assert_cmpuint (test_table_entry (table, 1)->number, ==, 5);
  g_assert_cmpuint (test_table_entry (table, 2)->number, ==, 6);
  g_assert_cmpuint (test_table_entry (table, 2)->first_lba, ==, START + 2 * STEP + 1);
}

static void
test_the_link_may_stand_first (void)
{
  g_autoptr (TestDisk) disk = disk_with_container (MIB, 0x05, 1000);
  write_ebr (disk, 1, 0);
  test_disk_sign (disk, ebr_at (0));
  test_disk_entry (disk, ebr_at (0), 1, 0x05, STEP, STEP);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 2);
  g_assert_cmpuint (test_table_entry (table, 1)->first_lba, ==, START + STEP + 1);
}

/* The third and fourth slot count where they make sense, as in the kernel. */
static void
test_spare_slots (void)
{
  g_autoptr (TestDisk) disk = disk_with_container (MIB, 0x05, 1000);
  write_chain (disk, 2);
  test_disk_entry (disk, ebr_at (0), 3, 0x83, 100, 50);
  test_disk_entry (disk, ebr_at (0), 4, 0x83, 990, 50);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 4);
  const ImPartition *p = test_table_entry (table, 2);
  g_assert_cmpuint (p->number, ==, 6);
  g_assert_cmpuint (p->slot, ==, 3);
  g_assert_cmpuint (p->first_lba, ==, START + 100);
  g_assert_cmpuint (test_table_entry (table, 3)->first_lba, ==, START + STEP + 1);
}

static void
test_spare_slots_that_leave_the_link_or_the_container (void)
{
  for (unsigned slot = 3; slot <= 4; slot++) {
    g_autoptr (TestDisk) disk = disk_with_container (MIB, 0x05, 1000);
    write_chain (disk, 2);
    test_disk_entry (disk, ebr_at (0), slot, 0x83, 990, 50);
    /* This one lies in the container, but not in its link's own 16 sectors. */
    test_disk_entry (disk, ebr_at (1), slot, 0x83, 10, 7);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    g_assert_cmpuint (table->partitions->len, ==, 3);
    /* And this one in its link, which claims more than the container has. */
    test_disk_entry (disk, ebr_at (0), 2, 0x05, STEP, 2000);
    test_disk_entry (disk, ebr_at (1), slot, 0x83, 985, 10);
    g_autoptr (ImPartitionTable) second = test_disk_table (disk, 0);
    g_assert_cmpuint (second->partitions->len, ==, 3);
  }
}

static void
test_the_first_link_counts (void)
{
  g_autoptr (TestDisk) disk = disk_with_container (MIB, 0x05, 1000);
  write_chain (disk, 2);
  test_disk_entry (disk, ebr_at (0), 3, 0x05, 5 * STEP, STEP);
  write_ebr (disk, 5, 0);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 3);
  g_assert_cmpuint (test_table_entry (table, 2)->first_lba, ==, START + STEP + 1);
}

static void
test_loops_end (void)
{
  /* Link 2 leads to itself, to the first, and to the one before. */
  for (unsigned target = 0; target < 3; target++) {
    g_autoptr (TestDisk) disk = disk_with_container (MIB, 0x05, 1000);
    write_chain (disk, 3);
    test_disk_entry (disk, ebr_at (2), 2, 0x05, target * STEP, STEP);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    g_assert_cmpuint (table->partitions->len, ==, 4);
    g_assert_true (test_table_warns (table, "a loop"));
  }
}

static void
test_links_that_leave_the_container_are_refused (void)
{
  g_autoptr (TestDisk) disk = disk_with_container (MIB, 0x05, 5 * STEP);
  write_chain (disk, 7);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 6);
  g_assert_true (test_table_warns (table, "links to sector 144, which is outside"));
}

static void
test_an_ebr_without_signature_ends_the_chain (void)
{
  g_autoptr (TestDisk) disk = disk_with_container (MIB, 0x05, 1000);
  write_chain (disk, 3);
  test_disk_poke (disk, ebr_at (1) + 511, 0);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 2);
  g_assert_true (test_table_warns (table, "EBR at sector 80 has no signature"));
}

static void
test_a_container_past_the_end_is_said (void)
{
  g_autoptr (TestDisk) disk = disk_with_container (START * 512, 0x05, 1000);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 1);
  g_assert_true (test_table_warns (table, "EBR at sector 64 is past the disk's 64"));
  g_assert_true (test_table_entry (table, 0)->flags & IM_PARTITION_PAST_END);
}

static void
test_a_logical_one_outside_is_flagged_and_numbered (void)
{
  g_autoptr (TestDisk) disk = disk_with_container (MIB, 0x05, 2 * STEP);
  write_chain (disk, 2);
  test_disk_entry (disk, ebr_at (0), 1, 0x83, 1, 5 * STEP);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  const ImPartition *p = test_table_entry (table, 1);
  g_assert_cmpuint (p->number, ==, 5);
  g_assert_cmpuint (p->flags, ==, IM_PARTITION_OUTSIDE | IM_PARTITION_OVERLAPS);
  g_assert_cmpuint (p->size, ==, 5 * STEP * 512);
  g_assert_cmpuint (test_table_entry (table, 2)->flags, ==, IM_PARTITION_OVERLAPS);
}

static void
test_a_primary_one_in_the_container_overlaps (void)
{
  g_autoptr (TestDisk) disk = disk_with_container (MIB, 0x05, 1000);
  write_chain (disk, 2);
  test_disk_entry (disk, 0, 2, 0x83, START + 500, 10);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (test_table_entry (table, 0)->flags, ==, IM_PARTITION_OVERLAPS);
  g_assert_cmpuint (test_table_entry (table, 1)->flags, ==, IM_PARTITION_OVERLAPS);
  g_assert_cmpuint (test_table_entry (table, 2)->flags, ==, 0);
}

/* The kernel walks every container and counts on. */
static void
test_two_containers_share_one_count (void)
{
  g_autoptr (TestDisk) disk = disk_with_container (MIB, 0x05, 2 * STEP);
  write_chain (disk, 2);
  uint64_t second = 1000;
  test_disk_entry (disk, 0, 2, 0x0f, (uint32_t)second, 100);
  test_disk_sign (disk, second * 512);
  test_disk_entry (disk, second * 512, 1, 0x82, 2, 10);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 5);
  g_assert_cmpuint (test_table_entry (table, 4)->number, ==, 7);
  g_assert_cmpuint (test_table_entry (table, 4)->first_lba, ==, 1002);
}

/* One EBR a sector, each with a partition or without. */
static void
test_endless_chains_are_cut (void)
{
  enum { LINKS = 33000 };
  for (int partitions = 0; partitions < 4; partitions += 3) {
    g_autoptr (TestDisk) disk = disk_with_container ((START + LINKS) * 512, 0x05, LINKS);
    for (unsigned i = 0; i < LINKS; i++) {
      uint64_t at = (START + (uint64_t)i) * 512;
      test_disk_sign (disk, at);
      test_disk_entry (disk, at, 1, 0x05, i + 1, 2);
      for (int slot = 0; slot < partitions; slot++)
        test_disk_entry (disk, at, (unsigned)slot + 2, 0x83, 1, 1);
    }
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    g_assert_cmpuint (table->partitions->len, <=, 32768 + 3);
    g_assert_true (test_table_warns (table, partitions ? "limit of 32768 partitions"
                                                       : "limit of 32768 links"));
  }
}

/* In sectors of 4096 bytes an EBR is the first 512 of its sector. */
static void
test_large_sectors (void)
{
  g_autoptr (TestDisk) disk = disk_with_container (16 * MIB, 0x05, 1000);
  test_disk_sign (disk, START * 4096);
  test_disk_entry (disk, START * 4096, 1, 0x83, 1, 7);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 4096);
  g_assert_cmpuint (test_table_entry (table, 1)->offset, ==, (START + 1) * 4096);
  g_assert_cmpuint (test_table_entry (table, 1)->entry_at, ==, START * 4096 + 446);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, function) g_test_add_func ("/partition/ebr/" path, function)
  ADD ("long-chains-are-read-whole", test_long_chains_are_read_whole);
  ADD ("all-three-types-hold-logical-ones", test_all_three_types_hold_logical_ones);
  ADD ("empty-links-take-no-number", test_empty_links_take_no_number);
  ADD ("the-link-may-stand-first", test_the_link_may_stand_first);
  ADD ("spare-slots", test_spare_slots);
  ADD ("spare-slots-that-leave-are-ignored",
       test_spare_slots_that_leave_the_link_or_the_container);
  ADD ("the-first-link-counts", test_the_first_link_counts);
  ADD ("loops-end", test_loops_end);
  ADD ("links-that-leave-the-container-are-refused",
       test_links_that_leave_the_container_are_refused);
  ADD ("an-ebr-without-signature-ends-the-chain",
       test_an_ebr_without_signature_ends_the_chain);
  ADD ("a-container-past-the-end-is-said", test_a_container_past_the_end_is_said);
  ADD ("a-logical-one-outside-is-flagged-and-numbered",
       test_a_logical_one_outside_is_flagged_and_numbered);
  ADD ("a-primary-one-in-the-container-overlaps",
       test_a_primary_one_in_the_container_overlaps);
  ADD ("two-containers-share-one-count", test_two_containers_share_one_count);
  ADD ("endless-chains-are-cut", test_endless_chains_are_cut);
  ADD ("large-sectors", test_large_sectors);
  return g_test_run ();
}
