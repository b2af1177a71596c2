/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: many threads that change one image, and a disk below that fails. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/file-internal.h"
#include "formats/qcow2/qcow2-writer.h"
#include "qcow2-rig.h"
#include <errno.h>
#include <pthread.h>

enum { THREADS = 8, SECTOR = 512 };

static ImResources shared;

static void
make_resources (void)
{
  shared.pool = im_pool_new (2);
  shared.tables = im_table_cache_new (1 << 20);
  shared.chunks = im_chunk_engine_new (4 << 20, shared.pool);
}

typedef struct {
  Rig *rig;
  unsigned number;
  unsigned rounds;
} Worker;

/* Sector n of the first half belongs to thread n modulo THREADS, so that threads meet in
 * every cluster; the second half is everybody's. */
static void *
work (void *data)
{
  Worker *w = data;
  Rig *rig = w->rig;
  GRand *rand = g_rand_new_with_seed (w->number);
  uint64_t sectors = rig->shape.size / 2 / SECTOR / THREADS;
  g_autofree uint8_t *wild = g_malloc (65536), *read = g_malloc (65536);

  for (unsigned i = 0; i < w->rounds; i++) {
    g_autoptr (GError) error = NULL;
    uint64_t sector =
        (uint64_t)g_rand_int_range (rand, 0, (gint32)sectors) * THREADS + w->number;
    uint64_t half = rig->shape.size / 2, at = half + g_rand_int (rand) % (half - 65536);
    uint8_t *own = rig->expected + sector * SECTOR;

    rig_fill (own, SECTOR, rand);
    rig_write (rig, own, SECTOR, sector * SECTOR, 0, &error);
    g_assert_no_error (error);
    if (i % 4 == 0)
      rig_write (rig, wild, 1 + g_rand_int (rand) % 65536, at, 0, &error);
    else if (i % 4 == 1)
      im_block_write_zeroes (rig->block, at, 1 + g_rand_int (rand) % 65536,
                             i % 8 ? IM_WRITE_MAY_UNMAP : 0, &error);
    else if (i % 4 == 2)
      im_block_discard (rig->block, at, 65536, &error);
    else if (i % 16 == 3)
      im_block_flush (rig->block, &error);
    g_assert_no_error (error);
    im_block_pread (rig->block, read, SECTOR, sector * SECTOR, &error);
    g_assert_no_error (error);
    g_assert_cmpmem (read, SECTOR, own, SECTOR);
    im_block_pread (rig->block, read, 65536, at, &error);
    g_assert_no_error (error);
  }
  g_rand_free (rand);
  return NULL;
}

static void
run_threads (const RigShape *shape, unsigned rounds)
{
  Rig rig;
  Worker workers[THREADS];
  pthread_t threads[THREADS];
  uint64_t half = shape->size / 2;

  rig_make (&rig, shape, &shared);
  rig_open (&rig, IM_CACHE_UNSAFE);
  ((Qcow2Image *)rig.block)->writer->table_budget = 8u << shape->cluster_bits;
  for (unsigned i = 0; i < THREADS; i++) {
    workers[i] = (Worker){.rig = &rig, .number = i, .rounds = rounds};
    g_assert_cmpint (pthread_create (&threads[i], NULL, work, &workers[i]), ==, 0);
  }
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join (threads[i], NULL);
  g_assert_true (im_block_pread (rig.block, rig.expected + half, half, half, NULL));
  rig_compare (&rig);
  rig_verify (&rig);
  rig_clear (&rig);
}

static const RigShape threaded[] = {
    {.cluster_bits = 9,
     .parent = true,
     .filled = true,
     .compressed = true,
     .snapshot = true},
    {.cluster_bits = 16,
     .parent = true,
     .filled = true,
     .compressed = true,
     .snapshot = true},
    {.cluster_bits = 14,
     .extended = true,
     .parent = true,
     .filled = true,
     .snapshot = true},
    {.cluster_bits = 16,
     .extended = true,
     .parent = true,
     .filled = true,
     .compressed = true},
    {.cluster_bits = 12, .data = RIG_DATA_FILE, .parent = true, .filled = true},
    {.cluster_bits = 16, .data = RIG_DATA_FILE_RAW, .extended = true},
};

