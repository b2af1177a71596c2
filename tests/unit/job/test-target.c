/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file appears whole or not at all, and replaces none unasked. */
#include "base/error.h"
#include "job/target.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
  char *folder, *path;
} Fixture;

static void
setup (Fixture *f, gconstpointer unused)
{
  f->folder = g_dir_make_tmp ("imgmount-target-XXXXXX", NULL);
  f->path = g_build_filename (f->folder, "out.dd", NULL);
}

static guint
entries (const Fixture *f)
{
  GDir *dir = g_dir_open (f->folder, 0, NULL);
  guint n = 0;
  while (g_dir_read_name (dir))
    n++;
  g_dir_close (dir);
  return n;
}

static void
teardown (Fixture *f, gconstpointer unused)
{
  g_unlink (f->path);
  g_assert_cmpint (g_rmdir (f->folder), ==, 0); /* nothing else was left there */
  g_free (f->path);
  g_free (f->folder);
}

static const ImRingPiece abc = {.length = 3, .data = (uint8_t *)"abc"};

static void
test_holes_and_size (Fixture *f, gconstpointer unused)
{
  ImRingPiece hole = {.offset = 3, .length = 1 << 20};
  g_autoptr (ImTarget) target =
      im_target_open (&(ImTargetOptions){.path = f->path}, NULL);
  g_assert_true (im_target_consume (target, &abc, NULL));
  g_assert_true (im_target_consume (target, &hole, NULL));
  g_assert_false (g_file_test (f->path, G_FILE_TEST_EXISTS));
  g_assert_true (im_target_finish (target, 3 + (1 << 20), NULL));
  struct stat st;
  g_assert_cmpint (stat (f->path, &st), ==, 0);
  g_assert_cmpint (st.st_size, ==, 3 + (1 << 20));
  g_assert_cmpint (st.st_blocks * 512, <, 1 << 20);
  g_assert_cmpuint (entries (f), ==, 1);
}

static void
test_unfinished_leaves_nothing (Fixture *f, gconstpointer unused)
{
  ImTarget *target = im_target_open (&(ImTargetOptions){.path = f->path}, NULL);
  g_assert_true (im_target_consume (target, &abc, NULL));
  im_target_free (target);
  g_assert_cmpuint (entries (f), ==, 0);
}

static void
test_nothing_is_replaced_unasked (Fixture *f, gconstpointer unused)
{
  g_autoptr (GError) error = NULL;
  g_assert_true (im_target_write_text (f->path, false, "first", NULL));
  g_assert_null (im_target_open (&(ImTargetOptions){.path = f->path}, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
  g_assert_true (im_target_write_text (f->path, true, "second", NULL));
  g_autofree char *text = NULL;
  g_assert_true (g_file_get_contents (f->path, &text, NULL, NULL));
  g_assert_cmpstr (text, ==, "second");
}

static void
test_a_file_that_came_meanwhile_stays (Fixture *f, gconstpointer unused)
{
  g_autoptr (GError) error = NULL;
  ImTarget *target = im_target_open (&(ImTargetOptions){.path = f->path}, NULL);
  g_assert_true (g_file_set_contents (f->path, "theirs", -1, NULL));
  g_assert_false (im_target_finish (target, 0, &error));
  g_assert_error (error, IM_ERRNO, EEXIST);
  im_target_free (target);
  g_assert_cmpuint (entries (f), ==, 1);
}

static void
test_a_full_stream_fails (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImTarget) target =
      im_target_open (&(ImTargetOptions){.path = "/dev/full"}, NULL);
  g_assert_nonnull (target);
  g_assert_false (im_target_consume (target, &abc, &error));
  g_assert_error (error, IM_ERRNO, ENOSPC);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func)                                                                  \
  g_test_add ("/job/target/" name, Fixture, NULL, setup, func, teardown)
  ADD ("holes-and-size", test_holes_and_size);
  ADD ("unfinished-leaves-nothing", test_unfinished_leaves_nothing);
  ADD ("nothing-is-replaced-unasked", test_nothing_is_replaced_unasked);
  ADD ("a-file-that-came-meanwhile-stays", test_a_file_that_came_meanwhile_stays);
  g_test_add_func ("/job/target/a-full-stream-fails", test_a_full_stream_fails);
  return g_test_run ();
}
