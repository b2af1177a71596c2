/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads that meet damage: what is around it comes out whole and in its place, what it
 * covers is an error or zeros, and all of it is noted. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/file-internal.h"
#include "config.h"
#include "fixture.h"

#include <errno.h>

/* Of the disk:  FILE | a bad entry | FILE | a chunk that does not decode | a parent with
 * a bad entry, in FILE.  The file has two bad sectors in the first part. */
enum {
  ENTRY_START = 16 << 10,
  ENTRY_END = 20 << 10,
  CHUNK_START = 32 << 10,
  CHUNK_END = 36 << 10,
  PARENT_START = 48 << 10,
  PARENT_BAD = 50 << 10,
  PARENT_BAD_END = 51 << 10,
  LENGTH = 64 << 10,
  SECTORS_START = 8 << 10, /* bad ones, in the file */
  SECTORS_END = SECTORS_START + 1024,
};

static uint64_t bad_from, bad_to; /* in any file that bad_engine serves */
static unsigned transfers;

/* Nothing is read where a transfer touches [bad_from, bad_to). */
static void
bad_transfer (ImIo **ios, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    uint64_t end = ios[i]->offset + im_iov_length (ios[i]->iov, ios[i]->n);
    transfers++;
    if (ios[i]->offset < bad_to && end > bad_from)
      ios[i]->result = -EIO;
    else
      im_io_engine_threads.transfer (&ios[i], 1);
  }
}

static const ImIoEngine bad_engine = {.transfer = bad_transfer};

static bool
decode_nothing (const void *in, size_t in_len, void *out, size_t out_len, GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "no stream");
  return false;
}

static const ImCodec broken_codec = {.name = "broken", .decode = decode_nothing};

typedef struct {
  uint8_t *bytes, *expected; /* of the file; of the disk with zeros for damage */
  ImFile *file;
  ImBlock *block;
  ImDamage *damage;
} Setup;

static ImExtent
file_extent (const Setup *s, uint64_t from, uint64_t to)
{
  return (ImExtent){.offset = from,
                    .length = to - from,
                    .kind = IM_EXTENT_FILE,
                    .allocated = true,
                    .file = s->file,
                    .at = from};
}

static ImExtent
bad_entry (uint64_t from, uint64_t to)
{
  return (ImExtent){.offset = from,
                    .length = to - from,
                    .kind = IM_EXTENT_DAMAGED,
                    .at = 0x100,
                    .entry = 0x77,
                    .reason = "not aligned"};
}

static ImBlock *
make_chain (const Setup *s)
{
  const ImExtent parent[] = {file_extent (s, 0, PARENT_BAD),
                             bad_entry (PARENT_BAD, PARENT_BAD_END),
                             file_extent (s, PARENT_BAD_END, LENGTH)};
  const ImExtent child[] = {
      file_extent (s, 0, ENTRY_START),
      bad_entry (ENTRY_START, ENTRY_END),
      file_extent (s, ENTRY_END, CHUNK_START),
      {.offset = CHUNK_START,
       .length = CHUNK_END - CHUNK_START,
       .kind = IM_EXTENT_CHUNK,
       .allocated = true,
       .chunk = {s->file, 0x40, 64, CHUNK_END - CHUNK_START, &broken_codec}},
      file_extent (s, CHUNK_END, PARENT_START),
      {.offset = PARENT_START, .length = LENGTH - PARENT_START, .kind = IM_EXTENT_PARENT},
  };
  return fixture_block (child, G_N_ELEMENTS (child), 4,
                        fixture_block (parent, G_N_ELEMENTS (parent), 4, NULL));
}

static void
clear (Setup *s, uint64_t from, uint64_t to)
{
  memset (s->expected + from, 0, to - from);
}

