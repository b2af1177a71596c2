/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keys of --list, --info and --status with --json, their types and values. */
#include "image.h"
#include "served.h"

#include <json-glib/json-glib.h>

/* The object at the top of TEXT; the test ends where it is none. */
static JsonNode *
parse (const char *text)
{
  g_autoptr (GError) error = NULL;
  JsonNode *root = json_from_string (text, &error);
  g_assert_no_error (error);
  g_assert_true (JSON_NODE_HOLDS_OBJECT (root));
  return root;
}

static JsonNode *
list_of (TestDisk *disk, const char *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  ImImage image = test_image (path, disk);
  g_autofree char *text = im_report_list_json (&image, table, &error);
  g_assert_no_error (error);
  g_assert_true (g_str_has_suffix (text, "}\n"));
  return parse (text);
}

static JsonObject *
table_of (JsonNode *root)
{
  return json_object_get_object_member (json_node_get_object (root), "partitiontable");
}

static JsonObject *
partition_of (JsonNode *root, guint i)
{
  JsonArray *all = json_object_get_array_member (table_of (root), "partitions");
  g_assert_cmpuint (i, <, json_array_get_length (all));
  return json_array_get_object_element (all, i);
}

#define assert_string(object, key, value)                                                \
  g_assert_cmpstr (json_object_get_string_member (object, key), ==, value)
#define assert_number(object, key, value)                                                \
  g_assert_cmpint (json_object_get_int_member (object, key), ==, value)

static void
test_gpt (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (8 << 20);
  TestGpt gpt = {512, 256, 128};
  test_disk_gpt (disk, &gpt);
  test_gpt_entry (disk, &gpt, 3, 100, 199, "a\"b\\c");
  test_disk_poke64 (disk, 1024 + 2 * 128 + 48, UINT64_C (1) << 63 | 1);
  test_gpt_seal (disk, &gpt);
  g_autoptr (JsonNode) root = list_of (disk, "x9");
  JsonObject *table = table_of (root);
  assert_string (table, "label", "gpt");
  assert_string (table, "id", "04030201-0605-0807-090A-0B0C0D0E0F10");
  assert_string (table, "device", "x9");
  assert_string (table, "unit", "sectors");
  assert_number (table, "firstlba", 66);
  assert_number (table, "lastlba", 16383 - 65);
  assert_number (table, "sectorsize", 512);
  assert_string (table, "table-length", "256");
  assert_number (table, "bytes", 8 << 20);
  assert_string (table, "mbr", "protective");
  assert_string (table, "source", "primary");
  JsonObject *checksums = json_object_get_object_member (table, "checksums");
  assert_string (checksums, "primary", "good");
  assert_string (checksums, "backup", "good");
  JsonObject *p = partition_of (root, 0);
  assert_string (p, "node", "x9p3");
  assert_number (p, "start", 100);
  assert_number (p, "size", 100);
  assert_string (p, "type", "0FC63DAF-8483-4772-8E79-3D69D8477DE4");
  assert_string (p, "uuid", "03030303-0303-0303-0303-030303030303");
  assert_string (p, "name", "a\"b\\c");
  assert_string (p, "attrs", "RequiredPartition GUID:63");
  assert_string (p, "file", "p3");
  assert_number (p, "offset", 51200);
  assert_number (p, "bytes", 51200);
  assert_string (p, "type-name", "Linux filesystem");
  g_assert_false (json_object_has_member (p, "bootable"));
}

static void
test_mbr (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (1 << 20);
  test_disk_sign (disk, 0);
  test_disk_poke32 (disk, 440, 0xabcd);
  test_disk_entry (disk, 0, 2, 0x05, 100, 3000);
  test_disk_entry (disk, 0, 3, 0x83, 10, 20);
  test_disk_poke (disk, 446 + 32, 0x80);
  g_autoptr (JsonNode) root = list_of (disk, "x.img");
  JsonObject *table = table_of (root);
  assert_string (table, "label", "dos");
  assert_string (table, "id", "0x0000abcd");
  g_assert_false (json_object_has_member (table, "firstlba"));
  JsonObject *p = partition_of (root, 0);
  assert_string (p, "node", "x.img2");
  assert_string (p, "type", "5");
  g_assert_true (json_object_get_boolean_member (p, "container"));
  g_assert_true (json_object_get_null_member (p, "file"));
  g_assert_true (json_object_get_null_member (p, "partuuid"));
  JsonArray *flags = json_object_get_array_member (p, "flags");
  g_assert_cmpuint (json_array_get_length (flags), ==, 1);
  g_assert_cmpstr (json_array_get_string_element (flags, 0), ==, "truncated");
  p = partition_of (root, 1);
  g_assert_true (json_object_get_boolean_member (p, "bootable"));
  assert_string (p, "partuuid", "0000abcd-03");
  JsonArray *warnings = json_object_get_array_member (table, "warnings");
  g_assert_cmpuint (json_array_get_length (warnings), ==, 2);
}

static void
test_no_table (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (4096);
  g_autoptr (JsonNode) root = list_of (disk, "bad\xff");
  JsonObject *table = table_of (root);
  g_assert_true (json_object_get_null_member (table, "label"));
  assert_string (table, "device", "bad\xef\xbf\xbd");
  JsonArray *all = json_object_get_array_member (table, "partitions");
  g_assert_cmpuint (json_array_get_length (all), ==, 0);
}

