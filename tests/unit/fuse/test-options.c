/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mount options: sorting, and escaping for fusermount3. */
#include "fuse/options.h"

static void
test_sorting (void)
{
  g_auto (ImFuseMountOptions) options = {0};
  im_fuse_mount_options_parse ("allow_other,,max_read=4096,fsname=mine,subtype=other,"
                               "auto_unmount,io_uring,context=x",
                               &options);
  g_assert_true (options.allow_other);
  g_assert_true (options.auto_unmount);
  g_assert_true (options.io_uring);
  g_assert_false (options.allow_root);
  g_assert_false (options.default_permissions);
  g_assert_cmpstr (options.source, ==, "mine");
  g_assert_true (options.max_read);
  g_assert_cmpstr (options.kernel, ==, "max_read=4096,context=x");
}

static void
test_nothing (void)
{
  g_auto (ImFuseMountOptions) options = {0};
  im_fuse_mount_options_parse (NULL, &options);
  g_autofree char *kernel = im_fuse_mount_options_for_kernel (&options);
  g_assert_false (options.allow_other);
  g_assert_null (options.source);
  g_assert_cmpstr (kernel, ==, "");
}

static void
test_piece (void)
{
  g_auto (ImFuseMountOptions) options = {0};
  im_fuse_mount_options_parse ("context=x", &options);
  g_assert_false (options.max_read);
  options.piece = 65536;
  g_autofree char *kernel = im_fuse_mount_options_for_kernel (&options);
  g_assert_cmpstr (kernel, ==, ",context=x,max_read=65536");
}

static void
test_escaping (void)
{
  g_autofree char *plain = im_fuse_option_escape ("/a b/c.img");
  g_autofree char *odd = im_fuse_option_escape ("/a,b\\c,");
  g_assert_cmpstr (plain, ==, "/a b/c.img");
  g_assert_cmpstr (odd, ==, "/a\\,b\\\\c\\,");
}

static void
test_lists (void)
{
  g_auto (ImFuseMountOptions) options = {0};
  im_fuse_mount_options_parse ("allow_root,default_permissions,max_read=1", &options);
  options.read_only = true;
  g_autofree char *kernel = im_fuse_mount_options_for_kernel (&options);
  g_autofree char *list = im_fuse_mount_options_for_fusermount (&options, "/a,b");
  g_assert_cmpstr (kernel, ==, ",allow_other,default_permissions,max_read=1");
  g_assert_cmpstr (list, ==,
                   "fsname=/a\\,b,subtype=imgmount,nosuid,nodev,ro"
                   ",allow_other,default_permissions,max_read=1");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/fuse/options/sorting", test_sorting);
  g_test_add_func ("/fuse/options/nothing", test_nothing);
  g_test_add_func ("/fuse/options/piece", test_piece);
  g_test_add_func ("/fuse/options/escaping", test_escaping);
  g_test_add_func ("/fuse/options/lists", test_lists);
  return g_test_run ();
}
