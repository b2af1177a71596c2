/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file leaf: its end, its holes, and what it refuses. */
#include "base/error.h"
#include "fixture.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static void
test_reads_zeros_past_the_end (void)
{
  g_autoptr (ImFile) file = fixture_file ("abc", 3);
  uint8_t buf[8];
  g_autoptr (GError) error = NULL;
  memset (buf, 0xee, sizeof buf);
  g_assert_true (im_file_pread (file, buf, 8, 1, &error));
  g_assert_cmpmem (buf, 8, "bc\0\0\0\0\0\0", 8);
  g_assert_true (im_file_pread (file, buf, 8, UINT64_MAX - 8, &error));
  g_assert_cmpmem (buf, 8, "\0\0\0\0\0\0\0\0", 8);
}

static void
test_shrunken_file_is_an_error (void)
{
  g_autofree char *path = NULL;
  int fd = g_file_open_tmp ("imgmount-XXXXXX", &path, NULL);
  g_assert_cmpint (ftruncate (fd, 8192), ==, 0);
  g_autoptr (ImFile) file = im_file_open_read_only (path, NULL);
  g_assert_cmpint (ftruncate (fd, 100), ==, 0);
  uint8_t buf[4096];
  g_autoptr (GError) error = NULL;
  g_assert_false (im_file_pread (file, buf, sizeof buf, 0, &error));
  g_assert_error (error, IM_ERRNO, EIO);
  g_assert_false (im_file_pread_nowait (file, buf, sizeof buf, 0));
  unlink (path);
  close (fd);
}

static void
refused (const char *path)
{
  g_autoptr (GError) error = NULL;
  g_assert_null (im_file_open_read_only (path, &error));
  g_assert_nonnull (error);
}

static void
test_refuses_other_kinds (void)
{
  g_autofree char *folder = g_dir_make_tmp ("imgmount-XXXXXX", NULL);
  g_autofree char *fifo = g_build_filename (folder, "fifo", NULL);
  g_assert_cmpint (mkfifo (fifo, 0600), ==, 0);
  refused (folder);
  refused (fifo); /* and does not wait for a writer */
  refused ("/dev/null");
  unlink (fifo);
  refused (fifo);
  rmdir (folder);
}

static void
test_runs (void)
{
  g_autofree char *path = NULL;
  int fd = g_file_open_tmp ("imgmount-XXXXXX", &path, NULL);
  g_assert_cmpint (ftruncate (fd, 1 << 20), ==, 0);
  g_autofree uint8_t *bytes = fixture_pattern (65536, 1);
  g_assert_cmpint (pwrite (fd, bytes, 65536, 256 << 10), ==, 65536);
  g_autoptr (ImFile) file = im_file_open_read_only (path, NULL);
  static const struct {
    uint64_t offset, len;
    bool data;
    uint64_t run;
  } cases[] = {
      {0, 1 << 20, false, 256 << 10},       {100, 1000, false, 1000},
      {256 << 10, 1 << 20, true, 65536},    {(256 << 10) + 1, 10, true, 10},
      {512 << 10, 1 << 30, false, 1 << 30}, {UINT64_C (1) << 40, 5, false, 5},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    bool data;
    uint64_t run;
    im_file_find_run (file, cases[i].offset, cases[i].len, &data, &run);
    g_assert_cmpint (data, ==, cases[i].data);
    g_assert_cmpuint (run, ==, cases[i].run);
  }
  unlink (path);
  close (fd);
}

static void
test_ids_differ (void)
{
  g_autoptr (ImFile) a = fixture_file ("a", 1);
  g_autoptr (ImFile) b = fixture_file ("a", 1);
  g_assert_cmpuint (im_file_id (a), !=, im_file_id (b));
}

static void
test_new_files (void)
{
  g_autofree char *folder = g_dir_make_tmp ("imgmount-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "new", NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (ImFile) file = im_file_create (path, 0640, &error);
  g_assert_no_error (error);
  g_assert_true (im_file_is_writable (file));
  g_assert_cmpint (im_file_stat (file)->st_mode & 0777 & ~0640u, ==, 0);
  g_assert_true (im_file_extend (file, 5, &error));
  g_assert_true (im_file_pwrite (file, "hello", 5, 0, true, &error));
  /* What is there stays as it is. */
  g_assert_null (im_file_create (path, 0600, &error));
  g_assert_error (error, IM_ERRNO, EEXIST);
  g_autoptr (ImFile) again = im_file_open_read_only (path, NULL);
  g_assert_cmpuint (im_file_size (again), ==, 5);
  g_assert_true (im_file_is_same (again, im_file_stat (file)));
  unlink (path);
  rmdir (folder);
}

static void
test_temporary_files (void)
{
  g_autofree char *folder = g_dir_make_tmp ("imgmount-XXXXXX", NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (ImFile) file = im_file_create_temporary (folder, &error);
  g_assert_no_error (error);
  g_assert_true (im_file_is_writable (file));
  g_assert_true (im_file_is_temporary (file));
  g_assert_false (im_file_writes_through (file));
  g_assert_true (g_str_has_prefix (im_file_path (file), folder));
  g_assert_cmpuint (im_file_stat (file)->st_nlink, ==, 0);
  g_assert_cmpuint (im_file_stat (file)->st_mode & 0077, ==, 0);
  /* Nothing is left in the folder. */
  g_assert_cmpint (rmdir (folder), ==, 0);
  g_autoptr (ImFile) other = im_file_create_temporary ("/nonexistent", &error);
  g_assert_null (other);
  g_assert_error (error, IM_ERRNO, ENOENT);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/file/zeros-past-the-end", test_reads_zeros_past_the_end);
  g_test_add_func ("/block/file/shrunken-file-is-an-error",
                   test_shrunken_file_is_an_error);
  g_test_add_func ("/block/file/refuses-what-is-no-file", test_refuses_other_kinds);
  g_test_add_func ("/block/file/runs-of-data-and-holes", test_runs);
  g_test_add_func ("/block/file/ids-differ", test_ids_differ);
  g_test_add_func ("/block/file/new-files", test_new_files);
  g_test_add_func ("/block/file/temporary-files-have-no-name", test_temporary_files);
  return g_test_run ();
}
