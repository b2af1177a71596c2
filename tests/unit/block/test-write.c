/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing files, and the contract that every change passes. */
#include "base/error.h"
#include "fixture.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LENGTH = 1 << 20 };

/* A writable file of a pattern; the caller unlinks *ret_path and frees it. */
static ImFile *
writable_file (char **ret_path, ImCacheMode cache, uint8_t **ret_bytes)
{
  int fd = g_file_open_tmp ("imgmount-XXXXXX", ret_path, NULL);
  *ret_bytes = fixture_pattern (LENGTH, 7);
  g_assert_cmpint (write (fd, *ret_bytes, LENGTH), ==, LENGTH);
  close (fd);
  g_autoptr (GError) error = NULL;
  ImFile *file = im_file_open_writable (*ret_path, cache, &error);
  g_assert_no_error (error);
  return file;
}

static void
check_contents (ImFile *file, const uint8_t *expected)
{
  g_autofree uint8_t *buf = g_malloc (LENGTH);
  g_assert_true (im_file_pread (file, buf, LENGTH, 0, NULL));
  g_assert_cmpmem (buf, LENGTH, expected, LENGTH);
}

/* Random changes against the same changes of a buffer, in every cache mode. */
static void
test_random_changes (void)
{
  static const ImCacheMode modes[] = {IM_CACHE_WRITEBACK, IM_CACHE_WRITETHROUGH,
                                      IM_CACHE_UNSAFE};
  for (size_t m = 0; m < G_N_ELEMENTS (modes); m++) {
    g_autofree char *path = NULL;
    g_autofree uint8_t *expected = NULL;
    g_autoptr (ImFile) file = writable_file (&path, modes[m], &expected);
    g_autofree uint8_t *data = fixture_pattern (65536, 11);
    for (int i = 0; i < 200; i++) {
      uint64_t offset = (uint64_t)g_test_rand_int_range (0, LENGTH - 65536);
      uint64_t len = (uint64_t)g_test_rand_int_range (0, 65536);
      if (i % 3 == 0) {
        if (i % 2 || !im_file_pwrite_nowait (file, data, len, offset))
          g_assert_true (im_file_pwrite (file, data, len, offset, i % 2, NULL));
        memcpy (expected + offset, data, len);
      } else {
        g_assert_true (im_file_write_zeroes (file, offset, len, i % 2, false, NULL));
        memset (expected + offset, 0, len);
      }
    }
    g_assert_true (im_file_sync (file, NULL));
    check_contents (file, expected);
    unlink (path);
  }
}

/* What was just written is in memory, where the mode keeps it there. */
static void
test_without_waiting (void)
{
  static const ImCacheMode modes[] = {IM_CACHE_WRITEBACK, IM_CACHE_WRITETHROUGH,
                                      IM_CACHE_UNSAFE};
  for (size_t m = 0; m < G_N_ELEMENTS (modes); m++) {
    bool works = modes[m] != IM_CACHE_WRITETHROUGH;
    g_autofree char *path = NULL;
    g_autofree uint8_t *expected = NULL;
    g_autoptr (ImFile) file = writable_file (&path, modes[m], &expected);
    g_assert_cmpint (im_file_pwrite_nowait (file, "abc", 3, 4095), ==, works);
    g_assert_false (im_file_pwrite_nowait (file, "abc", 3, LENGTH - 2));
    if (works)
      memcpy (expected + 4095, "abc", 3);
    check_contents (file, expected);
    unlink (path);
  }
}

static void
test_never_grows (void)
{
  g_autofree char *path = NULL;
  g_autofree uint8_t *bytes = NULL;
  g_autoptr (ImFile) file = writable_file (&path, IM_CACHE_WRITEBACK, &bytes);
  g_autoptr (GError) error = NULL;
  g_assert_false (im_file_pwrite (file, "xy", 2, LENGTH - 1, false, &error));
  g_assert_error (error, IM_ERRNO, ENOSPC);
  g_clear_error (&error);
  g_assert_false (im_file_write_zeroes (file, 0, LENGTH + 1, true, false, &error));
  g_clear_error (&error);
  g_assert_false (im_file_discard (file, UINT64_MAX, 1, &error));
  struct stat st;
  g_assert_cmpint (stat (path, &st), ==, 0);
  g_assert_cmpint (st.st_size, ==, LENGTH);
  check_contents (file, bytes);
  unlink (path);
}

static void
test_discard_gives_space_back (void)
{
  g_autofree char *path = NULL;
  g_autofree uint8_t *bytes = NULL;
  g_autoptr (ImFile) file = writable_file (&path, IM_CACHE_WRITEBACK, &bytes);
  g_assert_true (im_file_sync (file, NULL));
  g_assert_true (im_file_discard (file, 0, LENGTH, NULL));
  bool data;
  uint64_t run;
  im_file_find_run (file, 0, LENGTH, &data, &run);
  if (data)
    g_test_skip ("this file system does not punch holes");
  else
    g_assert_cmpuint (run, ==, LENGTH);
  unlink (path);
}

