/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: what a crash leaves.
 *
 * Every change of the file is recorded while a guest works.  Then, for many moments, the
 * file is rebuilt as a machine that lost power might have left it: what a sync covered is
 * there, and of what came after it any part, down to single sectors.  qemu-img must find
 * no corruption (leaks are allowed), and each sector of the disk must hold what it held
 * at the last flush or something written to it since. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/commit-internal.h"
#include "block/commit.h"
#include "block/file-internal.h"
#include "qcow2-rig.h"
#include <errno.h>
#include <stdlib.h>

enum { SECTOR = 512 };

typedef enum { EVENT_CHANGE, EVENT_SYNC_BEGAN, EVENT_SYNC_ENDED } EventKind;

typedef struct {
  EventKind kind;
  ImFileChangeKind change;
  uint64_t offset, length;
  uint8_t *bytes; /* of a write */
  size_t began;   /* SYNC_ENDED: which event its beginning was */
  bool failed;    /* the program was told so; any part may be there all the same */
} Event;

/* One value that a sector of the disk has had. */
typedef struct {
  uint64_t sector;
  size_t began;   /* how many events there were when its write began */
  size_t flushed; /* from which event on it is the least that may be seen; or SIZE_MAX */
  bool failed;    /* may be seen, or not */
  uint8_t bytes[SECTOR];
} Value;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static GArray *events; /* Event */
static size_t sync_began;
static unsigned table_moves; /* of refcount tables, in the last work */
static unsigned failed_flushes;
static ImResources shared;

static void
clear_event (gpointer data)
{
  g_free (((Event *)data)->bytes);
}

static void record_write (const ImFileChange *change, bool failed);

/* Of so many writes one fails, as often as not several in a row; 0: none. */
static unsigned fail_every;
static GRand *fail_rand;

static bool
is_to_fail (const ImFileChange *change)
{
  static unsigned row;
  bool fails;

  pthread_mutex_lock (&mutex);
  if (fail_every > 0 && row == 0 && g_rand_int (fail_rand) % fail_every == 0)
    row = 1 + g_rand_int (fail_rand) % 3;
  fails = fail_every > 0 && row > 0;
  row -= row > 0;
  pthread_mutex_unlock (&mutex);
  if (fails && change->kind == IM_FILE_WRITE)
    record_write (change, true);
  return fails;
}

static int
before_change (ImFile *file, const ImFileChange *change)
{
  if (change->kind != IM_FILE_SYNC)
    return is_to_fail (change) ? EIO : 0;
  pthread_mutex_lock (&mutex);
  Event event = {.kind = EVENT_SYNC_BEGAN};
  sync_began = events->len;
  g_array_append_val (events, event);
  pthread_mutex_unlock (&mutex);
  return 0;
}

static void
record_write (const ImFileChange *change, bool failed)
{
  Event event = {.kind = EVENT_CHANGE,
                 .change = change->kind,
                 .offset = change->offset,
                 .length = change->length,
                 .failed = failed};
  uint64_t done = 0;

  event.bytes = g_malloc (change->length);
  for (size_t i = 0; i < change->n; i++) {
    memcpy (event.bytes + done, change->iov[i].iov_base, change->iov[i].iov_len);
    done += change->iov[i].iov_len;
  }
  pthread_mutex_lock (&mutex);
  table_moves += change->offset == 48;
  g_array_append_val (events, event);
  pthread_mutex_unlock (&mutex);
}

static void
after_change (ImFile *file, const ImFileChange *change)
{
  Event event = {.kind = change->kind == IM_FILE_SYNC ? EVENT_SYNC_ENDED : EVENT_CHANGE,
                 .change = change->kind,
                 .offset = change->offset,
                 .length = change->length};

  if (change->kind == IM_FILE_WRITE) {
    record_write (change, false);
    return;
  }
  pthread_mutex_lock (&mutex);
  event.began = sync_began;
  g_array_append_val (events, event);
  pthread_mutex_unlock (&mutex);
}

static size_t
events_now (void)
{
  pthread_mutex_lock (&mutex);
  size_t n = events->len;
  pthread_mutex_unlock (&mutex);
  return n;
}

/* A guest's work on one image. */
typedef struct {
  Rig rig;
  uint8_t *before; /* the image file as it was */
  size_t before_len;
  GArray *values; /* Value, in order */
} Work;

