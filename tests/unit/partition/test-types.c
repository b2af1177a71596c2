/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What types are called. */
#include "disk.h"

static void
test_mbr_types (void)
{
  g_assert_cmpstr (im_partition_type_name (&(ImPartition){.mbr_type = 0x83}), ==,
                   "Linux");
  g_assert_cmpstr (im_partition_type_name (&(ImPartition){.mbr_type = 0x07}), ==,
                   "HPFS/NTFS/exFAT");
}

static void
test_unknown_mbr_types_are_codes (void)
{
  g_assert_cmpstr (im_partition_type_name (&(ImPartition){.mbr_type = 0xd3}), ==, "0xd3");
  g_assert_cmpstr (im_partition_type_name (&(ImPartition){.mbr_type = 0x0d}), ==, "0x0d");
}

static void
test_gpt_types (void)
{
  ImPartition p = {.type_guid = (char *)"C12A7328-F81F-11D2-BA4B-00A0C93EC93B"};
  g_assert_cmpstr (im_partition_type_name (&p), ==, "EFI System");
  p.type_guid = (char *)"00000000-0000-0000-0000-000000000001";
  g_assert_cmpstr (im_partition_type_name (&p), ==, p.type_guid);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/partition/types/mbr", test_mbr_types);
  g_test_add_func ("/partition/types/unknown-mbr-types-are-codes",
                   test_unknown_mbr_types_are_codes);
  g_test_add_func ("/partition/types/gpt", test_gpt_types);
  return g_test_run ();
}
