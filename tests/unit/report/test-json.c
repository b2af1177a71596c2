/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keys of --list, --info and --status with --json, their types and values. */
#include "image.h"
#include "report/json-build.h"
#include "served.h"

/* The object at the top of TEXT; the test ends where it is none. */
static json_t *
parse (const char *text)
{
  json_error_t error;
  json_t *root = json_loads (text, JSON_REJECT_DUPLICATES, &error);
  if (!json_is_object (root))
    g_error ("line %d: %s", error.line, error.text);
  return root;
}

static json_t *
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

static json_t *
partition_of (const json_t *root, size_t i)
{
  json_t *table = json_object_get (root, "partitiontable");
  json_t *partition = json_array_get (json_object_get (table, "partitions"), i);
  g_assert_nonnull (partition);
  return partition;
}

#define assert_string(object, key, value)                                                \
  g_assert_cmpstr (json_string_value (json_object_get (object, key)), ==, value)
#define assert_null(object, key)                                                         \
  g_assert_true (json_is_null (json_object_get (object, key)))
#define assert_boolean(object, key, value)                                               \
  g_assert_true (json_object_get (object, key) == json_boolean (value))
#define assert_length(object, key, n) assert_array (json_object_get (object, key), n)

static void
assert_number (const json_t *object, const char *key, json_int_t value)
{
  g_assert_true (json_is_integer (json_object_get (object, key)));
  g_assert_cmpint (json_integer_value (json_object_get (object, key)), ==, value);
}

static void
assert_array (const json_t *array, size_t n)
{
  g_assert_true (json_is_array (array));
  g_assert_cmpuint (json_array_size (array), ==, n);
}

static void
test_gpt (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (8 << 20);
  TestGpt gpt = {512, 256, 128};
  test_disk_gpt (disk, &gpt);
  test_gpt_entry (disk, &gpt, 3, 100, 199, "a\"b\\c");
  test_disk_poke64 (disk, 1024 + 2 * 128 + 48, UINT64_C (1) << 63 | 1);
  test_gpt_seal (disk, &gpt);
  json_auto_t *root = list_of (disk, "x9");
  json_t *table = json_object_get (root, "partitiontable");
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
  json_t *checksums = json_object_get (table, "checksums");
  assert_string (checksums, "primary", "good");
  assert_string (checksums, "backup", "good");
  json_t *p = partition_of (root, 0);
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
  g_assert_null (json_object_get (p, "bootable"));
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
  json_auto_t *root = list_of (disk, "x.img");
  json_t *table = json_object_get (root, "partitiontable");
  assert_string (table, "label", "dos");
  assert_string (table, "id", "0x0000abcd");
  g_assert_null (json_object_get (table, "firstlba"));
  json_t *p = partition_of (root, 0);
  assert_string (p, "node", "x.img2");
  assert_string (p, "type", "5");
  assert_boolean (p, "container", true);
  assert_null (p, "file");
  assert_null (p, "partuuid");
  json_t *flags = json_object_get (p, "flags");
  assert_array (flags, 1);
  g_assert_cmpstr (json_string_value (json_array_get (flags, 0)), ==, "truncated");
  p = partition_of (root, 1);
  assert_boolean (p, "bootable", true);
  assert_string (p, "partuuid", "0000abcd-03");
  assert_length (table, "warnings", 2);
}

static void
test_no_table (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (4096);
  json_auto_t *root = list_of (disk, "bad\xff");
  json_t *table = json_object_get (root, "partitiontable");
  assert_null (table, "label");
  assert_string (table, "device", "bad\xef\xbf\xbd");
  assert_length (table, "partitions", 0);
}