/* A damaged table must not make negative numbers. */
static void
test_huge_numbers_stay_positive (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (8 << 20);
  test_disk_gpt (disk, &TEST_GPT);
  test_gpt_entry (disk, &TEST_GPT, 1, UINT64_MAX, UINT64_MAX, "");
  test_gpt_seal (disk, &TEST_GPT);
  g_autoptr (JsonNode) root = list_of (disk, "x");
  double start = json_object_get_double_member (partition_of (root, 0), "start");
  g_assert_cmpfloat (start, >, 1.8e19);
}

static void
test_info (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (4096);
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", disk->fd);
  g_autoptr (ImFile) file = im_file_open_read_only (path, NULL);
  g_autoptr (ImBlock) chain = test_chain_new (file);
  ImImage image = test_image ("top", disk);
  image.disk = chain;
  image.file = file;
  ImReport report = {.image = &image, .disk = chain};
  g_autofree char *text = im_report_info_json (&report, &error);
  g_assert_no_error (error);
  g_autoptr (JsonNode) root = parse (text);
  JsonObject *info = json_node_get_object (root);
  assert_string (info, "path", "top");
  assert_string (info, "format", "raw");
  assert_number (info, "virtual-size", 1048576);
  g_assert_true (json_object_get_boolean_member (info, "probed"));
  g_assert_true (json_object_get_null_member (info, "partitiontable"));
  JsonArray *images = json_object_get_array_member (info, "chain");
  g_assert_cmpuint (json_array_get_length (images), ==, 2);
  JsonObject *parent = json_array_get_object_element (images, 1);
  assert_number (parent, "depth", 1);
  assert_string (parent, "format", "test");
  assert_string (parent, "path", im_file_path (file));
  assert_number (parent, "virtual-size", 1024);
  assert_number (parent, "file-size", 4096);
  g_assert_true (
      g_str_has_suffix (json_object_get_string_member (parent, "file-modified"), "Z"));
  JsonObject *facts = json_object_get_object_member (parent, "facts");
  assert_number (facts, "cluster-size", 65536);
  g_assert_true (json_object_get_boolean_member (facts, "dirty"));
  JsonArray *snapshots = json_object_get_array_member (facts, "snapshots");
  assert_string (json_array_get_object_element (snapshots, 0), "id", "1");
}

static void
test_status (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) mounts = test_served (test_mounts, G_N_ELEMENTS (test_mounts));
  g_autoptr (GPtrArray) devices = test_served (test_devices, G_N_ELEMENTS (test_devices));
  g_autofree char *text = im_report_status_json (mounts, devices, &error);
  g_assert_no_error (error);
  g_autoptr (JsonNode) root = parse (text);
  JsonArray *list = json_object_get_array_member (json_node_get_object (root), "mounts");
  g_assert_cmpuint (json_array_get_length (list), ==, 2);
  JsonObject *served = json_array_get_object_element (list, 0);
  g_assert_cmpstr (json_object_get_string_member (served, "mountpoint"), ==, "/mnt/img");
  g_assert_cmpstr (json_object_get_string_member (served, "image"), ==,
                   "/images/vm.qcow2");
  g_assert_false (json_object_get_boolean_member (served, "read-only"));
  g_assert_cmpint (json_object_get_int_member (served, "user"), ==, 1000);
  g_assert_cmpint (json_object_get_int_member (served, "pid"), ==, 1234);
  g_assert_cmpstr (json_object_get_string_member (served, "state"), ==, "served");
  JsonObject *dead = json_array_get_object_element (list, 1);
  g_assert_true (json_object_get_boolean_member (dead, "read-only"));
  g_assert_true (json_object_get_null_member (dead, "pid"));
  g_assert_cmpstr (json_object_get_string_member (dead, "state"), ==, "dead");
  list = json_object_get_array_member (json_node_get_object (root), "devices");
  JsonObject *device = json_array_get_object_element (list, 0);
  g_assert_cmpstr (json_object_get_string_member (device, "device"), ==, "/dev/nbd0");
  g_assert_true (json_object_get_null_member (device, "image"));
}

/* Lists, and empty ones: whoever reads it need not ask whether they are there. */
static void
test_status_of_nothing (void)
{
  g_autoptr (GPtrArray) none = g_ptr_array_new ();
  g_autofree char *text = im_report_status_json (none, none, NULL);
  g_autoptr (JsonNode) root = parse (text);
  JsonObject *object = json_node_get_object (root);
  g_assert_cmpuint (
      json_array_get_length (json_object_get_array_member (object, "mounts")), ==, 0);
  g_assert_cmpuint (
      json_array_get_length (json_object_get_array_member (object, "devices")), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/report/json/gpt", test_gpt);
  g_test_add_func ("/report/json/mbr", test_mbr);
  g_test_add_func ("/report/json/no-table", test_no_table);
  g_test_add_func ("/report/json/huge-numbers-stay-positive",
                   test_huge_numbers_stay_positive);
  g_test_add_func ("/report/json/info", test_info);
  g_test_add_func ("/report/json/status", test_status);
  g_test_add_func ("/report/json/status-of-nothing", test_status_of_nothing);
  return g_test_run ();
}
