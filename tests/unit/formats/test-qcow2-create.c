/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: new images, as bytes and as files. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/file-internal.h"
#include "formats/qcow2/qcow2-image.h"
#include "qcow2-sample.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static ImFile *
new_file (void)
{
  g_autoptr (GError) error = NULL;
  ImFile *file = im_file_create_temporary (g_get_tmp_dir (), &error);

  g_assert_no_error (error);
  return file;
}

static bool
create (ImFile *file, uint64_t size, GError **error)
{
  ImNewImage new_image = {
      .size = size, .backing_name = "base.img", .backing_format = "raw"};

  return qcow2_create (file, &new_image, error);
}

static void
test_head_round_trip (void)
{
  Qcow2Header header = {.cluster_bits = 16,
                        .size = 0x123456789abc00,
                        .l1_entries = 77,
                        .l1_offset = 0x30000,
                        .refcount_offset = 0x10000,
                        .refcount_clusters = 3,
                        .compatible = QCOW2_COMPATIBLE_LAZY,
                        .refcount_order = 5};
  g_auto (Qcow2Extensions) extensions = {0};
  g_autofree char *name = NULL;
  uint8_t area[512];
  size_t len = 0;
  Qcow2Header read;

  memset (area, 0xee, sizeof area);
  g_assert_true (
      qcow2_head_encode (&header, "../a base", "vpc", area, sizeof area, &len, NULL));
  g_assert_true (qcow2_header_decode (area, sizeof area, &read, NULL));
#define SAME(field) g_assert_cmpuint (read.field, ==, header.field)
  SAME (version);
  SAME (backing_offset);
  SAME (backing_length);
  SAME (cluster_bits);
  SAME (size);
  SAME (l1_entries);
  SAME (l1_offset);
  SAME (refcount_offset);
  SAME (refcount_clusters);
  SAME (compatible);
  SAME (refcount_order);
  SAME (header_length);
#undef SAME
  g_assert_cmpuint (read.crypt_method | read.snapshot_count | read.compression, ==, 0);
  g_assert_cmpuint (read.incompatible | read.autoclear | read.snapshot_offset, ==, 0);
  g_assert_true (qcow2_extensions_decode (&read, area, len, &extensions, NULL));
  g_assert_cmpstr (extensions.backing_format, ==, "vpc");
  g_assert_true (qcow2_backing_name_decode (&read, area, len, &name, NULL));
  g_assert_cmpstr (name, ==, "../a base");
  g_assert_cmpuint (area[len], ==, 0xee);
}