static void
set_up (Setup *s)
{
  s->bytes = fixture_pattern (LENGTH, 9);
  s->expected = g_memdup2 (s->bytes, LENGTH);
  clear (s, SECTORS_START, SECTORS_END);
  clear (s, ENTRY_START, ENTRY_END);
  clear (s, CHUNK_START, CHUNK_END);
  clear (s, PARENT_BAD, PARENT_BAD_END);
  s->file = fixture_file (s->bytes, LENGTH);
  s->file->engine = &bad_engine;
  bad_from = SECTORS_START;
  bad_to = SECTORS_END;
  s->block = make_chain (s);
  s->damage = im_damage_new (NULL, NULL);
  im_block_note_damage (s->block, s->damage);
}

static void
tear_down (Setup *s)
{
  im_block_unref (s->block);
  im_file_unref (s->file);
  im_damage_free (s->damage);
  g_free (s->bytes);
  g_free (s->expected);
}

static void
assert_noted (ImDamage *damage, guint i, guint n, uint64_t from, uint64_t to,
              const char *reason)
{
  uint64_t unlisted;
  g_autoptr (GArray) list = im_damage_list (damage, 0, UINT64_MAX, &unlisted);
  g_assert_cmpuint (list->len, ==, n);
  const ImDamageRange *range = &g_array_index (list, ImDamageRange, i);
  g_assert_cmpuint (range->offset, ==, from);
  g_assert_cmpuint (range->length, ==, to - from);
  g_assert_nonnull (strstr (range->reason, reason));
}

static void
test_filled (void)
{
  Setup s;
  set_up (&s);
  g_autoptr (ImBlock) filled = im_slice_new_filled (s.block);
  g_autofree uint8_t *buf = g_malloc (LENGTH);
  g_autoptr (GError) error = NULL;
  for (int i = 0; i < 500; i++) {
    uint64_t offset = (uint64_t)g_test_rand_int_range (0, LENGTH);
    size_t len = (size_t)g_test_rand_int_range (0, LENGTH - (int)offset + 1);
    memset (buf, 0xee, LENGTH);
    g_assert_true (im_block_pread (filled, buf, len, offset, &error));
    g_assert_cmpmem (buf, len, s.expected + offset, len);
    memset (buf, 0xee, LENGTH);
    if (im_block_pread_nowait (filled, buf, len, offset))
      g_assert_cmpmem (buf, len, s.bytes + offset, len);
  }
  g_assert_true (im_block_pread (filled, buf, LENGTH, 0, &error));
  assert_noted (s.damage, 0, 4, SECTORS_START, SECTORS_END, "Input/output error");
  assert_noted (s.damage, 1, 4, ENTRY_START, ENTRY_END,
                "table entry at 0x100 is 0x77: not aligned");
  assert_noted (s.damage, 2, 4, CHUNK_START, CHUNK_END, "offset 0x40: no stream");
  assert_noted (s.damage, 3, 4, PARENT_BAD, PARENT_BAD_END, "parent 1: table entry at");
  tear_down (&s);
}

static void
test_error_with_what_comes_before (void)
{
  static const struct {
    uint64_t offset, bad;
  } cases[] = {{100, SECTORS_START},
               {SECTORS_END + 1, ENTRY_START},
               {ENTRY_END, CHUNK_START},
               {CHUNK_END + 5, PARENT_BAD},
               {ENTRY_START + 7, ENTRY_START + 7}};
  Setup s;
  set_up (&s);
  g_autofree uint8_t *buf = g_malloc (LENGTH);
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    uint64_t offset = cases[i].offset;
    size_t done, len = (size_t)(LENGTH - offset);
    g_autoptr (GError) error = NULL, again = NULL;
    g_autofree char *where =
        g_strdup_printf ("damaged at disk offset %" G_GUINT64_FORMAT ": ", cases[i].bad);
    g_assert_false (im_block_pread_part (s.block, buf, len, offset, &done, &error));
    g_assert_true (im_error_is_damage (error));
    g_assert_cmpint (im_error_to_errno (error), ==, EIO);
    g_assert_true (g_str_has_prefix (error->message, where));
    g_assert_cmpuint (offset + done, ==, cases[i].bad);
    g_assert_cmpmem (buf, done, s.bytes + offset, done);
    g_assert_false (im_block_pread (s.block, buf, len, offset, &again));
  }
  tear_down (&s);
}

