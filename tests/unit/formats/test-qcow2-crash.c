/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: what a crash leaves is sound, has all that was flushed, and can be written on.
 */
#include "block/commit-internal.h"
#include "block/commit.h"
#include "qcow2-crash.h"
#include <errno.h>

enum { TRIES = 50 }; /* of what fails often, yet not each time */

static ImResources shared;

/* One image and the work on it. */
typedef struct {
  RigShape shape;
  unsigned threads, steps, crashes;
  unsigned table_budget;
  size_t device_len;
  ImCacheMode cache;
} Case;

/* As much of this one is written as makes the refcount table move. */
static const Case growing = {
    .shape = {.version = 3, .cluster_bits = 9, .refcount_bits = 64, .size = 8 << 20},
    .threads = 4,
    .steps = 500,
    .crashes = 30};

static const Case cases[] = {
    {.shape = {.version = 3, .cluster_bits = 9, .refcount_bits = 64, .size = 1 << 20},
     .threads = 1,
     .steps = 150,
     .crashes = 25,
     .table_budget = 4},
    {.shape = {.version = 3,
               .cluster_bits = 9,
               .refcount_bits = 16,
               .size = 1 << 20,
               .parent = true,
               .filled = true,
               .snapshot = true},
     .threads = 4,
     .steps = 40,
     .crashes = 25,
     .table_budget = 4},
    {.shape = {.version = 3,
               .cluster_bits = 12,
               .refcount_bits = 1,
               .size = 2 << 20,
               .parent = true},
     .threads = 3,
     .steps = 50,
     .crashes = 25},
    {.shape = {.version = 3,
               .cluster_bits = 12,
               .refcount_bits = 16,
               .size = 2 << 20,
               .filled = true,
               .compressed = true,
               .snapshot = true},
     .threads = 4,
     .steps = 40,
     .crashes = 25},
    {.shape = {.version = 3,
               .cluster_bits = 12,
               .refcount_bits = 8,
               .size = 2 << 20,
               .parent = true,
               .filled = true,
               .compressed = true},
     .threads = 8,
     .steps = 25,
     .crashes = 25,
     .table_budget = 2},
    {.shape = {.version = 2,
               .cluster_bits = 16,
               .refcount_bits = 16,
               .size = 4 << 20,
               .filled = true},
     .threads = 4,
     .steps = 40,
     .crashes = 20},
    {.shape = {.version = 2,
               .cluster_bits = 12,
               .refcount_bits = 16,
               .size = 2 << 20,
               .parent = true,
               .filled = true,
               .snapshot = true},
     .threads = 2,
     .steps = 60,
     .crashes = 20},
    {.shape = {.version = 3,
               .cluster_bits = 16,
               .refcount_bits = 32,
               .size = 4 << 20,
               .parent = true},
     .threads = 4,
     .steps = 40,
     .crashes = 20},
    {.shape = {.version = 3,
               .cluster_bits = 9,
               .refcount_bits = 4,
               .size = 1 << 20,
               .preallocated = true},
     .threads = 4,
     .steps = 40,
     .crashes = 20},
    {.shape = {.version = 3,
               .cluster_bits = 16,
               .refcount_bits = 16,
               .size = (3 << 20) + 512,
               .parent = true},
     .threads = 3,
     .steps = 30,
     .crashes = 15,
     .cache = IM_CACHE_WRITETHROUGH},
    {.shape = {.version = 3,
               .cluster_bits = 21,
               .refcount_bits = 2,
               .size = 16 << 20,
               .parent = true},
     .threads = 4,
     .steps = 15,
     .crashes = 10},
    {.shape = {.version = 3,
               .cluster_bits = 12,
               .refcount_bits = 16,
               .size = 2 << 20,
               .parent = true,
               .filled = true},
     .threads = 4,
     .steps = 40,
     .crashes = 25,
     .device_len = 8 << 20},
    {.shape = {.version = 3,
               .cluster_bits = 14,
               .refcount_bits = 16,
               .size = 2 << 20,
               .extended = true,
               .parent = true,
               .filled = true,
               .snapshot = true},
     .threads = 4,
     .steps = 40,
     .crashes = 25},
    {.shape = {.version = 3,
               .cluster_bits = 16,
               .refcount_bits = 8,
               .size = 4 << 20,
               .extended = true,
               .filled = true,
               .compressed = true},
     .threads = 4,
     .steps = 40,
     .crashes = 25},
    {.shape = {.version = 3,
               .cluster_bits = 12,
               .refcount_bits = 16,
               .size = 2 << 20,
               .data = RIG_DATA_FILE},
     .threads = 4,
     .steps = 40,
     .crashes = 25,
     .table_budget = 2},
    {.shape = {.version = 3,
               .cluster_bits = 16,
               .refcount_bits = 16,
               .size = 4 << 20,
               .data = RIG_DATA_FILE_RAW,
               .filled = true},
     .threads = 4,
     .steps = 40,
     .crashes = 25},
    {.shape = {.version = 3,
               .cluster_bits = 14,
               .refcount_bits = 16,
               .size = 2 << 20,
               .extended = true,
               .data = RIG_DATA_FILE,
               .filled = true},
     .threads = 4,
     .steps = 40,
     .crashes = 25},
    {.shape = {.version = 3,
               .cluster_bits = 14,
               .refcount_bits = 16,
               .size = (2 << 20) + 512,
               .extended = true,
               .preallocated = true},
     .threads = 2,
     .steps = 60,
     .crashes = 20},
    {.shape = {.version = 3,
               .cluster_bits = 14,
               .refcount_bits = 16,
               .size = (2 << 20) + 512,
               .extended = true,
               .data = RIG_DATA_FILE,
               .parent = true},
     .threads = 4,
     .steps = 40,
     .crashes = 20,
     .table_budget = 4},
    {.shape = {.version = 3,
               .cluster_bits = 16,
               .refcount_bits = 16,
               .size = 2 << 20,
               .data = RIG_DATA_FILE,
               .parent = true},
     .threads = 3,
     .steps = 30,
     .crashes = 10,
     .cache = IM_CACHE_WRITETHROUGH},
};