static void
add_values (Work *w, uint64_t offset, uint64_t len, const uint8_t *bytes, size_t began,
            bool done_well)
{
  g_assert_true (done_well || fail_every > 0);
  for (uint64_t done = 0; done < len; done += SECTOR) {
    Value v = {.sector = (offset + done) / SECTOR,
               .began = began,
               .flushed = SIZE_MAX,
               .failed = !done_well};

    memcpy (v.bytes, bytes + done, SECTOR);
    g_array_append_val (w->values, v);
  }
}

static void
flush (Work *w)
{
  guint n = w->values->len;

  if (!im_block_flush (w->rig.block, NULL)) {
    g_assert_cmpuint (fail_every, >, 0);
    failed_flushes++;
    return;
  }
  for (guint i = 0; i < n; i++) {
    Value *v = &g_array_index (w->values, Value, i);

    v->flushed = MIN (v->flushed, events_now ());
  }
}

static void
discard (Work *w, uint64_t offset, uint64_t len)
{
  g_autofree uint8_t *bytes = g_malloc0 (len);
  size_t began = events_now ();
  bool ok = im_block_discard (w->rig.block, offset, len, NULL);

  if (ok)
    g_assert_true (im_block_pread (w->rig.block, bytes, len, offset, NULL));
  /* What is discarded in part stays, and it may be what a failed write left. */
  add_values (w, offset, len, bytes, began, fail_every == 0);
}

static void
work_a_while (Work *w, unsigned steps, GRand *rand)
{
  g_autofree uint8_t *bytes = g_malloc (65536);
  uint64_t sectors = w->rig.shape.size / SECTOR;

  for (unsigned i = 0; i < steps; i++) {
    uint64_t most = 1 + g_rand_int (rand) % (g_rand_int (rand) % 4 ? 8 : 128);
    uint64_t at = g_rand_int (rand) % sectors, n = im_min (most, sectors - at);
    size_t began = events_now ();
    unsigned kind = g_rand_int (rand) % 20;
    bool ok;

    if (kind < 12) {
      for (uint64_t s = 0; s < n; s++)
        rig_fill (bytes + s * SECTOR, SECTOR, rand);
      ok = rig_write (&w->rig, bytes, n * SECTOR, at * SECTOR, 0, NULL);
      add_values (w, at * SECTOR, n * SECTOR, bytes, began, ok);
    } else if (kind < 15) {
      memset (bytes, 0, n * SECTOR);
      ok = im_block_write_zeroes (w->rig.block, at * SECTOR, n * SECTOR,
                                  kind % 2 ? IM_WRITE_MAY_UNMAP : 0, NULL);
      add_values (w, at * SECTOR, n * SECTOR, bytes, began, ok);
    } else if (kind < 17) {
      discard (w, at * SECTOR, n * SECTOR);
    } else {
      flush (w);
    }
  }
}

/* The file being rebuilt. */
typedef struct {
  uint8_t *bytes;
  size_t len, max;
} Disk;

static void
reach (Disk *disk, size_t len)
{
  if (len > disk->max) {
    disk->bytes = g_realloc (disk->bytes, len * 2);
    memset (disk->bytes + disk->max, 0, len * 2 - disk->max);
    disk->max = len * 2;
  }
  disk->len = MAX (disk->len, len);
}

static void
apply_part (Disk *disk, const Event *e, uint64_t from, uint64_t len)
{
  reach (disk, e->offset + from + len);
  if (e->bytes)
    memcpy (disk->bytes + e->offset + from, e->bytes + from, len);
  else
    memset (disk->bytes + e->offset + from, 0, len);
}

/* Applies E: all of it, or with RAND any part. */
static void
apply (Disk *disk, const Event *e, GRand *rand)
{
  unsigned fate = rand ? g_rand_int (rand) % 3 : 0;

  if (e->kind != EVENT_CHANGE || fate == 1)
    return;
  if (e->change == IM_FILE_RESIZE) {
    if (e->offset >= disk->len) {
      reach (disk, e->offset);
    } else {
      memset (disk->bytes + e->offset, 0, disk->len - e->offset);
      disk->len = e->offset;
    }
    return;
  }
  if (fate == 0) {
    apply_part (disk, e, 0, e->length);
    return;
  }
  for (uint64_t at = 0, now; at < e->length; at += now) {
    now = im_min (SECTOR - (e->offset + at) % SECTOR, e->length - at);
    if (g_rand_boolean (rand))
      apply_part (disk, e, at, now);
  }
}

