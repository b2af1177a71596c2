/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A build without jansson says so. */
#include "base/error.h"
#include "image.h"

static void
test_it_is_said (void)
{
  g_autoptr (TestDisk) disk = test_disk_new (4096);
  g_autoptr (ImPartitionTable) table = test_disk_table (disk, 0);
  g_autoptr (GError) list = NULL, info = NULL;
  ImImage image = test_image ("x", disk);
  ImReport report = {.image = &image};
  g_assert_false (im_report_has_json ());
  g_assert_null (im_report_list_json (&image, table, &list));
  g_assert_error (list, IM_ERROR, IM_ERROR_UNSUPPORTED);
  g_assert_cmpstr (list->message, ==, "built without jansson");
  g_assert_null (im_report_info_json (&report, &info));
  g_assert_error (info, IM_ERROR, IM_ERROR_UNSUPPORTED);
  g_autoptr (GPtrArray) none = g_ptr_array_new ();
  g_autoptr (GError) status = NULL;
  g_assert_null (im_report_status_json (none, none, &status));
  g_assert_error (status, IM_ERROR, IM_ERROR_UNSUPPORTED);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/report/no-json/it-is-said", test_it_is_said);
  return g_test_run ();
}