static CrashPlan
plan_of (const Case *c, uint32_t n)
{
  return (CrashPlan){.threads = c->threads,
                     .steps = c->steps,
                     .crashes = crash_wanted (c->crashes),
                     .again = 5,
                     .cache = c->cache,
                     .seed = crash_seed (n)};
}

static void
make (Qcow2Crash *crash, const Case *c)
{
  *crash = (Qcow2Crash){.table_budget = c->table_budget, .device_len = c->device_len};
  qcow2_crash_make (crash, &c->shape, &shared);
}

static void
expect_none (const Case *c, uint32_t n, void (*look) (Qcow2Crash *crash))
{
  g_autofree char *what = rig_describe (&c->shape);
  CrashPlan plan = plan_of (c, n);
  Qcow2Crash crash;

  if (!rig_has_qemu_img ())
    return;
  g_test_message ("%s", what);
  make (&crash, c);
  /* Who looks for what may happen wants all of them. */
  if (!look)
    plan.crashes = crash_sampled (plan.crashes);
  crash_expect_none (&crash.subject, &plan);
  if (look)
    look (&crash);
  qcow2_crash_clear (&crash);
}

static void
test_any_moment (gconstpointer data)
{
  const Case *c = data;

  expect_none (c, (uint32_t)(c - cases), NULL);
}

static void
assert_moved (Qcow2Crash *crash)
{
  g_assert_cmpuint (crash->refcount_moves, >, 0);
}

static void
test_growing (void)
{
  expect_none (&growing, 50, assert_moved);
}

/* With counts that come late, an image may be wrong as long as it says so: of all that
 * are tried, some are. */
static unsigned repaired;

static void
count_repaired (Qcow2Crash *crash)
{
  repaired += crash->repaired;
}

static void
test_lazy (void)
{
  static const unsigned of[] = {0, 4, 8};

  repaired = 0;
  for (unsigned i = 0; i < G_N_ELEMENTS (of); i++) {
    Case c = cases[of[i]];

    c.shape.lazy = true;
    expect_none (&c, 60 + i, count_repaired);
  }
  if (rig_has_qemu_img ())
    g_assert_cmpuint (repaired, >, 0);
}

/* Counts that were never right are not relied upon. */
static void
test_dirty (void)
{
  static const unsigned of[] = {0, 4, 1};

  repaired = 0;
  for (unsigned i = 0; i < G_N_ELEMENTS (of); i++) {
    Case c = cases[of[i]];

    c.shape.dirty = true;
    expect_none (&c, 65 + i, count_repaired);
  }
  if (rig_has_qemu_img ())
    g_assert_cmpuint (repaired, >, 0);
}

