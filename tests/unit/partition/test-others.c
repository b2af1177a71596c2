/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lesser schemes: what they say, and what is not taken for one of them. */
#include "base/bytes.h"
#include "disk.h"
#include "partition/gaps.h"

#define MIB (UINT64_C (1) << 20)

static void
poke_be16 (TestDisk *disk, uint64_t at, uint16_t value)
{
  uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
  test_disk_write (disk, at, bytes, sizeof bytes);
}

static void
poke_be32 (TestDisk *disk, uint64_t at, uint32_t value)
{
  poke_be16 (disk, at, (uint16_t)(value >> 16));
  poke_be16 (disk, at + 2, (uint16_t)value);
}

static void
check_entry (const ImPartitionTable *table, guint i, unsigned number, uint64_t first,
             uint64_t sectors, const char *type)
{
  const ImPartition *p = test_table_entry (table, i);
  g_assert_cmpuint (p->number, ==, number);
  g_assert_cmpuint (p->first_lba, ==, first);
  g_assert_cmpuint (p->sectors, ==, sectors);
  g_assert_cmpstr (im_partition_type_name (p), ==, type);
}

/* A Sun label with slot 2 at cylinder 3 of 16 × 63 sectors, and the whole disk in 3. */
static TestDisk *
sun_disk (void)
{
  TestDisk *disk = test_disk_new (16 * MIB);
  uint8_t sector[512];
  uint16_t sum = 0;
  poke_be32 (disk, 128, 1);
  poke_be16 (disk, 140, 8);
  poke_be32 (disk, 188, 0x600ddeee);
  poke_be16 (disk, 142 + 4, 0x83);
  poke_be16 (disk, 142 + 8, 5);
  poke_be16 (disk, 436, 16);
  poke_be16 (disk, 438, 63);
  poke_be32 (disk, 444 + 8, 3);
  poke_be32 (disk, 444 + 12, 5000);
  poke_be32 (disk, 444 + 20, 32768);
  poke_be16 (disk, 508, 0xdabe);
  test_disk_read (disk, 0, sector, sizeof sector);
  for (size_t i = 0; i < 510; i += 2)
    sum ^= im_get_be16 (sector + i);
  poke_be16 (disk, 510, sum);
  return disk;
}

static void
test_sun (void)
{
  g_autoptr (TestDisk) disk = sun_disk ();
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_SUN);
  g_assert_cmpuint (table->partitions->len, ==, 2);
  check_entry (table, 0, 2, 3 * 16 * 63, 5000, "Linux native");
  check_entry (table, 1, 3, 0, 32768, "Whole disk");
  g_assert_cmpuint (table->warnings->len, ==, 0);
  /* What no other slot has is not in use by the whole disk's being listed. */
  g_autoptr (GArray) gaps = im_partition_gaps (table);
  g_assert_cmpuint (gaps->len, ==, 2);
  g_assert_cmpuint (g_array_index (gaps, ImGap, 1).first_lba, ==, 3 * 16 * 63 + 5000);
}

static void
test_sun_with_a_wrong_sum (void)
{
  g_autoptr (TestDisk) disk = sun_disk ();
  test_disk_poke (disk, 100, 1);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
}

static TestDisk *
sgi_disk (void)
{
  TestDisk *disk = test_disk_new (16 * MIB);
  uint8_t sector[512];
  uint32_t sum = 0;
  poke_be32 (disk, 0, 0x0be5a941);
  poke_be32 (disk, 312 + 12 * 4, 4096);
  poke_be32 (disk, 312 + 12 * 4 + 4, 8192);
  poke_be32 (disk, 312 + 12 * 4 + 8, 0x0a);
  poke_be32 (disk, 312 + 12 * 15, 10);
  poke_be32 (disk, 312 + 12 * 15 + 4, 32760);
  poke_be32 (disk, 312 + 12 * 15 + 8, 0xabcdef);
  test_disk_read (disk, 0, sector, sizeof sector);
  for (size_t i = 0; i < 512; i += 4)
    sum += im_get_be32 (sector + i);
  poke_be32 (disk, 504, -sum);
  return disk;
}

static void
test_sgi (void)
{
  g_autoptr (TestDisk) disk = sgi_disk ();
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_SGI);
  check_entry (table, 0, 5, 8192, 4096, "SGI xfs");
  check_entry (table, 1, 16, 32760, 10, "0xabcdef");
  g_assert_true (test_table_entry (table, 1)->flags & IM_PARTITION_TRUNCATED);
}