/* A change recorded by a driver that has all the write calls. */
static struct {
  unsigned writes, at_once, zeroes, discards, flushes;
  ImWriteFlags flags;
  uint64_t offset;
  bool meanwhile; /* another change is tried during each */
} calls;

static bool
note_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
          ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  extents[0] = (ImExtent){.offset = offset, .length = length, .kind = IM_EXTENT_ZERO};
  *ret_n = 1;
  return true;
}

/* What concerns the guard has to wait, all else has not. */
static void
change_meanwhile (ImBlock *block)
{
  if (!calls.meanwhile)
    return;
  g_assert_false (im_block_pwrite_nowait (block, "x", 1, 600));
  g_assert_true (im_block_pwrite_nowait (block, "x", 1, 4096));
}

static bool
note_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
             ImWriteFlags flags, GError **error)
{
  calls.writes++;
  calls.flags = flags;
  calls.offset = offset;
  change_meanwhile (block);
  return true;
}

static bool
note_pwrite_nowait (ImBlock *block, const void *buf, size_t len, uint64_t offset)
{
  calls.at_once++;
  calls.offset = offset;
  return true;
}

static bool
note_zeroes (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
             GError **error)
{
  calls.zeroes++;
  calls.flags = flags;
  change_meanwhile (block);
  return true;
}

static bool
note_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  calls.discards++;
  return true;
}

static bool
note_flush (ImBlock *block, GError **error)
{
  calls.flushes++;
  return true;
}

static void
note_free (ImBlock *block)
{
  g_free (block);
}

static const ImBlockOps note_ops = {.name = "note",
                                    .map = note_map,
                                    .pwrite = note_pwrite,
                                    .pwrite_nowait = note_pwrite_nowait,
                                    .write_zeroes = note_zeroes,
                                    .discard = note_discard,
                                    .flush = note_flush,
                                    .free = note_free};

static ImBlock *
note_block (bool writable)
{
  ImBlock *block = g_new0 (ImBlock, 1);
  im_block_init (block, &note_ops, LENGTH, NULL, fixture_resources ());
  block->writable = writable;
  block->policy.pass_discards = true;
  memset (&calls, 0, sizeof calls);
  return block;
}

static void
test_read_only_is_erofs (void)
{
  g_autoptr (ImBlock) block = note_block (false);
  g_autoptr (GError) error = NULL;
  g_assert_false (im_block_pwrite (block, "x", 1, 0, 0, &error));
  g_assert_error (error, IM_ERRNO, EROFS);
  g_clear_error (&error);
  g_assert_false (im_block_write_zeroes (block, 0, 1, 0, &error));
  g_assert_error (error, IM_ERRNO, EROFS);
  g_clear_error (&error);
  g_assert_false (im_block_discard (block, 0, 1, &error));
  g_assert_error (error, IM_ERRNO, EROFS);
  g_assert_false (im_block_pwrite_nowait (block, "x", 1, 0));
  g_assert_true (im_block_flush (block, NULL));
  g_assert_cmpuint (calls.writes + calls.at_once + calls.zeroes + calls.discards, ==, 0);
  g_assert_cmpuint (calls.flushes, ==, 0);
}