/* Requests and commits that fail, for want of space or since the disk is broken, and are
 * made again, do no harm then or later. */
static void
test_after_failures (void)
{
  static const struct {
    const Case *of;
    unsigned every;
    int error;
  } failures[] = {{&cases[0], 10, EIO}, {&cases[1], 25, ENOSPC}, {&cases[4], 12, ENOSPC},
                  {&cases[4], 40, EIO}, {&cases[7], 12, EIO},    {&growing, 60, ENOSPC}};

  if (!rig_has_qemu_img ())
    return;
  for (unsigned i = 0; i < G_N_ELEMENTS (failures); i++) {
    const Case *c = failures[i].of;
    CrashPlan plan = plan_of (c, 70 + i);
    Qcow2Crash crash;

    plan.crashes = crash_sampled (plan.crashes);
    plan.fail_every = failures[i].every;
    plan.fail_with = failures[i].error;
    make (&crash, c);
    crash_expect_none (&crash.subject, &plan);
    qcow2_crash_clear (&crash);
  }
}

/* A discard gives clusters back, and something elsewhere takes what is free; until the
 * table says so on the medium, the discarded bytes are as they were. */
static void
discard_then_allocate (CrashGuests *g)
{
  uint64_t cluster = g->unit / CRASH_SECTOR, elsewhere = 64 * cluster;

  g_assert_true (crash_guest_write (g, 0, 8 * cluster, 0));
  g_assert_true (crash_guest_flush (g));
  for (unsigned i = 0; i < 8; i++) {
    g_assert_true (crash_guest_discard (g, i * cluster, cluster));
    g_assert_true (crash_guest_write (g, elsewhere + i * cluster, cluster, 0));
  }
  g_assert_true (crash_guest_flush (g));
  g_assert_true (crash_guest_discard (g, elsewhere, 4 * cluster));
  g_assert_true (crash_guest_write (g, 0, 4 * cluster, 0));
}

/* Compressed clusters that lie in one host cluster, overwritten in part: the last of them
 * frees it, and something elsewhere takes what is free. */
static void
overwrite_compressed (CrashGuests *g)
{
  uint64_t cluster = g->unit / CRASH_SECTOR, end = g->block->size / CRASH_SECTOR;

  for (uint64_t at = 0; at + 3 * cluster <= end / 2; at += 2 * cluster) {
    g_assert_true (crash_guest_write (g, at, 1, 0));
    g_assert_true (crash_guest_write (g, at + cluster, 1, 0));
    g_assert_true (crash_guest_write (g, end / 2 + at, cluster, 0));
    if (at % (16 * cluster) == 0)
      g_assert_true (crash_guest_flush (g));
  }
}

typedef struct {
  Case of;
  void (*script) (CrashGuests *guests);
} Scripted;

static const Scripted discarding = {.of = {.shape = {.version = 3,
                                                     .cluster_bits = 12,
                                                     .refcount_bits = 16,
                                                     .size = 1 << 20},
                                           .crashes = 40},
                                    .script = discard_then_allocate};

static const Scripted compressed = {.of = {.shape = {.version = 3,
                                                     .cluster_bits = 12,
                                                     .refcount_bits = 16,
                                                     .size = 1 << 20,
                                                     .filled = true,
                                                     .compressed = true},
                                           .crashes = 40},
                                    .script = overwrite_compressed};

static void
test_script (gconstpointer data)
{
  const Scripted *scripted = data;
  CrashPlan plan = plan_of (&scripted->of, 80);
  Qcow2Crash crash;

  if (!rig_has_qemu_img ())
    return;
  plan.crashes = crash_sampled (plan.crashes);
  plan.script = scripted->script;
  make (&crash, &scripted->of);
  crash_expect_none (&crash.subject, &plan);
  qcow2_crash_clear (&crash);
}

/* Nothing flushed: only the marks are owed. */
static void
write_twice (CrashGuests *g)
{
  g_assert_true (crash_guest_write (g, 0, 8, 0));
  g_assert_true (crash_guest_write (g, 4, 8, 0));
}

/* Without a barrier the same harness must find harm, soon.  Those before ranks 1 and 4
 * are not among them: qcow2 sets and takes away its marks by commits of their own. */
typedef struct {
  const char *name;
  unsigned barrier; /* before that rank */
  unsigned of;      /* which case */
  void (*script) (CrashGuests *guests);
  const char *harm; /* what must be said */
} Needed;

