/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SEEK_DATA and SEEK_HOLE: exact places, the disk's end, and giving up. */
#include "base/error.h"
#include "fixture.h"
#include "fuse/seek.h"
#include <errno.h>

#define GIB (UINT64_C (1) << 30)

static const FixtureRun runs[] = {
    {1000, IM_EXTENT_ZERO},     {24, IM_EXTENT_FILE}, {100, IM_EXTENT_DAMAGED},
    {50 * GIB, IM_EXTENT_ZERO}, {7, IM_EXTENT_FILE},
};
#define DATA2 (1124 + 50 * GIB)
#define END   (DATA2 + 7)

static void
test_places (void)
{
  static const struct {
    uint64_t from;
    bool hole;
    uint64_t at; /* UINT64_MAX: none */
  } cases[] = {
      {0, false, 1000},          {0, true, 0},
      {999, false, 1000},        {1000, false, 1000},
      {1001, false, 1001},       {1000, true, 1124},
      {1030, false, 1030},       {1124, true, 1124},
      {1124, false, DATA2},      {5000, true, 5000},
      {DATA2, true, END},        {END - 1, true, END},
      {END - 1, false, END - 1}, {END, true, UINT64_MAX},
      {END, false, UINT64_MAX},  {UINT64_MAX, true, UINT64_MAX},
  };
  g_autoptr (ImBlock) disk = fixture_disk (runs, G_N_ELEMENTS (runs), UINT64_MAX);
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    uint64_t at = UINT64_MAX;
    ImSeekResult result =
        im_fuse_seek (disk, cases[i].from, cases[i].hole, NULL, NULL, &at, NULL);
    g_assert_cmpint (result, ==,
                     cases[i].at == UINT64_MAX ? IM_SEEK_NONE : IM_SEEK_FOUND);
    if (result == IM_SEEK_FOUND)
      g_assert_cmpuint (at, ==, cases[i].at);
  }
}

static void
test_no_data_left (void)
{
  static const FixtureRun hole[] = {{GIB, IM_EXTENT_ZERO}};
  g_autoptr (ImBlock) disk = fixture_disk (hole, 1, UINT64_MAX);
  uint64_t at;
  g_assert_cmpint (im_fuse_seek (disk, 0, false, NULL, NULL, &at, NULL), ==,
                   IM_SEEK_NONE);
  g_autoptr (ImBlock) empty = fixture_disk (hole, 0, UINT64_MAX);
  g_assert_cmpint (im_fuse_seek (empty, 0, true, NULL, NULL, &at, NULL), ==,
                   IM_SEEK_NONE);
}

/* A disk of the largest size, with one byte at its end, takes few steps either way. */
static void
test_vast_disks (void)
{
  static const FixtureRun vast[] = {{INT64_MAX - 1, IM_EXTENT_ZERO}, {1, IM_EXTENT_FILE}};
  static const FixtureRun full[] = {{INT64_MAX - 1, IM_EXTENT_FILE}, {1, IM_EXTENT_ZERO}};
  const FixtureRun *const disks[] = {vast, full};
  for (int hole = 0; hole < 2; hole++) {
    uint64_t at;
    g_autoptr (ImBlock) disk = fixture_disk (disks[hole], 2, UINT64_MAX);
    g_assert_cmpint (im_fuse_seek (disk, 5, hole, NULL, NULL, &at, NULL), ==,
                     IM_SEEK_FOUND);
    g_assert_cmpuint (at, ==, INT64_MAX - 1);
    g_assert_cmpuint (fixture_maps (disk), <, 1000);
  }
}

static bool
third_time (void *data)
{
  unsigned *asked = data;
  return ++*asked == 3;
}

static void
test_cancelled (void)
{
  unsigned asked = 0;
  uint64_t at;
  g_autoptr (ImBlock) disk = fixture_disk (runs, G_N_ELEMENTS (runs), UINT64_MAX);
  g_assert_cmpint (im_fuse_seek (disk, 1124, false, third_time, &asked, &at, NULL), ==,
                   IM_SEEK_CANCELLED);
  g_assert_cmpuint (asked, ==, 3);
  g_assert_cmpuint (fixture_maps (disk), ==, 2);
}

static void
test_unreadable_table (void)
{
  uint64_t at;
  g_autoptr (GError) error = NULL;
  g_autoptr (ImBlock) disk = fixture_disk (runs, G_N_ELEMENTS (runs), 1124);
  g_assert_cmpint (im_fuse_seek (disk, 1030, true, NULL, NULL, &at, &error), ==,
                   IM_SEEK_FAILED);
  g_assert_error (error, IM_ERRNO, EIO);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/fuse/seek/places", test_places);
  g_test_add_func ("/fuse/seek/no-data-left", test_no_data_left);
  g_test_add_func ("/fuse/seek/vast-disks", test_vast_disks);
  g_test_add_func ("/fuse/seek/cancelled-between-steps", test_cancelled);
  g_test_add_func ("/fuse/seek/unreadable-table-fails", test_unreadable_table);
  return g_test_run ();
}
