/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mount table: lines, octal escapes, and which of several mounts is meant. */
#include "base/mount-table.h"

static const char text[] =
    "22 28 0:21 / /sys rw,nosuid - sysfs sysfs rw\n"
    "no line at all\n"
    "40 28 0:x / /bad rw - ext4 /dev/sda1 rw\n"
    "41 28 8:1 / /mnt rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw,errors=x\n"
    "42 41 0:50 / /mnt/a\\040b\\134c ro - fuse.imgmount /images/x\\054\\012.img "
    "ro,user_id=1000,group_id=7\n"
    "43 28 0:51 / /mnt ro - fuse.imgmount /y ro,user_id=0\n"
    "44 28 0:51 /sub /bind ro - fuse.imgmount /y ro,user_id=0\n"
    "45 28 0:52 / /short ro - \n";

static void
test_parsing (void)
{
  g_autoptr (GPtrArray) table = im_mount_table_parse (text);
  g_assert_cmpuint (table->len, ==, 5);
  const ImMountEntry *entry = im_mount_table_at (table, "/mnt/a b\\c");
  g_assert_nonnull (entry);
  g_assert_cmpuint (entry->major, ==, 0);
  g_assert_cmpuint (entry->minor, ==, 50);
  g_assert_cmpstr (entry->type, ==, "fuse.imgmount");
  g_assert_cmpstr (entry->source, ==, "/images/x,\n.img");
  unsigned uid = 0;
  g_assert_true (im_mount_entry_user (entry, &uid));
  g_assert_cmpuint (uid, ==, 1000);
  unsigned gid = 0;
  g_assert_true (im_mount_entry_group (entry, &gid));
  g_assert_cmpuint (gid, ==, 7);
  g_assert_false (im_mount_entry_user (im_mount_table_at (table, "/sys"), &uid));
  g_assert_false (im_mount_entry_group (im_mount_table_at (table, "/sys"), &gid));
}

static void
test_topmost (void)
{
  g_autoptr (GPtrArray) table = im_mount_table_parse (text);
  g_assert_cmpstr (im_mount_table_at (table, "/mnt")->source, ==, "/y");
  g_assert_cmpstr (im_mount_table_of_device (table, 0, 51)->path, ==, "/bind");
  g_assert_cmpstr (im_mount_table_of_device (table, 8, 1)->path, ==, "/mnt");
  g_assert_null (im_mount_table_of_device (table, 51, 0));
  g_assert_null (im_mount_table_at (table, "/mnt/"));
}

/* What is mounted read-only here, or is read-only everywhere. */
static void
test_read_only (void)
{
  static const struct {
    const char *line;
    bool read_only;
  } cases[] = {
      {"43 28 0:51 / /m rw,relatime - fuse.imgmount /y rw,user_id=0", false},
      {"43 28 0:51 / /m ro,relatime - fuse.imgmount /y rw,user_id=0", true},
      {"43 28 0:51 / /m rw,relatime - fuse.imgmount /y ro,user_id=0", true},
      {"43 28 0:51 / /m ro - fuse.imgmount /y ro", true},
      {"43 28 0:51 / /m rw,rootcontext=x - fuse.imgmount /y rw,rox", false},
      {"43 28 0:51 / /m rox - fuse.imgmount /y rox", false},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GPtrArray) table = im_mount_table_parse (cases[i].line);
    g_test_message ("%s", cases[i].line);
    g_assert_cmpint (im_mount_table_at (table, "/m")->read_only, ==, cases[i].read_only);
  }
}

static void
test_own (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) table = im_mount_table_read (&error);
  g_assert_no_error (error);
  g_assert_nonnull (im_mount_table_at (table, "/proc"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/base/mount-table/parsing", test_parsing);
  g_test_add_func ("/base/mount-table/topmost-is-meant", test_topmost);
  g_test_add_func ("/base/mount-table/read-only", test_read_only);
  g_test_add_func ("/base/mount-table/this-process", test_own);
  return g_test_run ();
}