static void
test_head_limits (void)
{
  g_autofree char *longest = g_strnfill (QCOW2_MAX_BACKING_NAME, 'n');
  g_autofree char *longer = g_strnfill (QCOW2_MAX_BACKING_NAME + 1, 'n');
  uint8_t area[2048];
  Qcow2Header header = {0};
  g_autoptr (GError) error = NULL;
  size_t len = 0;

  g_assert_true (
      qcow2_head_encode (&header, longest, "raw", area, sizeof area, &len, NULL));
  for (size_t room = 0; room < len; room++)
    g_assert_false (qcow2_head_encode (&header, longest, "raw", area, room, &len, NULL));
  g_assert_false (
      qcow2_head_encode (&header, longer, "raw", area, sizeof area, &len, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_LIMIT);
  g_assert_nonnull (
      strstr (error->message, "1024 bytes is longer than the limit of 1023"));
}

/* Makes an image of SIZE and opens it. */
static void
check_size (uint64_t size)
{
  g_auto (Opened) opened = {0};
  g_autoptr (GError) error = NULL;
  ImFile *file = new_file ();
  struct stat st;

  g_assert_true (create (file, size, &error));
  g_assert_no_error (error);
  g_assert_cmpint (fstat (im_file_fd (file), &st), ==, 0);
  g_assert_cmpint (st.st_size, ==, (gint64)im_file_size (file));
  /* Whatever the disk's size, it is holes. */
  g_assert_cmpint (st.st_blocks * 512, <=, 64 << 10);
  sample_open_file (&opened, file);
  g_assert_no_error (opened.error);
  g_assert_cmpuint (opened.block->size, ==, im_div_up (size, 512) * 512);
  g_assert_true (opened.block->writable);
  g_assert_cmpstr (opened.parent_name, ==, "base.img");
  g_assert_cmpstr (opened.parent_format, ==, "raw");
}

static void
test_every_size (void)
{
  static const uint64_t sizes[] = {0,
                                   1,
                                   511,
                                   512,
                                   513,
                                   UINT64_C (512) << 20,
                                   (UINT64_C (512) << 20) + 1,
                                   UINT64_C (1) << 40,
                                   UINT64_C (1) << 51,
                                   (UINT64_C (1) << 51) + 1,
                                   UINT64_C (1) << 61};

  for (size_t i = 0; i < G_N_ELEMENTS (sizes); i++)
    check_size (sizes[i]);
}

static void
test_too_large (void)
{
  const uint64_t sizes[] = {(UINT64_C (1) << 61) + 1, UINT64_MAX};

  for (size_t i = 0; i < G_N_ELEMENTS (sizes); i++) {
    g_autoptr (ImFile) file = new_file ();
    g_autoptr (GError) error = NULL;

    g_assert_false (create (file, sizes[i], &error));
    g_assert_error (error, IM_ERROR, IM_ERROR_LIMIT);
    g_assert_cmpuint (im_file_size (file), ==, 0);
  }
}

static unsigned changes, fail_at; /* changes made so far; which one is to fail */
static bool header_written, synced_before, synced_after;

static int
before_change (ImFile *file, const ImFileChange *change)
{
  return ++changes == fail_at ? ENOSPC : 0;
}

static void
after_change (ImFile *file, const ImFileChange *change)
{
  if (change->kind == IM_FILE_SYNC) {
    *(header_written ? &synced_after : &synced_before) = true;
    return;
  }
  /* Nothing is changed after the header, and all else is durable before it. */
  g_assert_false (header_written);
  header_written = change->kind == IM_FILE_WRITE && change->offset == 0;
  g_assert_true (!header_written || synced_before);
  synced_before = header_written;
}

static const ImFileHooks hooks = {.before = before_change, .after = after_change};

/* Makes an image, its change FAIL failing; true where that did not come to pass. */
static bool
create_failing (const char *path, unsigned fail, bool *ret_is_image)
{
  g_autoptr (ImFile) file = im_file_create (path, 0600, NULL);
  g_autoptr (GError) error = NULL;
  uint8_t magic[4];
  bool ok;

  g_assert_nonnull (file);
  changes = 0;
  fail_at = fail;
  header_written = synced_before = synced_after = false;
  atomic_store (&im_file_hooks, &hooks);
  ok = create (file, 1 << 30, &error);
  atomic_store (&im_file_hooks, NULL);
  if (!ok)
    g_assert_error (error, IM_ERRNO, ENOSPC);
  g_assert_true (im_file_pread (file, magic, 4, 0, NULL));
  *ret_is_image = im_get_be32 (magic) == QCOW2_MAGIC;
  unlink (path);
  return ok;
}

static void
test_header_is_last (void)
{
  g_autofree char *folder = g_dir_make_tmp ("imgmount-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "new", NULL);
  unsigned fail = 1;
  bool is_image;

  for (; !create_failing (path, fail, &is_image); fail++)
    g_assert_true (is_image == header_written);
  /* Its size, the counts, their table, a sync, the header, a sync. */
  g_assert_cmpuint (fail, ==, 7);
  g_assert_true (is_image && synced_after);
  rmdir (folder);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, test) g_test_add_func ("/formats/qcow2/create/" name, test)
  ADD ("head-round-trip", test_head_round_trip);
  ADD ("head-that-does-not-fit-is-refused", test_head_limits);
  ADD ("every-size", test_every_size);
  ADD ("too-large-is-refused", test_too_large);
  ADD ("header-comes-last-and-all-is-durable", test_header_is_last);
#undef ADD
  return g_test_run ();
}