static void
test_threads (void)
{
  if (!rig_has_qemu_img ())
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (threaded); i++) {
    RigShape shape = threaded[i];

    shape.version = 3;
    shape.refcount_bits = 16;
    shape.size = 4 << 20;
    run_threads (&shape, g_test_slow () ? 2000 : 200);
  }
}

static atomic_uint fail_every; /* 0: never */
static atomic_int fail_with;

static int
fail_some (ImFile *file, const ImFileChange *change)
{
  static atomic_uint count;
  unsigned every = atomic_load (&fail_every);

  if (every == 0 || change->kind == IM_FILE_SYNC)
    return 0;
  return atomic_fetch_add (&count, 1) * 2654435761u % every == 0
             ? atomic_load (&fail_with)
             : 0;
}

static void
note_nothing (ImFile *file, const ImFileChange *change)
{
}

/* A failed change leaves old bytes, new ones or a mix. */
static void
follow_failure (Rig *rig, const uint8_t *wanted, uint64_t offset, uint64_t len)
{
  g_autofree uint8_t *bytes = g_malloc (len);
  g_autoptr (GError) error = NULL;

  im_block_pread (rig->block, bytes, len, offset, &error);
  g_assert_no_error (error);
  for (uint64_t i = 0; i < len; i++)
    g_assert_true (bytes[i] == wanted[i] || bytes[i] == rig->expected[offset + i]);
  memcpy (rig->expected + offset, bytes, len);
}

static unsigned
change_while_failing (Rig *rig, GRand *rand)
{
  g_autofree uint8_t *wanted = g_malloc0 (20000);
  unsigned failures = 0;

  for (unsigned i = 0; i < 300; i++) {
    uint64_t len = 1 + g_rand_int (rand) % 20000;
    uint64_t offset = g_rand_int (rand) % (rig->shape.size - len);
    bool ok;

    if (i % 10 == 0 && !im_block_flush (rig->block, NULL))
      failures++;
    rig_fill (wanted, len, rand);
    if (i % 3 == 0) {
      memset (wanted, 0, len);
      ok = im_block_write_zeroes (rig->block, offset, len, 0, NULL);
    } else {
      ok = rig_write (rig, wanted, len, offset, 0, NULL);
    }
    if (ok)
      memcpy (rig->expected + offset, wanted, len);
    else
      follow_failure (rig, wanted, offset, len);
    failures += !ok;
  }
  return failures;
}

static void
test_failing_disk (void)
{
  static const ImFileHooks hooks = {.before = fail_some, .after = note_nothing};
  static const int errors[] = {ENOSPC, EIO};
  GRand *rand = g_rand_new_with_seed (1);

  if (!rig_has_qemu_img ())
    return;
  for (unsigned i = 0; i < 8; i++) {
    static const unsigned bits[] = {9, 12, 14, 12};
    Rig rig;

    rig_make (&rig,
              &(RigShape){.version = 3,
                          .cluster_bits = bits[i / 2],
                          .refcount_bits = 16,
                          .size = 2 << 20,
                          .extended = i / 2 == 2,
                          .data = i / 2 == 3 ? RIG_DATA_FILE : RIG_DATA_INSIDE,
                          .parent = true,
                          .filled = true,
                          .compressed = i / 2 != 3},
              &shared);
    rig_open (&rig, IM_CACHE_UNSAFE);
    atomic_store (&fail_with, errors[i % 2]);
    atomic_store (&fail_every, 20);
    atomic_store (&im_file_hooks, &hooks);
    g_assert_cmpuint (change_while_failing (&rig, rand), >, 5);
    atomic_store (&fail_every, 0);
    rig_compare (&rig);
    g_assert_cmpuint (change_while_failing (&rig, rand), ==, 0);
    rig_verify (&rig);
    atomic_store (&im_file_hooks, NULL);
    rig_clear (&rig);
  }
  g_rand_free (rand);
}