/* Ten bytes tell of all that is lost with them, and of nothing else. */
static void
test_all_that_is_lost_is_noted (void)
{
  Setup s;
  set_up (&s);
  uint8_t buf[10];
  g_autoptr (ImBlock) filled = im_slice_new_filled (s.block);
  g_autoptr (GError) error = NULL;
  g_assert_true (im_block_pread (filled, buf, 10, CHUNK_START + 1000, &error));
  assert_noted (s.damage, 0, 1, CHUNK_START, CHUNK_END, "no stream");
  g_assert_true (im_block_pread (filled, buf, 10, PARENT_BAD, &error));
  assert_noted (s.damage, 1, 2, PARENT_BAD, PARENT_BAD_END, "parent 1");
  tear_down (&s);
}

/* A slice counts from its own start, the list from the disk's. */
static void
test_slices_note_on_the_disk (void)
{
  Setup s;
  set_up (&s);
  uint8_t buf[2048], zeros[2048] = {0};
  size_t done;
  g_autoptr (GError) error = NULL;
  g_autoptr (ImBlock) filled = im_slice_new_filled (s.block);
  g_autoptr (ImBlock) slice = im_slice_new (filled, ENTRY_START + 512, 8192, &error);
  g_autoptr (ImBlock) inner = im_slice_new (slice, 1024, 2048, &error);
  g_autoptr (ImBlock) plain = im_slice_new (s.block, ENTRY_START, 4096, &error);
  g_assert_true (im_block_pread (inner, buf, 2048, 0, &error));
  g_assert_cmpmem (buf, 2048, zeros, 2048);
  assert_noted (s.damage, 0, 1, ENTRY_START + 1536, ENTRY_START + 1536 + 2048, "0x77");
  g_assert_false (im_block_pread_part (plain, buf, 10, 4, &done, &error));
  g_assert_nonnull (strstr (error->message, "disk offset 16388: "));
  tear_down (&s);
}

/* The search for bad sectors is one by halves. */
static void
test_few_reads_find_a_sector (void)
{
  Setup s;
  set_up (&s);
  g_autofree uint8_t *buf = g_malloc (LENGTH);
  const ImExtent whole = file_extent (&s, 0, LENGTH);
  g_autoptr (ImBlock) base = fixture_block (&whole, 1, 1, NULL);
  g_autoptr (ImBlock) filled = im_slice_new_filled (base);
  g_autoptr (GError) error = NULL;
  bad_from = 40000; /* within one sector */
  bad_to = 40001;
  transfers = 0;
  g_assert_true (im_block_pread (filled, buf, LENGTH, 0, &error));
  g_assert_cmpuint (transfers, <=, 2 + 2 * 7);
  memset (s.bytes + 39936, 0, 512);
  g_assert_cmpmem (buf, LENGTH, s.bytes, LENGTH);
  tear_down (&s);
}