static void
test_ranges_are_checked (void)
{
  g_autoptr (ImBlock) block = note_block (true);
  g_autoptr (GError) error = NULL;
  g_assert_false (im_block_pwrite (block, "x", 1, LENGTH, 0, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_RANGE);
  g_clear_error (&error);
  g_assert_false (im_block_write_zeroes (block, 1, UINT64_MAX, 0, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_RANGE);
  g_clear_error (&error);
  g_assert_false (im_block_discard (block, UINT64_MAX, UINT64_MAX, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_RANGE);
  g_assert_false (im_block_pwrite_nowait (block, "x", 1, LENGTH));
  g_assert_cmpuint (calls.writes + calls.at_once + calls.zeroes + calls.discards, ==, 0);
}

static bool
is_in_first_page (const ImBlock *block, uint64_t length, uint64_t offset)
{
  return offset < 4096;
}

static bool
refuse_first_sector (ImBlock *block, const void *buf, uint64_t length, uint64_t offset,
                     GError **error)
{
  g_assert_cmpuint (offset, <, 4096);
  if (offset >= 512)
    return true;
  im_set_errno (error, EPERM, "the first sector");
  return false;
}

static const ImWriteGuard first_sector = {.concerns = is_in_first_page,
                                          .allows = refuse_first_sector};

static void
test_guard_and_slices (void)
{
  g_autoptr (ImBlock) block = note_block (true);
  im_block_set_guard (block, &first_sector);
  g_autoptr (ImBlock) slice = im_slice_new (block, 256, 4096, NULL);
  g_assert_true (im_block_is_writable (slice));
  g_autoptr (GError) error = NULL;
  g_assert_false (im_block_pwrite (slice, "x", 1, 0, 0, &error));
  g_assert_error (error, IM_ERRNO, EPERM);
  g_assert_true (im_block_pwrite (slice, "x", 1, 256, 0, NULL));
  g_assert_cmpuint (calls.offset, ==, 512);
  g_assert_false (im_block_pwrite_nowait (slice, "x", 1, 0));
  g_assert_true (im_block_pwrite_nowait (slice, "x", 1, 257));
  g_assert_cmpuint (calls.offset, ==, 513);
  g_assert_cmpuint (calls.at_once, ==, 1);
  g_assert_true (im_block_flush (slice, NULL));
  g_assert_cmpuint (calls.flushes, ==, 1);
}

/* Two changes that may be made, each by itself, may not both be made at once. */
static void
test_guard_and_races (void)
{
  g_autoptr (ImBlock) block = note_block (true);
  im_block_set_guard (block, &first_sector);
  calls.meanwhile = true;
  g_assert_true (im_block_pwrite (block, "x", 1, 512, 0, NULL));
  g_assert_true (im_block_write_zeroes (block, 1024, 1, 0, NULL));
  calls.meanwhile = false;
  g_assert_cmpuint (calls.at_once, ==, 2);
  g_assert_true (im_block_pwrite_nowait (block, "x", 1, 600));
}

static void
test_policy (void)
{
  g_autoptr (ImBlock) block = note_block (true);
  const uint8_t zeros[64] = {0}, one[64] = {[63] = 1};
  block->policy = (ImWritePolicy){.pass_discards = false};
  g_assert_true (im_block_discard (block, 0, 512, NULL));
  g_assert_cmpuint (calls.discards, ==, 0);
  g_assert_true (im_block_pwrite_nowait (block, zeros, sizeof zeros, 0));
  g_assert_true (im_block_pwrite (block, zeros, sizeof zeros, 0, 0, NULL));
  g_assert_cmpuint (calls.writes, ==, 1);
  block->policy.detect_zeroes = IM_DETECT_ZEROES_ON;
  g_assert_false (im_block_pwrite_nowait (block, zeros, sizeof zeros, 0));
  g_assert_true (im_block_pwrite (block, zeros, sizeof zeros, 0, 0, NULL));
  g_assert_true (im_block_pwrite (block, zeros, 1, 0, 0, NULL));
  g_assert_true (im_block_pwrite (block, one, sizeof one, 0, 0, NULL));
  g_assert_cmpuint (calls.zeroes, ==, 2);
  g_assert_cmpuint (calls.writes, ==, 2);
  g_assert_cmpuint (calls.at_once, ==, 1);
}

static void
test_ignored_flushes (void)
{
  g_autoptr (ImBlock) block = note_block (true);
  const ImWriteFlags flags = IM_WRITE_FUA | IM_WRITE_FAST | IM_WRITE_MAY_UNMAP;
  block->policy.pass_discards = true;
  g_assert_true (im_block_write_zeroes (block, 0, 512, flags, NULL));
  g_assert_cmpuint (calls.flags, ==, flags);
  block->policy.ignore_flushes = true;
  g_assert_true (im_block_write_zeroes (block, 0, 512, flags, NULL));
  g_assert_cmpuint (calls.flags, ==, IM_WRITE_FAST | IM_WRITE_MAY_UNMAP);
  g_assert_true (im_block_pwrite (block, "x", 1, 0, IM_WRITE_FUA, NULL));
  g_assert_cmpuint (calls.flags, ==, 0);
  g_assert_true (im_block_flush (block, NULL));
  g_assert_cmpuint (calls.flushes, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/write/random-changes-in-every-cache-mode",
                   test_random_changes);
  g_test_add_func ("/block/write/without-waiting", test_without_waiting);
  g_test_add_func ("/block/write/a-file-never-grows", test_never_grows);
  g_test_add_func ("/block/write/discard-gives-space-back",
                   test_discard_gives_space_back);
  g_test_add_func ("/block/write/read-only-is-erofs", test_read_only_is_erofs);
  g_test_add_func ("/block/write/ranges-are-checked", test_ranges_are_checked);
  g_test_add_func ("/block/write/guard-and-slices", test_guard_and_slices);
  g_test_add_func ("/block/write/guard-and-races", test_guard_and_races);
  g_test_add_func ("/block/write/policy-of-discards-and-zeros", test_policy);
  g_test_add_func ("/block/write/flushes-of-what-vanishes-are-ignored",
                   test_ignored_flushes);
  return g_test_run ();
}
