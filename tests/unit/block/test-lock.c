/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image locks: who gets along with whom. */
#include "base/error.h"
#include "block/lock.h"

#include <fcntl.h>
#include <unistd.h>

enum {
  READER_USES = 1 << IM_LOCK_READ,
  READER_DENIES = 1 << IM_LOCK_WRITE | 1 << IM_LOCK_RESIZE,
  WRITER_USES = 1 << IM_LOCK_READ | 1 << IM_LOCK_WRITE | 1 << IM_LOCK_RESIZE,
  WRITER_DENIES = READER_DENIES,
};

static char *path;

static int
open_image (void)
{
  int fd = open (path, O_RDWR | O_CLOEXEC);
  g_assert_cmpint (fd, >=, 0);
  return fd;
}

static void
test_readers_share (void)
{
  int a = open_image (), b = open_image ();
  g_autoptr (GError) error = NULL;
  g_assert_true (im_lock_image (a, READER_USES, READER_DENIES, &error));
  g_assert_true (im_lock_image (b, READER_USES, READER_DENIES, &error));
  g_assert_no_error (error);
  close (a);
  close (b);
}

static void
test_reader_meets_writer (void)
{
  int a = open_image (), b = open_image ();
  g_autoptr (GError) error = NULL;
  g_assert_true (im_lock_image (a, WRITER_USES, WRITER_DENIES, &error));
  g_assert_false (im_lock_image (b, READER_USES, READER_DENIES, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_LOCKED);
  g_assert_nonnull (strstr (error->message, "\"write\""));
  close (a);
  close (b);
}

static void
test_writer_meets_reader (void)
{
  int a = open_image (), b = open_image ();
  g_autoptr (GError) error = NULL;
  g_assert_true (im_lock_image (a, READER_USES, READER_DENIES, &error));
  g_assert_false (im_lock_image (b, WRITER_USES, WRITER_DENIES, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_LOCKED);
  close (a);
  close (b);
}

static void
test_lock_ends_with_the_descriptor (void)
{
  int a = open_image (), b = open_image ();
  g_autoptr (GError) error = NULL;
  g_assert_true (im_lock_image (a, WRITER_USES, WRITER_DENIES, &error));
  close (a);
  g_assert_true (im_lock_image (b, READER_USES, READER_DENIES, &error));
  close (b);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  close (g_file_open_tmp ("imgmount-XXXXXX", &path, NULL));
  g_test_add_func ("/block/lock/readers-share", test_readers_share);
  g_test_add_func ("/block/lock/reader-meets-writer", test_reader_meets_writer);
  g_test_add_func ("/block/lock/writer-meets-reader", test_writer_meets_reader);
  g_test_add_func ("/block/lock/ends-with-the-descriptor",
                   test_lock_ends_with_the_descriptor);
  int status = g_test_run ();
  unlink (path);
  g_free (path);
  return status;
}
