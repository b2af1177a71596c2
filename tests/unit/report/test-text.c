/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --list, --info and --status for people, letter by letter. */
#include "image.h"
#include "served.h"

static const uint8_t efi_system[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                       0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};

static void
assert_list (TestDisk *disk, const char *path, const char *golden)
{
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  ImImage image = test_image (path, disk);
  g_autofree char *text = im_report_list (&image, table);
  g_assert_cmpstr (text, ==, golden);
}

static void
test_the_example_of_the_manual (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (UINT64_C (20) << 30);
  test_disk_gpt (disk, &TEST_GPT);
  test_gpt_entry (disk, &TEST_GPT, 1, 2048, 1050623, "EFI");
  test_disk_write (disk, 1024, efi_system, sizeof efi_system);
  test_gpt_entry (disk, &TEST_GPT, 2, 1050624, 41943006, "root");
  test_gpt_seal (disk, &TEST_GPT);
  test_disk_write (disk, test_gpt_backup (disk, &TEST_GPT) - 32 * 512, efi_system, 16);
  test_gpt_seal (disk, &TEST_GPT);
  assert_list (
      disk, "vm.qcow2",
      "vm.qcow2: 20 GiB (21474836480 bytes), 41943040 sectors of 512 bytes, GPT "
      "04030201-0605-0807-090A-0B0C0D0E0F10\n"
      "      #     first       last    sectors      size  type              name\n"
      "     p1      2048    1050623    1048576   512 MiB  EFI System        \"EFI\"\n"
      "     p2   1050624   41943006   40892383  19.5 GiB  Linux filesystem  \"root\"\n");
}

static void
test_no_table (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (1000);
  assert_list (disk, "a\nb",
               "a\\x0ab: 1000 bytes, 1 sector of 512 bytes, no partition "
               "table\n");
}

static void
test_containers_remarks_and_warnings (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (1048576);
  test_disk_sign (disk, 0);
  test_disk_poke32 (disk, 440, 0x2a);
  test_disk_entry (disk, 0, 1, 0x0f, 100, 200);
  test_disk_entry (disk, 0, 2, 0x83, 2000, 100);
  test_disk_poke (disk, 446 + 16, 0x80);
  test_disk_sign (disk, 100 * 512);
  test_disk_entry (disk, 100 * 512, 1, 0xd3, 1, 1);
  assert_list (
      disk, "x",
      "x: 1 MiB (1048576 bytes), 2048 sectors of 512 bytes, MBR 0x0000002a\n"
      "      #     first       last    sectors      size  type            name\n"
      "      1       100        299        200   100 KiB  Extended (LBA)\n"
      "     p2      2000       2099        100    50 KiB  Linux           [bootable, "
      "truncated]\n"
      "     p5       101        101          1 512 bytes  0xd3\n"
      "warning: MBR: partition 2 runs to sector 2099, past the disk's last, 2047: it is "
      "clipped\n");
}

static void
test_names_cannot_break_the_line (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (1048576);
  test_disk_gpt (disk, &TEST_GPT);
  test_gpt_entry (disk, &TEST_GPT, 1, 100, UINT64_MAX, "a\"\n\x1b[31m\\");
  test_gpt_seal (disk, &TEST_GPT);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  ImImage image = test_image ("x", disk);
  g_autofree char *text = im_report_list (&image, table);
  g_assert_nonnull (strstr (text, "\"a\\\"\\x0a\\x1b[31m\\\\\" [truncated, outside]\n"));
  g_assert_nonnull (strstr (text, "100 18446744073709551615 18446744073709551516"));
  g_assert_nonnull (strstr (text, "over 16 EiB"));
}

static void
test_info_tells_the_chain_and_its_facts (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (4096);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", disk->fd);
  g_autoptr (ImFile) file = im_file_open_read_only (path, NULL);
  g_autoptr (ImBlock) chain = test_chain_new (file);
  ImImage image = test_image ("top", disk);
  image.disk = chain;
  g_autoptr (ImDamage) damage = im_damage_new (NULL, NULL);
  ImReport report = {.image = &image, .disk = chain, .damage = damage};
  g_autofree char *text = im_report_info (&report);
  static const char facts[] = "  cluster size            64 KiB (65536 bytes)\n"
                              "  dirty                   yes\n"
                              "  odd text                a\\x0ab\n"
                              "  features                one, two\n"
                              "  other features          none\n"
                              "  snapshots\n"
                              "    id                    1\n";
  g_autofree char *own =
      g_strconcat ("top\n"
                   "  format                  raw\n"
                   "  virtual size            1 MiB (1048576 bytes)\n",
                   facts, "parent 1: ", im_file_path (file), "\n", NULL);
  g_assert_true (g_str_has_prefix (text, own));
  g_assert_true (g_str_has_suffix (text, facts));
  g_assert_nonnull (strstr (text, "  format                  test\n"
                                  "  virtual size            1 KiB (1024 bytes)\n"
                                  "  file size               4 KiB (4096 bytes)\n"));
}

static void
test_info_ends_with_the_damage_that_was_met (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (1048576);
  ImImage image = test_image ("top", disk);
  g_autoptr (ImDamage) damage = im_damage_new (NULL, NULL);
  ImReport report = {.image = &image, .disk = image.disk, .damage = damage};
  g_autofree char *none = im_report_info (&report);
  g_assert_null (strstr (none, "damage"));
  im_damage_add (damage, 65536, 65536, "bad\nentry");
  im_damage_add (damage, 0, 512, "medium");
  g_autofree char *text = im_report_info (&report);
  g_assert_true (g_str_has_suffix (
      text, "damage, read as errors:\n"
            "  at disk offset 0, 512 bytes: medium\n"
            "  at disk offset 65536, 64 KiB (65536 bytes): bad\\x0aentry\n"));
}

static void
test_status (void)
{
  g_autoptr (GPtrArray) mounts = test_served (test_mounts, G_N_ELEMENTS (test_mounts));
  g_autoptr (GPtrArray) devices = test_served (test_devices, G_N_ELEMENTS (test_devices));
  g_autofree char *text = im_report_status (mounts, devices);
  g_assert_cmpstr (text, ==,
                   "where          access  pid   image\n"
                   "/mnt/img       rw      1234  /images/vm.qcow2\n"
                   "/mnt/a\\x0ab \xc3\xa9  ro      -     /images/x.raw  [dead]\n"
                   "/dev/nbd0      rw      99    -  [unknown]\n");
}

static void
test_status_of_nothing (void)
{
  g_autoptr (GPtrArray) none = g_ptr_array_new ();
  g_autofree char *text = im_report_status (none, none);
  g_assert_cmpstr (text, ==, "");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, function) g_test_add_func ("/report/text/" path, function)
  ADD ("the-example-of-the-manual", test_the_example_of_the_manual);
  ADD ("no-table", test_no_table);
  ADD ("containers-remarks-and-warnings", test_containers_remarks_and_warnings);
  ADD ("names-cannot-break-the-line", test_names_cannot_break_the_line);
  ADD ("info-tells-the-chain-and-its-facts", test_info_tells_the_chain_and_its_facts);
  ADD ("info-ends-with-the-damage-that-was-met",
       test_info_ends_with_the_damage_that_was_met);
  ADD ("status", test_status);
  ADD ("status-of-nothing", test_status_of_nothing);
  return g_test_run ();
}
