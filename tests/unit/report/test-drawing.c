/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk drawn to scale, letter by letter. */
#include "base/error.h"
#include "image.h"

#define MIB (UINT64_C (1) << 20)

static const ImTerminal ascii = {.columns = 60}, wide = {.columns = 80, .utf8 = true};

static void
fill (TestDisk *disk, uint64_t offset, uint64_t size)
{
  g_autofree char *bytes = g_malloc (size);
  memset (bytes, 0xaa, size);
  test_disk_write (disk, offset, bytes, size);
}

static char *
draw (TestDisk *disk, const ImTerminal *terminal)
{
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  return im_report_drawing (disk->block, table, terminal);
}

static void
assert_drawing (TestDisk *disk, const ImTerminal *terminal, const char *golden)
{
  g_autofree char *text = draw (disk, terminal);
  g_assert_cmpstr (text, ==, golden);
}

/* 64 MiB with one of 4 MiB, full, and one of 40 MiB, a quarter. */
static TestDisk *
gpt_disk (void)
{
  TestDisk *disk = test_disk_new (64 * MIB);
  test_disk_gpt (disk, &TEST_GPT);
  test_gpt_entry (disk, &TEST_GPT, 1, 2048, 2048 + 8191, "EFI");
  test_gpt_entry (disk, &TEST_GPT, 2, 10240, 10240 + 81919, "root");
  test_gpt_seal (disk, &TEST_GPT);
  fill (disk, 1 * MIB, 4 * MIB);
  fill (disk, 15 * MIB, 10 * MIB);
  return disk;
}

static void
test_partitions_and_gaps (void)
{
  g_autoptr (TestDisk) disk = gpt_disk ();
  assert_drawing (
      disk, &wide,
      "  ┌────┬──────────────────────────────────────────────┬──────────────────────┐\n"
      "  │ p1 │ p2 root                                      │ gap                  │\n"
      "  │    │ 40 MiB, 25 % allocated                       │19 MiB, <1 % allocated│\n"
      "  │████│            ███████████                       │                      │\n"
      "  │████│           ████████████                       │                     ▁│\n"
      "  └────┴──────────────────────────────────────────────┴──────────────────────┘\n");
}

static void
test_ascii (void)
{
  g_autoptr (TestDisk) disk = gpt_disk ();
  assert_drawing (disk, &ascii,
                  "  +--+----------------------------------+----------------+\n"
                  "  |p1| p2 root                          | gap            |\n"
                  "  |  | 40 MiB, 25 % allocated           | 19 MiB, <1 %   |\n"
                  "  |##|         ########                 |                |\n"
                  "  |##|        #########                 |               .|\n"
                  "  +--+----------------------------------+----------------+\n");
}

static void
test_logical_ones_are_inside (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (64 * MIB);
  test_disk_sign (disk, 0);
  test_disk_entry (disk, 0, 1, 0x83, 2048, 32768);
  test_disk_entry (disk, 0, 2, 0x05, 40960, 81920);
  test_disk_sign (disk, 40960 * 512);
  test_disk_entry (disk, 40960 * 512, 1, 0x83, 8192, 20480);
  test_disk_entry (disk, 40960 * 512, 2, 0x05, 40960, 40960);
  test_disk_sign (disk, 81920 * 512);
  test_disk_entry (disk, 81920 * 512, 1, 0x82, 64, 40000);
  fill (disk, 24 * MIB, 10 * MIB);
  assert_drawing (
      disk, &wide,
      "  ┌──────────────────┬───┬──────────────────────────────────────────────┬────┐\n"
      "  │ p1               │gap│ 2 Extended                                   │gap │\n"
      "  │ 16 MiB, 0 %      │0 %├────┬───────────┬──────┬──────────────────────┤0 % │\n"
      "  │                  │   │gap │ p5        │ gap  │ p6                   │    │\n"
      "  │                  │   │<1 %│ 100 %     │ <1 % │ 19.5 MiB, 0 %        │    │\n"
      "  │                  │   │    │███████████│      │                      │    │\n"
      "  │                  │   │▁   │███████████│     ▁│                      │    │\n"
      "  └──────────────────┴───┴────┴───────────┴──────┴──────────────────────┴────┘\n");
}