static const Needed needed[] = {
    {"before-refcount-table", 2, 0, NULL, "refcount=0"},
    {"before-pointers", 3, 1, NULL, ""},
    {"before-pointers-into-a-data-file", 3, 14, NULL, ""},
    {"before-bits-of-subclusters", 3, 12, NULL, ""},
    {"at-the-end", IM_COMMIT_RANKS, 0, NULL, "sector"},
    {"at-the-end-of-a-data-file", IM_COMMIT_RANKS, 14, NULL, "sector"},
    {"after-marks", IM_COMMIT_RANKS, 8, write_twice, "bitmaps"},
};

static bool
finds_harm (const Needed *n, uint32_t seed)
{
  g_autofree char *harm = NULL;
  const Case *c = &cases[n->of];
  CrashPlan plan = plan_of (c, seed);
  Qcow2Crash crash = {.has_bitmap = n->script != NULL, .table_budget = c->table_budget};

  plan.crashes = 60;
  plan.script = n->script;
  plan.again = n->script ? 0 : plan.again;
  qcow2_crash_make (&crash, &c->shape, &shared);
  crash_run (&crash.subject, &plan, &harm);
  qcow2_crash_clear (&crash);
  return harm && strstr (harm, n->harm);
}

static void
test_needed (gconstpointer data)
{
  const Needed *n = data;
  bool found = false;

  if (!rig_has_qemu_img ())
    return;
  atomic_store (&im_commit_left_out, 1u << n->barrier);
  for (unsigned i = 0; i < TRIES && !found; i++)
    found = finds_harm (n, 100 + i);
  atomic_store (&im_commit_left_out, 0);
  g_assert_true (found);
}

/* Bits of features that this program does not keep up are cleared, on the medium, before
 * the first change of any kind. */
static void
test_marks_first (void)
{
  CrashPlan plan = plan_of (&cases[0], 90);
  Qcow2Crash crash = {.has_bitmap = true};

  if (!rig_has_qemu_img ())
    return;
  plan.steps = 3;
  plan.crashes = crash_wanted (30);
  plan.again = 0;
  qcow2_crash_make (&crash, &cases[0].shape, &shared);
  crash_expect_none (&crash.subject, &plan);
  qcow2_crash_clear (&crash);
}

static void
open_only (CrashGuests *g)
{
  uint8_t byte;

  g_assert_true (im_block_pread (g->block, &byte, 1, 0, NULL));
  g_assert_true (im_block_flush (g->block, NULL));
  g_assert_cmpuint (crash_record_now (g->record), ==, 0);
}

static void
test_nothing_unasked (void)
{
  CrashPlan plan = {.script = open_only};
  Qcow2Crash crash = {.has_bitmap = true};
  g_autofree char *harm = NULL;

  if (!rig_has_qemu_img ())
    return;
  qcow2_crash_make (&crash, &cases[0].shape, &shared);
  crash_run (&crash.subject, &plan, &harm);
  qcow2_crash_clear (&crash);
}

#define PREFIX "/formats/qcow2/crash/"

static void
add_cases (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *path = g_strdup_printf (PREFIX "any-moment/%zu", i);

    g_test_add_data_func (path, &cases[i], test_any_moment);
  }
  g_test_add_func (PREFIX "refcount-table-moves", test_growing);
  g_test_add_func (PREFIX "lazy-refcounts", test_lazy);
  g_test_add_func (PREFIX "found-dirty", test_dirty);
  g_test_add_func (PREFIX "after-failed-changes", test_after_failures);
  g_test_add_data_func (PREFIX "discard-then-allocate", &discarding, test_script);
  g_test_add_data_func (PREFIX "compressed-overwritten-in-part", &compressed,
                        test_script);
}

static void
add_needed (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (needed); i++) {
    g_autofree char *path =
        g_strdup_printf (PREFIX "barrier-is-needed/%s", needed[i].name);

    g_test_add_data_func (path, &needed[i], test_needed);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  shared.pool = im_pool_new (2);
  shared.tables = im_table_cache_new (1 << 20);
  shared.chunks = im_chunk_engine_new (4 << 20, shared.pool);
  add_cases ();
  g_test_add_func (PREFIX "nothing-is-changed-unasked", test_nothing_unasked);
  g_test_add_func (PREFIX "marks-go-first", test_marks_first);
  add_needed ();
  return g_test_run ();
}