/* As a crash after the first N events may have left it. */
static Disk
rebuild (const Work *w, size_t n, GRand *rand)
{
  Disk disk = {0};
  size_t durable = 0;

  reach (&disk, w->before_len);
  memcpy (disk.bytes, w->before, w->before_len);
  for (size_t i = 0; i < n; i++)
    if (g_array_index (events, Event, i).kind == EVENT_SYNC_ENDED)
      durable = g_array_index (events, Event, i).began;
  for (size_t i = 0; i < n; i++) {
    const Event *e = &g_array_index (events, Event, i);

    apply (&disk, e, i < durable && !e->failed ? NULL : rand);
  }
  return disk;
}

/* Is each sector of FOUND one of the values that it may have after a crash at event N? */
static bool
is_plausible (const Work *w, const uint8_t *found, size_t n)
{
  uint64_t sectors = w->rig.shape.size / SECTOR;
  g_autofree bool *ok = g_new0 (bool, sectors);

  for (uint64_t s = 0; s < sectors; s++)
    ok[s] = memcmp (found + s * SECTOR, w->rig.original + s * SECTOR, SECTOR) == 0;
  for (guint i = 0; i < w->values->len; i++) {
    const Value *v = &g_array_index (w->values, Value, i);
    bool same = memcmp (found + v->sector * SECTOR, v->bytes, SECTOR) == 0;

    if (v->began > n)
      break;
    ok[v->sector] = same || ((v->failed || v->flushed > n) && ok[v->sector]);
  }
  for (uint64_t s = 0; s < sectors; s++)
    if (!ok[s]) {
      g_test_message ("sector %" G_GUINT64_FORMAT " holds what it must not", s);
      return false;
    }
  return true;
}

static bool
read_disk (Work *w, const char *path, const char *snapshot, uint8_t *ret_bytes)
{
  bool ok;

  w->rig.context.snapshot_any = snapshot;
  rig_open_path (&w->rig, path, IM_CACHE_WRITEBACK, false);
  w->rig.context.snapshot_any = NULL;
  ok = im_block_pread (w->rig.block, ret_bytes, w->rig.shape.size, 0, NULL);
  rig_close (&w->rig);
  return ok;
}

/* Does it hold what it may hold after N events? */
static bool
reads_well (Work *w, const char *path, size_t n)
{
  g_autofree uint8_t *found = g_malloc (w->rig.shape.size);
  bool ok = read_disk (w, path, NULL, found) && is_plausible (w, found, n);

  if (ok && w->rig.shape.snapshot)
    ok = read_disk (w, path, "one", found) &&
         memcmp (found, w->rig.original, w->rig.shape.size) == 0;
  return ok;
}

/* No corruption, or the image says that it is dirty, can be read, and can be repaired so
 * that nothing is wrong with it. */
static bool
is_sound (Work *w, const char *path, size_t n)
{
  g_autofree char *output = NULL;
  int status;

  if (!reads_well (w, path, n))
    return false;
  if (!rig_is_dirty (path)) {
    status = rig_check (path, &output);
    if (status == 0 || status == 3)
      return !w->rig.shape.dirty;
  } else {
    status = rig_repair (path, &output);
    if (status == 0)
      return reads_well (w, path, n);
  }
  g_test_message ("qemu-img check says %d: %.300s", status, output);
  return false;
}

/* Crashes after N events, and looks at what is left. */
static bool
survives (Work *w, size_t n, GRand *rand)
{
  g_autofree char *path = g_build_filename (w->rig.folder, "crashed.qcow2", NULL);
  Disk disk = rebuild (w, n, rand);
  bool ok;

  g_assert_true (g_file_set_contents_full (path, (char *)disk.bytes, (gssize)disk.len, 0,
                                           0600, NULL));
  g_free (disk.bytes);
  ok = is_sound (w, path, n);
  if (!ok)
    g_test_message ("event %zu of %u", n, events->len);
  return ok;
}

/* How many of CRASHES are survived; stops at the first that is not.  One in FAILURES
 * writes fails. */