static void
test_disks_without_table (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (64 * MIB);
  fill (disk, 0, 16 * MIB);
  assert_drawing (disk, &ascii,
                  "  +------------------------------------------------------+\n"
                  "  | disk                                                 |\n"
                  "  | 64 MiB, 25 % allocated                               |\n"
                  "  |#############                                         |\n"
                  "  |##############                                        |\n"
                  "  +------------------------------------------------------+\n");
  g_autoptr (TestDisk) byte = test_disk_new (1);
  assert_drawing (byte, &ascii,
                  "  +------------------------------------------------------+\n"
                  "  | disk                                                 |\n"
                  "  | 1 byte, 0 % allocated                                |\n"
                  "  |                                                      |\n"
                  "  |                                                      |\n"
                  "  +------------------------------------------------------+\n");
  g_autoptr (TestDisk) empty = test_disk_new (0);
  assert_drawing (empty, &ascii, "");
}

static void
test_terminals_without_room (void)
{
  g_autoptr (TestDisk) disk = gpt_disk ();
  const ImTerminal narrow = {.columns = 23};
  assert_drawing (disk, &narrow, "");
}

static void
test_tiny_partitions_are_seen (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (UINT64_C (1) << 40);
  test_disk_gpt (disk, &TEST_GPT);
  test_gpt_entry (disk, &TEST_GPT, 3, 2048, 2048, "one sector");
  test_gpt_entry (disk, &TEST_GPT, 5, 4096, 2000000000, "large");
  test_gpt_entry (disk, &TEST_GPT, 12, 2000000001, 2000000001, "");
  test_gpt_seal (disk, &TEST_GPT);
  assert_drawing (disk, &ascii,
                  "  +--+--------------------------------------------+---+--+\n"
                  "  |p3| p5 large                                   |p12|  |\n"
                  "  |  | 954 GiB, 0 % allocated                     |0 %|  |\n"
                  "  |  |                                            |   |  |\n"
                  "  |  |                                            |   | .|\n"
                  "  +--+--------------------------------------------+---+--+\n");
}

static void
test_overlaps_are_said (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (64 * MIB);
  test_disk_sign (disk, 0);
  test_disk_entry (disk, 0, 1, 0x83, 2048, 60000);
  test_disk_entry (disk, 0, 2, 0x83, 4096, 100);
  test_disk_entry (disk, 0, 3, 0x83, 40000, 60000);
  assert_drawing (disk, &ascii,
                  "  +-------------------------+---------------+------------+\n"
                  "  | p1                      | p3            | gap        |\n"
                  "  | 29.3 MiB, 0 % allocated | 18.5 MiB, 0 % | 0 %        |\n"
                  "  |                         |               |            |\n"
                  "  |                         |               |            |\n"
                  "  +-------------------------+---------------+------------+\n"
                  "  p2, p3: drawn only where no other partition is\n");
}

static void
test_colours (void)
{
  g_autoptr (TestDisk) disk = gpt_disk ();
  const ImTerminal coloured = {.columns = 30, .colours = true};
  assert_drawing (
      disk, &coloured,
      "  \033[2m+--+--------------+------+\033[0m\n"
      "  \033[2m|\033[0;36mp1\033[0;2m| \033[0;33mp2 root      \033[0;2m| gap  |\033[0m\n"
      "  \033[2m|  | 40 MiB, 25 % | <1 % |\033[0m\n"
      "  \033[2m|\033[0;36m##\033[0;2m|    \033[0;33m###       \033[0;2m|      |\033[0m\n"
      "  \033[2m|\033[0;36m##\033[0;2m|   \033[0;33m####       \033[0;2m|     .|\033[0m\n"
      "  \033[2m+--+--------------+------+\033[0m\n");
}

