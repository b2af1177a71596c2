/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: images that contradict themselves, one field at a time, are written on.  No
 * metadata may be overwritten, nothing in use given out, and what qemu-img finds wrong
 * afterwards must have been wrong before. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-writer.h"
#include "formats/qcow2/qcow2.h"
#include "qcow2-rig.h"
#include <stdlib.h>

#define SIZE (UINT64_C (1) << 20)

static ImResources shared;

/* A good image of 4 KiB clusters (tables of 2 MiB … and so one L2 table) or 512-byte ones
 * (tables of 32 KiB), every second 64 KiB of which is written, with a snapshot. */
typedef struct {
  Rig rig;
  uint8_t *bytes; /* the file */
  gsize len;
  uint64_t cluster, l1, table, block;
} Lie;

static uint64_t
word (const Lie *lie, uint64_t at)
{
  return im_get_be64 (lie->bytes + at);
}

static void
load (Lie *lie)
{
  char *bytes;

  g_free (lie->bytes);
  g_assert_true (g_file_get_contents (lie->rig.path, &bytes, &lie->len, NULL));
  lie->bytes = (uint8_t *)bytes;
  lie->l1 = word (lie, 40);
  lie->table = word (lie, lie->l1) & QCOW2_ENTRY_OFFSET_MASK;
  lie->block = word (lie, word (lie, 48)) & QCOW2_REFCOUNT_OFFSET_MASK;
}

static void
save (const Lie *lie)
{
  g_autoptr (GError) error = NULL;

  g_file_set_contents (lie->rig.path, (char *)lie->bytes, (gssize)lie->len, &error);
  g_assert_no_error (error);
}

static void
write_all (Rig *rig, uint64_t from, uint64_t to)
{
  GRand *rand = g_rand_new_with_seed (7);

  for (uint64_t at = from; at < to; at += 65536) {
    rig_fill (rig->expected + at, 65536, rand);
    g_assert_true (im_block_pwrite (rig->block, rig->expected + at, 65536, at, 0, NULL));
  }
  g_rand_free (rand);
}

/* The first half written; the second is free. */
static void
make (Lie *lie, unsigned bits, bool snapshot)
{
  *lie = (Lie){.cluster = UINT64_C (1) << bits};
  rig_make (&lie->rig,
            &(RigShape){.version = 3,
                        .cluster_bits = bits,
                        .refcount_bits = 16,
                        .size = SIZE,
                        .snapshot = snapshot},
            &shared);
  rig_open (&lie->rig, IM_CACHE_UNSAFE);
  write_all (&lie->rig, 0, SIZE / 2);
  rig_close (&lie->rig);
  load (lie);
}

static void
clear (Lie *lie)
{
  rig_clear (&lie->rig);
  g_free (lie->bytes);
}

static void
set_entry (Lie *lie, unsigned i, uint64_t entry)
{
  im_put_be64 (lie->bytes + lie->table + i * 8, entry);
}

/* How many errors qemu-img finds. */
static unsigned
errors_of (const Lie *lie)
{
  g_autofree char *output = NULL;
  const char *at;
  unsigned n = 0;

  rig_check (lie->rig.path, &output);
  for (at = output; (at = strstr (at, "ERROR")); at++)
    n++;
  return n;
}

static bool
put (Lie *lie, uint64_t offset, uint64_t len, GError **error)
{
  g_autofree uint8_t *bytes = g_malloc (len);

  memset (bytes, 0xa5, len);
  return im_block_pwrite (lie->rig.block, bytes, len, offset, 0, error);
}