/* Sectors of the medium and of the encryption are the same. */
static void
test_encrypted (void)
{
#if HAVE_GCRYPT
  enum { SIZE = 32 << 10, AT = 4096 };
  g_autoptr (ImSecret) key = im_secret_new (NULL, 32);
  memset (key->bytes, 7, 16);
  ImTransform *crypt = im_transform_new ("aes", "xts-plain64", key, NULL);
  g_autofree uint8_t *plain = fixture_pattern (SIZE, 3);
  g_autofree uint8_t *bytes = g_malloc0 (AT + SIZE), *buf = g_malloc (SIZE);
  memcpy (bytes + AT, plain, SIZE);
  im_transform_apply (crypt, IM_ENCRYPT, 0, bytes + AT, SIZE, NULL, NULL);
  g_autoptr (ImFile) file = fixture_file (bytes, AT + SIZE);
  file->engine = &bad_engine;
  bad_from = AT + 1024;
  bad_to = AT + 1536;
  const ImExtent whole = {
      .length = SIZE, .kind = IM_EXTENT_FILE, .file = file, .at = AT, .crypt = crypt};
  g_autoptr (ImBlock) base = fixture_block (&whole, 1, 1, NULL);
  g_autoptr (ImBlock) filled = im_slice_new_filled (base);
  g_autoptr (GError) error = NULL;
  memset (plain + 1024, 0, 512);
  for (uint64_t offset = 0; offset < 2048; offset += 100) {
    size_t len = SIZE - 2 * (size_t)offset;
    g_assert_true (im_block_pread (filled, buf, len, offset, &error));
    g_assert_cmpmem (buf, len, plain + offset, len);
  }
  g_clear_pointer (&filled, im_block_unref);
  g_clear_pointer (&base, im_block_unref);
  im_transform_free (crypt);
#else
  g_test_skip ("built without libgcrypt");
#endif
}

/* A driver that cannot read its table for [4096, 8192), for the reason FAILURE. */
static int failure;

static bool
failing_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
             ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  if (offset >= 4096 && offset < 8192) {
    im_set_errno (error, failure, "a table");
    return false;
  }
  uint64_t end = offset < 4096 ? im_min (offset + length, 4096) : offset + length;
  extents[0] = (ImExtent){
      .offset = offset, .length = end - offset, .kind = IM_EXTENT_ZERO, .stable = true};
  *ret_n = 1;
  return true;
}

static void
failing_free (ImBlock *block)
{
  g_free (block);
}

static const ImBlockOps failing_ops = {
    .name = "failing", .map = failing_map, .free = failing_free};

static void
test_a_table_that_cannot_be_read (void)
{
  ImBlock *base = g_new0 (ImBlock, 1);
  im_block_init (base, &failing_ops, 16384, NULL, fixture_resources ());
  g_autoptr (ImDamage) damage = im_damage_new (NULL, NULL);
  im_block_note_damage (base, damage);
  g_autoptr (ImBlock) filled = im_slice_new_filled (base);
  uint8_t buf[16384];
  ImExtent extents[4];
  size_t n;
  g_autoptr (GError) error = NULL;
  failure = ENOMEM; /* may be there the next time */
  g_assert_false (im_block_pread (filled, buf, sizeof buf, 0, &error));
  g_assert_error (error, IM_ERRNO, ENOMEM);
  g_clear_error (&error);
  failure = EIO;
  g_assert_true (im_block_pread (filled, buf, sizeof buf, 0, &error));
  assert_noted (damage, 0, 1, 4096, 8192, "cannot be read");
  g_assert_true (im_block_map (filled, 0, 16384, IM_MAP_ZEROES, extents, 4, &n, &error));
  g_assert_cmpuint (n, ==, 2);
  g_assert_cmpint (extents[1].kind, ==, IM_EXTENT_DAMAGED);
  g_assert_false (im_block_pread (base, buf, 1, 5000, &error));
  g_assert_cmpint (im_error_to_errno (error), ==, EIO);
  g_clear_pointer (&filled, im_block_unref);
  im_block_unref (base);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/salvage/filled", test_filled);
  g_test_add_func ("/block/salvage/error-with-what-comes-before",
                   test_error_with_what_comes_before);
  g_test_add_func ("/block/salvage/all-that-is-lost-is-noted",
                   test_all_that_is_lost_is_noted);
  g_test_add_func ("/block/salvage/slices-note-on-the-disk",
                   test_slices_note_on_the_disk);
  g_test_add_func ("/block/salvage/few-reads-find-a-sector",
                   test_few_reads_find_a_sector);
  g_test_add_func ("/block/salvage/encrypted", test_encrypted);
  g_test_add_func ("/block/salvage/a-table-that-cannot-be-read",
                   test_a_table_that_cannot_be_read);
  return g_test_run ();
}