/* A damaged table must not make negative numbers. */
static void
test_huge_numbers_stay_positive (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (8 << 20);
  test_disk_gpt (disk, &TEST_GPT);
  test_gpt_entry (disk, &TEST_GPT, 1, UINT64_MAX, UINT64_MAX, "");
  test_gpt_seal (disk, &TEST_GPT);
  json_auto_t *root = list_of (disk, "x");
  json_t *start = json_object_get (partition_of (root, 0), "start");
  g_assert_cmpfloat (json_real_value (start), >, 1.8e19);
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
  json_auto_t *root = parse (text);
  assert_string (root, "path", "top");
  assert_string (root, "format", "raw");
  assert_number (root, "virtual-size", 1048576);
  assert_boolean (root, "probed", true);
  assert_null (root, "partitiontable");
  json_t *images = json_object_get (root, "chain");
  assert_array (images, 2);
  json_t *parent = json_array_get (images, 1);
  assert_number (parent, "depth", 1);
  assert_string (parent, "format", "test");
  assert_string (parent, "path", im_file_path (file));
  assert_number (parent, "virtual-size", 1024);
  assert_number (parent, "file-size", 4096);
  const char *modified = json_string_value (json_object_get (parent, "file-modified"));
  g_assert_true (g_str_has_suffix (modified, "Z"));
  json_t *facts = json_object_get (parent, "facts");
  assert_number (facts, "cluster-size", 65536);
  assert_boolean (facts, "dirty", true);
  assert_length (facts, "features", 2);
  assert_length (facts, "other-features", 0);
  json_t *snapshots = json_object_get (facts, "snapshots");
  assert_array (snapshots, 1);
  assert_string (json_array_get (snapshots, 0), "id", "1");
}

/* Of each kind that a driver may tell, and one that none tells yet. */
static void
test_facts (void)
{
  json_auto_t *root = json_object ();
  GVariantDict facts;
  g_variant_dict_init (&facts, NULL);
  g_variant_dict_insert (&facts, "text", "s", "a\nb");
  g_variant_dict_insert (&facts, "count", "u", UINT32_MAX);
  g_variant_dict_insert (&facts, "size", "t", UINT64_C (1) << 40);
  g_variant_dict_insert (&facts, "huge", "t", UINT64_MAX);
  g_variant_dict_insert (&facts, "odd", "(bi)", TRUE, -1);
  g_autoptr (GVariant) all = g_variant_ref_sink (g_variant_dict_end (&facts));
  im_json_add_variant (root, "facts", all);
  json_t *json = json_object_get (root, "facts");
  assert_string (json, "text", "a\nb");
  assert_number (json, "count", UINT32_MAX);
  assert_number (json, "size", INT64_C (1) << 40);
  g_assert_cmpfloat (json_real_value (json_object_get (json, "huge")), >, 1.8e19);
  assert_string (json, "odd", "(true, -1)");
}

static void
test_status (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) mounts = test_served (test_mounts, G_N_ELEMENTS (test_mounts));
  g_autoptr (GPtrArray) devices = test_served (test_devices, G_N_ELEMENTS (test_devices));
  g_autofree char *text = im_report_status_json (mounts, devices, &error);
  g_assert_no_error (error);
  json_auto_t *root = parse (text);
  json_t *mounted = json_object_get (root, "mounts");
  assert_array (mounted, 2);
  json_t *served = json_array_get (mounted, 0);
  assert_string (served, "mountpoint", "/mnt/img");
  assert_string (served, "image", "/images/vm.qcow2");
  assert_boolean (served, "read-only", false);
  assert_number (served, "user", 1000);
  assert_number (served, "pid", 1234);
  assert_string (served, "state", "served");
  json_t *dead = json_array_get (mounted, 1);
  assert_boolean (dead, "read-only", true);
  assert_null (dead, "pid");
  assert_string (dead, "state", "dead");
  json_t *device = json_array_get (json_object_get (root, "devices"), 0);
  assert_string (device, "device", "/dev/nbd0");
  assert_null (device, "image");
}

/* Lists, and empty ones: whoever reads it need not ask whether they are there. */
static void
test_status_of_nothing (void)
{
  g_autoptr (GPtrArray) none = g_ptr_array_new ();
  g_autofree char *text = im_report_status_json (none, none, NULL);
  json_auto_t *root = parse (text);
  assert_length (root, "mounts", 0);
  assert_length (root, "devices", 0);
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
  g_test_add_func ("/report/json/facts", test_facts);
  g_test_add_func ("/report/json/status", test_status);
  g_test_add_func ("/report/json/status-of-nothing", test_status_of_nothing);
  return g_test_run ();
}