static unsigned
crash_often_failing (const RigShape *shape, unsigned steps, unsigned crashes,
                     unsigned seed, unsigned failures)
{
  static const ImFileHooks hooks = {.before = before_change, .after = after_change};
  GRand *rand = g_rand_new_with_seed (seed);
  Work w = {.values = g_array_new (FALSE, FALSE, sizeof (Value))};
  unsigned survived = 0;
  char *before;

  table_moves = 0;
  events = g_array_new (FALSE, FALSE, sizeof (Event));
  g_array_set_clear_func (events, clear_event);
  rig_make (&w.rig, shape, &shared);
  g_assert_true (g_file_get_contents (w.rig.path, &before, &w.before_len, NULL));
  w.before = (uint8_t *)before;
  atomic_store (&im_file_hooks, &hooks);
  rig_open (&w.rig, IM_CACHE_WRITEBACK);
  fail_every = failures;
  fail_rand = g_rand_new_with_seed (seed);
  work_a_while (&w, steps, rand);
  fail_every = seed % 2 ? failures : 0; /* it may get well before the end */
  rig_close (&w.rig);
  fail_every = 0;
  g_rand_free (fail_rand);
  atomic_store (&im_file_hooks, NULL);
  while (survived < crashes && survives (&w, g_rand_int (rand) % (events->len + 1), rand))
    survived++;
  g_array_unref (events);
  g_array_unref (w.values);
  g_free (w.before);
  rig_clear (&w.rig);
  g_rand_free (rand);
  return survived;
}

static unsigned
crash_often (const RigShape *shape, unsigned steps, unsigned crashes, unsigned seed)
{
  return crash_often_failing (shape, steps, crashes, seed, 0);
}

static unsigned
wanted_crashes (unsigned usual)
{
  const char *factor = g_getenv ("IMGMOUNT_TEST_CRASHES");

  return factor ? usual * (unsigned)atoi (factor) : usual;
}

static const RigShape shapes[] = {
    /* As much of this one is written as makes the refcount table move. */
    {.version = 3, .cluster_bits = 9, .refcount_bits = 64, .size = 8 << 20},
    {.version = 3, .cluster_bits = 9, .refcount_bits = 64, .size = 1 << 20},
    {.version = 3,
     .cluster_bits = 9,
     .refcount_bits = 16,
     .size = 1 << 20,
     .parent = true,
     .filled = true,
     .snapshot = true},
    {.version = 3,
     .cluster_bits = 12,
     .refcount_bits = 1,
     .size = 2 << 20,
     .parent = true},
    {.version = 3,
     .cluster_bits = 12,
     .refcount_bits = 16,
     .size = 2 << 20,
     .filled = true,
     .compressed = true,
     .snapshot = true},
    {.version = 2,
     .cluster_bits = 16,
     .refcount_bits = 16,
     .size = 4 << 20,
     .filled = true},
    {.version = 3,
     .cluster_bits = 16,
     .refcount_bits = 16,
     .size = 4 << 20,
     .parent = true,
     .preallocated = false},
    {.version = 3,
     .cluster_bits = 9,
     .refcount_bits = 16,
     .size = 1 << 20,
     .preallocated = true},
};

static const RigShape lazy_shapes[] = {
    {.version = 3, .cluster_bits = 9, .refcount_bits = 64, .size = 1 << 20, .lazy = true},
    {.version = 3,
     .cluster_bits = 12,
     .refcount_bits = 16,
     .size = 2 << 20,
     .parent = true,
     .filled = true,
     .compressed = true,
     .snapshot = true,
     .lazy = true},
    {.version = 3,
     .cluster_bits = 9,
     .refcount_bits = 16,
     .size = 1 << 20,
     .dirty = true},
    {.version = 3,
     .cluster_bits = 12,
     .refcount_bits = 16,
     .size = 2 << 20,
     .parent = true,
     .filled = true,
     .snapshot = true,
     .dirty = true},
    {.version = 3,
     .cluster_bits = 16,
     .refcount_bits = 16,
     .size = 4 << 20,
     .preallocated = true,
     .lazy = true,
     .dirty = true},
};

/* With counts that come late, and with counts that were never right. */
static void
test_lazy (void)
{
  if (!rig_has_qemu_img ())
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (lazy_shapes); i++) {
    g_autofree char *what = rig_describe (&lazy_shapes[i]);
    unsigned wanted = wanted_crashes (30);

    g_test_message ("%s", what);
    g_assert_cmpuint (crash_often (&lazy_shapes[i], 150, wanted, 50 + (unsigned)i), ==,
                      wanted);
  }
}