static void
test_sgi_with_a_wrong_sum (void)
{
  g_autoptr (TestDisk) disk = sgi_disk ();
  test_disk_poke (disk, 505, 1);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
}

/* An Apple map with BLOCK bytes a block and two entries, that says it has ENTRIES. */
static TestDisk *
apple_disk (uint16_t block, uint32_t entries)
{
  TestDisk *disk = test_disk_new (16 * MIB);
  poke_be16 (disk, 0, 0x4552);
  poke_be16 (disk, 2, block);
  for (uint32_t i = 1; i <= 2; i++) {
    uint64_t at = (uint64_t)i * block;
    poke_be16 (disk, at, 0x504d);
    poke_be32 (disk, at + 4, entries);
    poke_be32 (disk, at + 8, i * 100);
    poke_be32 (disk, at + 12, i * 10);
    test_disk_write (disk, at + 16, "na\xffme", 5);
    test_disk_write (disk, at + 48, "Apple_HFS and more than its field", 33);
  }
  return disk;
}

static void
test_apple (void)
{
  static const uint16_t blocks[] = {512, 2048, 4096};
  for (size_t i = 0; i < G_N_ELEMENTS (blocks); i++) {
    g_autoptr (TestDisk) disk = apple_disk (blocks[i], 2);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    g_assert_cmpint (table->kind, ==, IM_TABLE_APPLE);
    g_assert_cmpuint (table->sector_size, ==, blocks[i]);
    g_assert_cmpuint (table->partitions->len, ==, 2);
    check_entry (table, 1, 2, 200, 20, "Apple_HFS and more than its fiel");
    g_assert_cmpuint (test_table_entry (table, 1)->offset, ==, 200u * blocks[i]);
    g_assert_true (g_utf8_validate (test_table_entry (table, 1)->name, -1, NULL));
  }
}

static void
test_apple_maps_that_end_early (void)
{
  static const uint32_t entries[] = {3, 255, 256, UINT32_MAX};
  for (size_t i = 0; i < G_N_ELEMENTS (entries); i++) {
    g_autoptr (TestDisk) disk = apple_disk (512, entries[i]);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    g_assert_cmpuint (table->partitions->len, ==, 2);
    g_assert_true (test_table_warns (table, "the map ends there"));
  }
}

static void
test_apple_with_odd_blocks (void)
{
  static const uint16_t blocks[] = {0, 1, 256, 513, 768, 8192};
  for (size_t i = 0; i < G_N_ELEMENTS (blocks); i++) {
    g_autoptr (TestDisk) disk = apple_disk (512, 2);
    poke_be16 (disk, 2, blocks[i]);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
    g_assert_cmpuint (table->sector_size, ==, 512);
  }
}

static void
poke_atari (TestDisk *disk, uint64_t at, const char *type, uint32_t first,
            uint32_t sectors)
{
  test_disk_poke (disk, at, 1);
  test_disk_write (disk, at + 1, type, 3);
  poke_be32 (disk, at + 4, first);
  poke_be32 (disk, at + 8, sectors);
}

static TestDisk *
atari_disk (void)
{
  TestDisk *disk = test_disk_new (16 * MIB);
  poke_be32 (disk, 450, 32768);
  poke_atari (disk, 454, "GEM", 2, 1000);
  poke_atari (disk, 454 + 24, "BGM", 2000, 3000);
  return disk;
}

static void
test_atari (void)
{
  g_autoptr (TestDisk) disk = atari_disk ();
  poke_atari (disk, 342, "LNX", 6000, 100);
  poke_atari (disk, 342 + 24, "RAW", 7000, 100);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_ATARI);
  g_assert_cmpuint (table->partitions->len, ==, 4);
  check_entry (table, 0, 1, 2, 1000, "GEM");
  check_entry (table, 1, 3, 2000, 3000, "BGM");
  check_entry (table, 2, 5, 6000, 100, "LNX");
  check_entry (table, 3, 7, 7000, 100, "RAW");
}

static void
test_atari_needs_sense_throughout (void)
{
  static const struct {
    uint64_t at;
    uint32_t value;
  } pokes[] = {{450, 0}, {450, 32769}, {458, 0},
               {462, 0}, {458, 40000}, {454, 0x01000000}};
  for (size_t i = 0; i < G_N_ELEMENTS (pokes); i++) {
    g_autoptr (TestDisk) disk = atari_disk ();
    poke_be32 (disk, pokes[i].at, pokes[i].value);
    g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
    g_assert_cmpint (table->kind, ==, IM_TABLE_NONE);
  }
}