static void
test_names_stay_in_their_cell (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (64 * MIB);
  test_disk_gpt (disk, &TEST_GPT);
  test_gpt_entry (disk, &TEST_GPT, 1, 2048, 65535, "\033[2J\n\x9b");
  test_gpt_entry (disk, &TEST_GPT, 2, 65536, 131000, "w");
  uint64_t entry = 1024 + 128;
  static const uint8_t name[] = {0xac, 0x4e, 0x00, 0x4e, 0x2e, 0x20, 'x', 0, 0x01, 0x03};
  test_disk_write (disk, entry + 56, name, sizeof name);
  test_gpt_seal (disk, &TEST_GPT);
  assert_drawing (
      disk, &wide,
      "  ┌────────────────────────────────────┬─────────────────────────────────────┐\n"
      "  │ p1 \\x1b[2J\\x0a\\x9b                 │ p2 京一\\x202ex                      "
      "│\n"
      "  │ 31 MiB, 0 % allocated              │ 32 MiB, 0 % allocated               │\n"
      "  │                                    │                                     │\n"
      "  │                                    │                                     │\n"
      "  └────────────────────────────────────┴─────────────────────────────────────┘\n");
  assert_drawing (disk, &ascii,
                  "  +--------------------------+---------------------------+\n"
                  "  | p1 \\x1b[2J\\x0a\\x9b       | p2 ??\\x202ex?             |\n"
                  "  | 31 MiB, 0 % allocated    | 32 MiB, 0 % allocated     |\n"
                  "  |                          |                           |\n"
                  "  |                          |                           |\n"
                  "  +--------------------------+---------------------------+\n");
}

/* Columns of LINE, all of one column each. */
static void
assert_as_wide (const char *text, unsigned columns)
{
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  unsigned boxes = 0;
  for (char **line = lines; *line; line++) {
    if (!g_str_has_prefix (*line, "  ┌") && !g_str_has_prefix (*line, "  │"))
      continue;
    g_assert_cmpint (g_utf8_strlen (*line, -1), ==, columns - 2);
    boxes++;
  }
  g_assert_cmpuint (boxes, >=, 5);
}

static void
test_any_width_will_do (void)
{
  g_autoptr (TestDisk) many = test_disk_new (64 * MIB);
  test_disk_gpt (many, &TEST_GPT);
  for (unsigned slot = 1; slot <= 128; slot++)
    test_gpt_entry (many, &TEST_GPT, slot, 2048 + slot * 960, 2048 + slot * 960 + 900,
                    "x");
  test_gpt_seal (many, &TEST_GPT);
  g_autoptr (TestDisk) few = gpt_disk ();
  for (unsigned columns = 24; columns <= 320; columns++) {
    const ImTerminal terminal = {.columns = columns, .utf8 = true};
    g_autofree char *drawn = draw (many, &terminal);
    assert_as_wide (drawn, columns);
    g_autofree char *other = draw (few, &terminal);
    assert_as_wide (other, columns);
  }
  const ImTerminal vast = {.columns = G_MAXUINT, .utf8 = true};
  g_autofree char *drawn = draw (many, &vast);
  assert_as_wide (drawn, 320);
  assert_drawing (many, &ascii,
                  "  +-------------+-------------+-------------+------------+\n"
                  "  | p1-p34      | p35-p67     | p68-p101    | p102-p128  |\n"
                  "  |15.9 MiB, 0 %|15.4 MiB, 0 %|15.9 MiB, 0 %| <1 %       |\n"
                  "  |             |             |             |            |\n"
                  "  |             |             |             |           .|\n"
                  "  +-------------+-------------+-------------+------------+\n");
}

/* A disk whose map has no end: every other 4 KiB are there. */
typedef struct {
  ImBlock block;
  uint64_t damaged_at; /* one extent here is */
  uint64_t fails_from; /* the map cannot be read from here on */
} Stripes;