static int
fail_sync (ImFile *file, const ImFileChange *change)
{
  return change->kind == IM_FILE_SYNC ? EIO : 0;
}

static int
allow (ImFile *file, const ImFileChange *change)
{
  return 0;
}

static void
test_failed_sync_is_remembered (void)
{
  static const ImFileHooks failing = {.before = fail_sync, .after = note_nothing};
  static const ImFileHooks working = {.before = allow, .after = note_nothing};
  g_autofree char *output = NULL;
  Rig rig;

  if (!rig_has_qemu_img ())
    return;
  rig_make (
      &rig,
      &(RigShape){.version = 3, .cluster_bits = 16, .refcount_bits = 16, .size = 1 << 20},
      &shared);
  rig_open (&rig, IM_CACHE_WRITEBACK);
  atomic_store (&im_file_hooks, &failing);
  g_assert_true (im_block_pwrite (rig.block, "x", 1, 0, 0, NULL));
  g_assert_false (im_block_flush (rig.block, NULL));
  atomic_store (&im_file_hooks, &working);
  g_assert_false (im_block_flush (rig.block, NULL));
  rig_close (&rig);
  atomic_store (&im_file_hooks, NULL);
  /* Nothing points at what may not be there; leaks are allowed. */
  g_assert_cmpint (rig_check (rig.path, &output) & ~3, ==, 0);
  rig_open (&rig, IM_CACHE_WRITEBACK);
  rig_compare (&rig); /* zeros, as before */
  rig_clear (&rig);
}

static atomic_ullong full_at; /* the file grows no further */

static int
fail_beyond (ImFile *file, const ImFileChange *change)
{
  return change->kind == IM_FILE_RESIZE && change->offset > atomic_load (&full_at)
             ? ENOSPC
             : 0;
}

/* On a full disk, what a discard has removed is space for zeros too. */
static void
test_full_disk_zeroes (void)
{
  static const ImFileHooks hooks = {.before = fail_beyond, .after = note_nothing};
  const uint64_t cluster = 4096;
  g_autoptr (GError) error = NULL;
  g_autofree uint8_t *bytes = g_malloc0 (4096);
  uint64_t at = 0;
  Rig rig;

  if (!rig_has_qemu_img ())
    return;
  rig_make (&rig,
            &(RigShape){.version = 3,
                        .cluster_bits = 12,
                        .refcount_bits = 16,
                        .size = 6 << 20,
                        .parent = true},
            &shared);
  rig_open (&rig, IM_CACHE_WRITEBACK);
  atomic_store (&full_at, 2 << 20);
  atomic_store (&im_file_hooks, &hooks);
  while (im_block_pwrite (rig.block, bytes, cluster, at, 0, NULL))
    at += cluster;
  g_assert_cmpuint (at, <, 2 << 20);
  g_assert_false (
      im_block_write_zeroes (rig.block, (3 << 20) + 5, 100, IM_WRITE_MAY_UNMAP, NULL));
  g_assert_true (im_block_discard (rig.block, 0, 8 * cluster, &error));
  im_block_write_zeroes (rig.block, (3 << 20) + 5, 100, IM_WRITE_MAY_UNMAP, &error);
  g_assert_no_error (error);
  memset (rig.expected, 0, at);
  memset (rig.expected + (3 << 20) + 5, 0, 100);
  rig_compare (&rig);
  rig_verify (&rig);
  atomic_store (&im_file_hooks, NULL);
  rig_clear (&rig);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  make_resources ();
  g_test_add_func ("/formats/qcow2/stress/threads", test_threads);
  g_test_add_func ("/formats/qcow2/stress/failing-disk", test_failing_disk);
  g_test_add_func ("/formats/qcow2/stress/full-disk-zeroes", test_full_disk_zeroes);
  g_test_add_func ("/formats/qcow2/stress/failed-sync-is-remembered",
                   test_failed_sync_is_remembered);
  return g_test_run ();
}