/* A chain whose third root sector is its first. */
static void
test_an_atari_chain_that_loops_ends (void)
{
  g_autoptr (TestDisk) disk = atari_disk ();
  poke_atari (disk, 454 + 12, "XGM", 8000, 8000);
  poke_atari (disk, 8000 * 512 + 454, "GEM", 10, 20);
  poke_atari (disk, 8000 * 512 + 466, "XGM", 100, 20);
  poke_atari (disk, 8100 * 512 + 454, "GEM", 10, 20);
  poke_atari (disk, 8100 * 512 + 466, "XGM", 0, 20);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_true (test_table_warns (table, "it ends there"));
  check_entry (table, 1, 2, 8000, 8000, "XGM");
  check_entry (table, 2, 2, 8010, 20, "GEM");
  check_entry (table, 3, 3, 8110, 20, "GEM");
}

static void
poke_slot (TestDisk *disk, unsigned i, uint32_t first, uint32_t sectors, uint8_t type)
{
  uint64_t at = 65 * 512 + 148 + i * 16;
  test_disk_poke32 (disk, at, sectors);
  test_disk_poke32 (disk, at + 4, first);
  test_disk_poke (disk, at + 12, type);
}

static TestDisk *
bsd_disk (uint8_t mbr_type)
{
  TestDisk *disk = test_disk_new (16 * MIB);
  test_disk_sign (disk, 0);
  test_disk_entry (disk, 0, 1, mbr_type, 64, 10000);
  test_disk_poke32 (disk, 65 * 512, 0x82564557);
  test_disk_poke32 (disk, 65 * 512 + 136, 9 << 16);
  poke_slot (disk, 0, 80, 1000, 7);
  poke_slot (disk, 1, 2000, 100, 1);
  poke_slot (disk, 2, 64, 10000, 7);
  poke_slot (disk, 3, 0, 32768, 7);
  poke_slot (disk, 8, 3000, 100, 99);
  return disk;
}

static void
test_bsd (void)
{
  g_autoptr (TestDisk) disk = bsd_disk (0xa6);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpint (table->kind, ==, IM_TABLE_MBR);
  g_assert_cmpuint (table->partitions->len, ==, 4);
  check_entry (table, 1, 5, 80, 1000, "4.2BSD");
  check_entry (table, 2, 6, 2000, 100, "BSD swap");
  check_entry (table, 3, 7, 3000, 100, "BSD");
  g_assert_cmpuint (test_table_entry (table, 1)->inside, ==, 1);
  g_assert_true (test_table_warns (table, "slot d of partition 1 lies outside it"));
  for (guint i = 0; i < 4; i++)
    g_assert_cmpuint (test_table_entry (table, i)->flags, ==, 0);
}

static void
test_bsd_of_freebsd_has_eight_slots (void)
{
  g_autoptr (TestDisk) disk = bsd_disk (0xa5);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 3);
}

static void
test_bsd_counted_from_the_slice (void)
{
  g_autoptr (TestDisk) disk = bsd_disk (0xa5);
  poke_slot (disk, 2, 0, 10000, 7);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  check_entry (table, 1, 5, 144, 1000, "4.2BSD");
  check_entry (table, 2, 6, 2064, 100, "BSD swap");
}

static void
test_no_bsd_in_other_slices (void)
{
  g_autoptr (TestDisk) disk = bsd_disk (0x83);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_assert_cmpuint (table->partitions->len, ==, 1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add_func ("/partition/" name, func)
  ADD ("sun/slots", test_sun);
  ADD ("sun/a-wrong-sum-is-no-label", test_sun_with_a_wrong_sum);
  ADD ("sgi/slots", test_sgi);
  ADD ("sgi/a-wrong-sum-is-no-label", test_sgi_with_a_wrong_sum);
  ADD ("apple/entries", test_apple);
  ADD ("apple/maps-that-end-early", test_apple_maps_that_end_early);
  ADD ("apple/odd-blocks-are-no-map", test_apple_with_odd_blocks);
  ADD ("atari/slots", test_atari);
  ADD ("atari/needs-sense-throughout", test_atari_needs_sense_throughout);
  ADD ("atari/a-chain-that-loops-ends", test_an_atari_chain_that_loops_ends);
  ADD ("bsd/slots", test_bsd);
  ADD ("bsd/freebsd-has-eight-slots", test_bsd_of_freebsd_has_eight_slots);
  ADD ("bsd/counted-from-the-slice", test_bsd_counted_from_the_slice);
  ADD ("bsd/not-in-other-slices", test_no_bsd_in_other_slices);
  return g_test_run ();
}