static void
test_any_moment (void)
{
  if (!rig_has_qemu_img ())
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (shapes); i++) {
    g_autofree char *what = rig_describe (&shapes[i]);
    unsigned wanted = wanted_crashes (40);

    g_test_message ("%s", what);
    g_assert_cmpuint (crash_often (&shapes[i], i == 0 ? 700 : 150, wanted, (unsigned)i),
                      ==, wanted);
    g_assert_true (i != 0 || table_moves > 0);
  }
}

/* Commits that fail somewhere, are made again, and then the crash. */
static void
test_failing_commits (void)
{
  static const unsigned rates[] = {40, 12};

  if (!rig_has_qemu_img ())
    return;
  failed_flushes = 0;
  for (size_t i = 0; i < G_N_ELEMENTS (shapes); i++) {
    const RigShape *shape = &shapes[i];
    g_autofree char *what = rig_describe (shape);
    unsigned wanted = wanted_crashes (20);

    g_test_message ("%s", what);
    g_assert_cmpuint (crash_often_failing (shape, i == 0 ? 500 : 150, wanted,
                                           1000 + (unsigned)i, rates[i % 2]),
                      ==, wanted);
  }
  g_assert_cmpuint (failed_flushes, >, 5);
}

/* Without a barrier the same harness must find harm. */
static void
expect_harm (unsigned barrier)
{
  unsigned survived = 0, tries = 0;

  if (!rig_has_qemu_img ())
    return;
  atomic_store (&im_commit_left_out, 1u << barrier);
  for (; survived == tries * 60 && tries < 6; tries++)
    survived += crash_often (&shapes[1 + tries % 2], 150, 60, 100 + tries);
  atomic_store (&im_commit_left_out, 0);
  g_assert_cmpuint (survived, <, tries * 60);
}

static void
test_barrier_2 (void)
{
  expect_harm (2);
}

static void
test_barrier_3 (void)
{
  expect_harm (3);
}

static void
test_last_barrier (void)
{
  expect_harm (IM_COMMIT_RANKS);
}

/* Before the first change of any kind, and durable by then: bits of features that this
 * program does not keep up. */
static void
test_autoclear_first (void)
{
  static const ImFileHooks hooks = {.before = before_change, .after = after_change};
  static const uint8_t none[8];
  Rig rig;

  if (!rig_has_qemu_img ())
    return;
  rig_make (&rig, &shapes[1], &shared);
  rig_add_bitmap (&rig);
  events = g_array_new (FALSE, FALSE, sizeof (Event));
  g_array_set_clear_func (events, clear_event);
  rig_open (&rig, IM_CACHE_WRITEBACK);
  atomic_store (&im_file_hooks, &hooks);
  g_assert_true (im_block_flush (rig.block, NULL));
  g_assert_cmpuint (events->len, ==, 0); /* nothing was changed yet */
  g_assert_true (im_block_pwrite (rig.block, "x", 1, 0, 0, NULL));
  rig_close (&rig);
  atomic_store (&im_file_hooks, NULL);
  const Event *first = &g_array_index (events, Event, 0);
  g_assert_cmpuint (first->offset, ==, 88);
  g_assert_cmpmem (first->bytes, first->length, none, sizeof none);
  g_assert_cmpint (g_array_index (events, Event, 2).kind, ==, EVENT_SYNC_ENDED);
  g_array_unref (events);
  rig_clear (&rig);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  shared.pool = im_pool_new (2);
  shared.tables = im_table_cache_new (1 << 20);
  shared.chunks = im_chunk_engine_new (4 << 20, shared.pool);
  g_test_add_func ("/formats/qcow2/crash/any-moment", test_any_moment);
  g_test_add_func ("/formats/qcow2/crash/commits-that-fail", test_failing_commits);
  g_test_add_func ("/formats/qcow2/crash/lazy-and-dirty", test_lazy);
  g_test_add_func ("/formats/qcow2/crash/autoclear-bits-go-first", test_autoclear_first);
  g_test_add_func ("/formats/qcow2/crash/barrier-before-refcount-table-is-needed",
                   test_barrier_2);
  g_test_add_func ("/formats/qcow2/crash/barrier-before-pointers-is-needed",
                   test_barrier_3);
  g_test_add_func ("/formats/qcow2/crash/barrier-at-the-end-is-needed",
                   test_last_barrier);
  return g_test_run ();
}