/* Writes, zeroes and discards cluster I, each of which must be refused or do nothing. */
static void
assert_refused (Lie *lie, uint64_t i)
{
  g_autoptr (GError) error = NULL, again = NULL, zeroing = NULL;
  uint64_t at = i * lie->cluster;

  g_assert_false (put (lie, at, lie->cluster, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
  g_assert_nonnull (strstr (error->message, "in use otherwise"));
  g_assert_false (put (lie, at + 7, 9, &again));
  g_assert_error (again, IM_ERROR, IM_ERROR_CORRUPT);
  g_assert_false (im_block_write_zeroes (lie->rig.block, at, lie->cluster,
                                         IM_WRITE_MAY_UNMAP, &zeroing));
  g_assert_error (zeroing, IM_ERROR, IM_ERROR_CORRUPT);
  g_assert_true (im_block_discard (lie->rig.block, at, lie->cluster, NULL));
}

/* Writes on: all but cluster SKIPPED, twice, the second half being new. */
static void
write_others (Lie *lie, uint64_t skipped)
{
  for (unsigned round = 0; round < 2; round++)
    for (uint64_t i = 0; i < SIZE / lie->cluster; i++) {
      g_autoptr (GError) error = NULL;

      if (i != skipped)
        put (lie, i * lie->cluster, lie->cluster, &error);
      g_assert_no_error (error);
    }
  g_assert_true (im_block_flush (lie->rig.block, NULL));
}

/* The LEN bytes at AT are as they were when the image was poked. */
static void
assert_same (const Lie *lie, uint64_t at, uint64_t len)
{
  g_autofree char *now = NULL;
  gsize now_len;

  g_assert_true (g_file_get_contents (lie->rig.path, &now, &now_len, NULL));
  g_assert_cmpuint (now_len, >=, at + len);
  for (uint64_t k = 0; k < len; k++)
    if (now[at + k] != (char)lie->bytes[at + k])
      g_error ("byte %" G_GUINT64_FORMAT " of the file has changed", at + k);
}

/* L2 entry 3 says that its cluster is at AT, one of metadata. */
static void
check_metadata (Lie *lie, uint64_t at, bool copied)
{
  unsigned before;

  set_entry (lie, 3, at | (copied ? QCOW2_ENTRY_COPIED : 0));
  save (lie);
  before = errors_of (lie);
  g_assert_cmpuint (before, >, 0);
  rig_open (&lie->rig, IM_CACHE_UNSAFE);
  assert_refused (lie, 3);
  write_others (lie, 3);
  assert_refused (lie, 3);
  rig_close (&lie->rig);
  g_assert_cmpuint (errors_of (lie), <=, before);
}

typedef enum {
  HEADER,
  L1,
  L2,
  OTHER_L2,
  TABLE,
  BLOCK,
  SNAPSHOTS,
  SNAPSHOT_L1,
  PLACES
} Place;

static uint64_t
place_of (const Lie *lie, Place place)
{
  uint64_t snapshots = word (lie, 64);

  switch (place) {
  case HEADER:
    break;
  case L1:
    return lie->l1;
  case L2:
    return lie->table;
  case OTHER_L2:
    return word (lie, lie->l1 + 8) & QCOW2_ENTRY_OFFSET_MASK;
  case TABLE:
    return word (lie, 48);
  case BLOCK:
    return lie->block;
  case SNAPSHOTS:
    return snapshots;
  case SNAPSHOT_L1:
    return word (lie, snapshots);
  case PLACES:
    break;
  }
  return 0;
}

static void
test_entry_into_metadata (void)
{
  if (!rig_has_qemu_img ())
    return;
  for (unsigned i = 0; i < PLACES * 2; i++) {
    Lie lie;
    uint64_t at;

    make (&lie, 9, true);
    at = place_of (&lie, (Place)(i / 2));
    if (at != 0) /* an offset of 0 means that there is none */
      check_metadata (&lie, at, i % 2);
    if (i / 2 == SNAPSHOTS || i / 2 == SNAPSHOT_L1)
      assert_same (&lie, at, lie.cluster);
    clear (&lie);
  }
}

/* Two entries of one table, or of two, that both claim to be the only one. */
static void
test_two_owners (void)
{
  if (!rig_has_qemu_img ())
    return;
  for (unsigned i = 0; i < 2; i++) {
    Lie lie;
    uint8_t first[512], now[512];

    make (&lie, 9, false);
    if (i == 0)
      set_entry (&lie, 3, word (&lie, lie.table));
    else
      im_put_be64 (lie.bytes + place_of (&lie, OTHER_L2), word (&lie, lie.table));
    save (&lie);
    rig_open (&lie.rig, IM_CACHE_UNSAFE);
    g_assert_true (put (&lie, 0, 512, NULL));
    assert_refused (&lie, i == 0 ? 3 : 64);
    /* What both point at is not given out when one of them lets go. */
    g_assert_true (
        im_block_pread (lie.rig.block, first, 512, i == 0 ? 3 * 512 : 32768, NULL));
    g_assert_true (im_block_discard (lie.rig.block, 0, 512, NULL));
    g_assert_true (im_block_flush (lie.rig.block, NULL));
    write_others (&lie, i == 0 ? 3 : 64);
    g_assert_true (
        im_block_pread (lie.rig.block, now, 512, i == 0 ? 3 * 512 : 32768, NULL));
    g_assert_cmpmem (now, 512, first, 512);
    clear (&lie);
  }
}

/* Counts of 0 for what is in use: data, and each kind of metadata. */
static void
test_count_of_zero (void)
{
  if (!rig_has_qemu_img ())
    return;
  for (unsigned i = 0; i < PLACES + 2; i++) {
    Lie lie;
    unsigned before;
    uint64_t at;

    make (&lie, 9, true);
    at = i < PLACES
             ? place_of (&lie, (Place)i)
             : word (&lie, lie.table + (i - PLACES) * 40) & QCOW2_ENTRY_OFFSET_MASK;
    im_put_be16 (lie.bytes + lie.block + at / 512 * 2, 0);
    save (&lie);
    before = errors_of (&lie);
    rig_open (&lie.rig, IM_CACHE_UNSAFE);
    write_all (&lie.rig, 0, SIZE);
    g_assert_true (im_block_flush (lie.rig.block, NULL));
    rig_compare (&lie.rig);
    rig_close (&lie.rig);
    if (i == HEADER || i == TABLE || i == SNAPSHOTS || i == SNAPSHOT_L1)
      assert_same (&lie, at, 8);
    g_assert_cmpuint (errors_of (&lie), <=, before);
    rig_open (&lie.rig, IM_CACHE_UNSAFE);
    rig_compare (&lie.rig);
    clear (&lie);
  }
}

/* What lies behind all that the refcount table counts is not free for that: not where the
 * table is to become longer, and not for what is given out then.  MOVED: the L1 table is
 * there; otherwise a count of 0 elsewhere shows that counts are wrong. */
static void
check_behind_the_counts (bool moved)
{
  const uint64_t size = UINT64_C (8) << 20, behind = UINT64_C (2) << 20, guest = 6u << 20;
  uint64_t l1_len = size / 32768 * 8, at = behind + (moved ? l1_len : 0);
  Lie lie = {.cluster = 512};

  rig_make (
      &lie.rig,
      &(RigShape){.version = 3, .cluster_bits = 9, .refcount_bits = 64, .size = size},
      &shared);
  load (&lie);
  lie.bytes = g_realloc (lie.bytes, behind + 65536);
  memset (lie.bytes + lie.len, 0, behind + 65536 - lie.len);
  lie.len = behind + 65536;
  if (moved)
    im_put_be64 (lie.bytes + 40, lie.l1 = behind);
  else
    im_put_be64 (lie.bytes + lie.block, 0);
  /* An L2 table and its one cluster. */
  im_put_be64 (lie.bytes + lie.l1 + guest / 32768 * 8, at | QCOW2_ENTRY_COPIED);
  im_put_be64 (lie.bytes + at, (at + 512) | QCOW2_ENTRY_COPIED);
  memset (lie.bytes + at + 512, 0xc3, 512);
  memset (lie.rig.expected + guest, 0xc3, 512);
  save (&lie);
  for (unsigned round = 0; round < 2; round++) {
    rig_open (&lie.rig, IM_CACHE_UNSAFE);
    write_all (&lie.rig, 0, 3u << 20);
    g_assert_true (im_block_flush (lie.rig.block, NULL));
    rig_compare (&lie.rig);
    rig_close (&lie.rig);
  }
  rig_open (&lie.rig, IM_CACHE_UNSAFE);
  rig_compare (&lie.rig);
  clear (&lie);
}

static void
test_behind_the_counts (void)
{
  if (!rig_has_qemu_img ())
    return;
  check_behind_the_counts (true);
  check_behind_the_counts (false);
}

/* An entry that points past the end stays damaged when the file has grown, and is nobody
 * else's cluster. */
static void
test_past_the_end (void)
{
  static const uint64_t flags[] = {0, QCOW2_ENTRY_COPIED,
                                   QCOW2_ENTRY_COPIED | QCOW2_ENTRY_ZERO};

  if (!rig_has_qemu_img ())
    return;
  for (unsigned i = 0; i < 2 * G_N_ELEMENTS (flags); i++) {
    Lie lie;
    uint8_t byte;
    uint64_t victim = 64 + 3; /* of the second table, which is not touched at first */

    make (&lie, 9, false);
    im_put_be64 (lie.bytes + place_of (&lie, OTHER_L2) + 24,
                 (im_div_up (lie.len, 512) + i * 3) * 512 | flags[i / 2]);
    save (&lie);
    rig_open (&lie.rig, IM_CACHE_UNSAFE);
    write_all (&lie.rig, SIZE / 2, SIZE);
    g_assert_cmpuint (im_file_size (lie.rig.file), >, lie.len + SIZE / 4);
    if (!(flags[i / 2] & QCOW2_ENTRY_ZERO))
      g_assert_false (im_block_pread (lie.rig.block, &byte, 1, victim * 512, NULL));
    assert_refused (&lie, victim);
    for (uint64_t at = SIZE / 2; at < SIZE; at += 512) {
      uint8_t bytes[512];

      g_assert_true (im_block_pread (lie.rig.block, bytes, 512, at, NULL));
      g_assert_cmpmem (bytes, 512, lie.rig.expected + at, 512);
    }
    clear (&lie);
  }
}

/* A flag that says "mine alone" of a cluster that the snapshot has too. */
static void
test_wrong_flags (void)
{
  Lie lie;
  g_autofree uint8_t *before = g_malloc (SIZE);
  uint64_t l1;

  if (!rig_has_qemu_img ())
    return;
  rig_make (&lie.rig,
            &(RigShape){.version = 3,
                        .cluster_bits = 9,
                        .refcount_bits = 16,
                        .size = SIZE,
                        .filled = true,
                        .snapshot = true},
            &shared);
  lie.bytes = NULL;
  load (&lie);
  l1 = lie.l1;
  for (uint64_t i = 0; i < SIZE / 32768; i++) {
    uint64_t table = word (&lie, l1 + i * 8) & QCOW2_ENTRY_OFFSET_MASK;

    if (table == 0)
      continue;
    if (i % 2 == 0)
      im_put_be64 (lie.bytes + l1 + i * 8, table | QCOW2_ENTRY_COPIED);
    for (unsigned k = 0; k < 64; k++)
      if (word (&lie, table + k * 8) > 1)
        lie.bytes[table + k * 8] |= 0x80;
  }
  save (&lie);
  rig_open (&lie.rig, IM_CACHE_UNSAFE);
  write_all (&lie.rig, 0, SIZE);
  rig_compare (&lie.rig);
  rig_close (&lie.rig);
  lie.rig.context.snapshot_any = "one";
  rig_open_path (&lie.rig, lie.rig.path, IM_CACHE_UNSAFE, false);
  g_assert_true (im_block_pread (lie.rig.block, before, SIZE, 0, NULL));
  g_assert_cmpmem (before, SIZE, lie.rig.original, SIZE);
  clear (&lie);
}

/* Writes cluster after cluster; what was accepted must read back, then and at the end. */
static void
write_and_read (Lie *lie)
{
  uint8_t wanted[512], found[512];
  bool accepted[SIZE / 512];

  memset (wanted, 0xa5, sizeof wanted);
  for (uint64_t i = 0; i < SIZE / 512; i++)
    accepted[i] = put (lie, i * 512, 512, NULL);
  for (uint64_t i = 0; i < SIZE / 512; i++) {
    g_assert_true (accepted[i] || i < 128); /* of one table, or of two */
    if (!accepted[i])
      continue;
    g_assert_true (im_block_pread (lie->rig.block, found, 512, i * 512, NULL));
    g_assert_cmpmem (found, 512, wanted, 512);
  }
}

/* An L1 entry that points at other metadata, or at another entry's table.  Errors are not
 * counted: what is no table has no number of them. */
static void
test_l1_entry (void)
{
  if (!rig_has_qemu_img ())
    return;
  for (unsigned i = 0; i < 2 * PLACES; i++) {
    Lie lie;
    uint64_t at;

    make (&lie, 9, true);
    at = place_of (&lie, (Place)(i / 2));
    if (i / 2 == L2)
      at = word (&lie, lie.table) & QCOW2_ENTRY_OFFSET_MASK; /* a cluster of data */
    im_put_be64 (lie.bytes + lie.l1, at | (i % 2 ? QCOW2_ENTRY_COPIED : 0));
    save (&lie);
    rig_open (&lie.rig, IM_CACHE_UNSAFE);
    write_and_read (&lie);
    im_block_discard (lie.rig.block, 0, SIZE, NULL);
    g_assert_true (im_block_flush (lie.rig.block, NULL));
    rig_close (&lie.rig);
    if (i / 2 == SNAPSHOTS || i / 2 == SNAPSHOT_L1)
      assert_same (&lie, at, 512);
    assert_same (&lie, 0, 88);
    clear (&lie);
  }
}

/* Any byte of any metadata, at random: no crash, no hang, for the sanitizers to judge. */
static void
test_random_bytes (void)
{
  unsigned rounds = g_test_slow () ? 2000 : 120;

  if (!rig_has_qemu_img ())
    return;
  for (unsigned i = 0; i < rounds; i++) {
    Lie lie;
    GRand *rand = g_rand_new_with_seed (i);
    g_autoptr (ImFile) file = NULL;
    g_autoptr (ImBlock) block = NULL;

    make (&lie, i % 2 ? 9 : 12, i % 3 == 0);
    for (unsigned k = 0; k < 1 + i % 4; k++) {
      uint64_t places[] = {lie.l1, lie.table, lie.block, word (&lie, 48), 36};
      uint64_t at = places[g_rand_int (rand) % 5] + g_rand_int (rand) % 64;

      if (at < lie.len)
        lie.bytes[at] = (uint8_t)g_rand_int (rand);
    }
    save (&lie);
    file = im_file_open_writable (lie.rig.path, IM_CACHE_UNSAFE, NULL);
    block = im_format_qcow2.open (file, &lie.rig.context, NULL);
    for (unsigned k = 0; block && block->writable && k < 40; k++) {
      uint8_t bytes[3000] = {1};
      uint64_t at = g_rand_int (rand) % (im_min (block->size, SIZE) - 3000);

      im_block_pwrite (block, bytes, 3000, at, 0, NULL);
      im_block_discard (block, at, 3000, NULL);
      im_block_pread (block, bytes, 3000, at, NULL);
      if (k % 10 == 0)
        im_block_flush (block, NULL);
    }
    g_rand_free (rand);
    clear (&lie);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  shared.pool = im_pool_new (2);
  shared.tables = im_table_cache_new (1 << 20);
  shared.chunks = im_chunk_engine_new (4 << 20, shared.pool);
  g_test_add_func ("/formats/qcow2/lies/l2-entry-into-metadata",
                   test_entry_into_metadata);
  g_test_add_func ("/formats/qcow2/lies/two-owners", test_two_owners);
  g_test_add_func ("/formats/qcow2/lies/count-of-zero", test_count_of_zero);
  g_test_add_func ("/formats/qcow2/lies/behind-the-counts", test_behind_the_counts);
  g_test_add_func ("/formats/qcow2/lies/past-the-end", test_past_the_end);
  g_test_add_func ("/formats/qcow2/lies/wrong-flags", test_wrong_flags);
  g_test_add_func ("/formats/qcow2/lies/l1-entry", test_l1_entry);
  g_test_add_func ("/formats/qcow2/lies/random-bytes", test_random_bytes);
  return g_test_run ();
}