static bool
stripes_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
             ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  const Stripes *stripes = (const Stripes *)block;
  if (offset >= stripes->fails_from) {
    g_set_error_literal (error, IM_ERROR, IM_ERROR_CORRUPT, "no map");
    return false;
  }
  uint64_t at = offset, end = offset + length;
  for (*ret_n = 0; *ret_n < n && at < end; (*ret_n)++) {
    uint64_t to = MIN ((at / 4096 + 1) * 4096, end);
    bool damaged = at <= stripes->damaged_at && stripes->damaged_at < to;
    extents[*ret_n] = (ImExtent){.offset = at,
                                 .length = to - at,
                                 .kind = damaged         ? IM_EXTENT_DAMAGED
                                         : at / 4096 % 2 ? IM_EXTENT_CHUNK
                                                         : IM_EXTENT_ZERO,
                                 .chunk = {.at = at}};
    at = to;
  }
  return true;
}

static void
stripes_free (ImBlock *block)
{
  g_free (block);
}

static const ImBlockOps stripes_ops = {
    .name = "stripes", .map = stripes_map, .free = stripes_free};

static void
assert_stripes (uint64_t size, uint64_t damaged_at, uint64_t fails_from,
                const char *golden)
{
  Stripes *stripes = g_new0 (Stripes, 1);
  stripes->damaged_at = damaged_at;
  stripes->fails_from = fails_from;
  im_block_init (&stripes->block, &stripes_ops, size, NULL, NULL);
  ImPartitionTable table = {.disk_size = size,
                            .disk_sectors = size / 512,
                            .sector_size = 512,
                            .partitions = g_ptr_array_new ()};
  g_autofree char *text = im_report_drawing (&stripes->block, &table, &ascii);
  g_assert_cmpstr (text, ==, golden);
  g_ptr_array_unref (table.partitions);
  im_block_unref (&stripes->block);
}

static void
test_an_endless_map_is_estimated (void)
{
  assert_stripes (UINT64_C (1) << 62, UINT64_MAX, UINT64_MAX,
                  "  +------------------------------------------------------+\n"
                  "  | disk                                                 |\n"
                  "  | 4 EiB, ~50 % allocated                               |\n"
                  "  |                                                      |\n"
                  "  |######################################################|\n"
                  "  +------------------------------------------------------+\n"
                  "  estimated: the image's map was read in part\n");
  assert_stripes (1 << 20, UINT64_MAX, UINT64_MAX,
                  "  +------------------------------------------------------+\n"
                  "  | disk                                                 |\n"
                  "  | 1 MiB, 50 % allocated                                |\n"
                  "  |                                                      |\n"
                  "  |######################################################|\n"
                  "  +------------------------------------------------------+\n");
}

static void
test_a_bad_map_is_said (void)
{
  assert_stripes (1 << 20, 1 << 19, UINT64_MAX,
                  "  +------------------------------------------------------+\n"
                  "  | disk                                                 |\n"
                  "  | 1 MiB, 50 % allocated                                |\n"
                  "  |                           .                          |\n"
                  "  |###########################!##########################|\n"
                  "  +------------------------------------------------------+\n"
                  "  !: the image's map is damaged there\n");
  assert_stripes (1 << 20, UINT64_MAX, 3 << 18,
                  "  +------------------------------------------------------+\n"
                  "  | disk                                                 |\n"
                  "  | 1 MiB                                                |\n"
                  "  |                                                      |\n"
                  "  |#########################################?????????????|\n"
                  "  +------------------------------------------------------+\n"
                  "  ?: the image's map cannot be read there\n");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, function) g_test_add_func ("/report/drawing/" path, function)
  ADD ("partitions-and-gaps", test_partitions_and_gaps);
  ADD ("ascii", test_ascii);
  ADD ("logical-ones-are-inside", test_logical_ones_are_inside);
  ADD ("disks-without-table", test_disks_without_table);
  ADD ("terminals-without-room", test_terminals_without_room);
  ADD ("tiny-partitions-are-seen", test_tiny_partitions_are_seen);
  ADD ("overlaps-are-said", test_overlaps_are_said);
  ADD ("colours", test_colours);
  ADD ("names-stay-in-their-cell", test_names_stay_in_their_cell);
  ADD ("any-width-will-do", test_any_width_will_do);
  ADD ("an-endless-map-is-estimated", test_an_endless_map_is_estimated);
  ADD ("a-bad-map-is-said", test_a_bad_map_is_said);
  return g_test_run ();
}
