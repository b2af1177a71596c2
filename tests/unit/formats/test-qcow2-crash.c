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
#include <stdlib.h>

enum { SECTOR = 512 };

typedef enum { EVENT_CHANGE, EVENT_SYNC_BEGAN, EVENT_SYNC_ENDED } EventKind;

typedef struct {
  EventKind kind;
  ImFileChangeKind change;
  uint64_t offset, length;
  uint8_t *bytes; /* of a write */
  size_t began;   /* SYNC_ENDED: which event its beginning was */
} Event;

/* One value that a sector of the disk has had. */
typedef struct {
  uint64_t sector;
  size_t began;   /* how many events there were when its write began */
  size_t flushed; /* from which event on it is the least that may be seen; or SIZE_MAX */
  uint8_t bytes[SECTOR];
} Value;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static GArray *events; /* Event */
static size_t sync_began;
static unsigned table_moves; /* of refcount tables, in the last work */
static ImResources shared;

static void
clear_event (gpointer data)
{
  g_free (((Event *)data)->bytes);
}

static int
before_change (ImFile *file, const ImFileChange *change)
{
  if (change->kind != IM_FILE_SYNC)
    return 0;
  pthread_mutex_lock (&mutex);
  Event event = {.kind = EVENT_SYNC_BEGAN};
  sync_began = events->len;
  g_array_append_val (events, event);
  pthread_mutex_unlock (&mutex);
  return 0;
}

static void
after_change (ImFile *file, const ImFileChange *change)
{
  Event event = {.kind = change->kind == IM_FILE_SYNC ? EVENT_SYNC_ENDED : EVENT_CHANGE,
                 .change = change->kind,
                 .offset = change->offset,
                 .length = change->length};
  uint64_t done = 0;

  if (change->kind == IM_FILE_WRITE) {
    table_moves += change->offset == 48;
    event.bytes = g_malloc (change->length);
    for (size_t i = 0; i < change->n; i++) {
      memcpy (event.bytes + done, change->iov[i].iov_base, change->iov[i].iov_len);
      done += change->iov[i].iov_len;
    }
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
add_values (Work *w, uint64_t offset, uint64_t len, const uint8_t *bytes, size_t began)
{
  for (uint64_t done = 0; done < len; done += SECTOR) {
    Value v = {.sector = (offset + done) / SECTOR, .began = began, .flushed = SIZE_MAX};

    memcpy (v.bytes, bytes + done, SECTOR);
    g_array_append_val (w->values, v);
  }
}

static void
flush (Work *w)
{
  guint n = w->values->len;

  g_assert_true (im_block_flush (w->rig.block, NULL));
  for (guint i = 0; i < n; i++) {
    Value *v = &g_array_index (w->values, Value, i);

    v->flushed = MIN (v->flushed, events_now ());
  }
}

static void
discard (Work *w, uint64_t offset, uint64_t len)
{
  g_autofree uint8_t *bytes = g_malloc (len);
  size_t began = events_now ();

  g_assert_true (im_block_discard (w->rig.block, offset, len, NULL));
  g_assert_true (im_block_pread (w->rig.block, bytes, len, offset, NULL));
  add_values (w, offset, len, bytes, began);
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

    if (kind < 12) {
      for (uint64_t s = 0; s < n; s++)
        rig_fill (bytes + s * SECTOR, SECTOR, rand);
      g_assert_true (rig_write (&w->rig, bytes, n * SECTOR, at * SECTOR, 0, NULL));
      add_values (w, at * SECTOR, n * SECTOR, bytes, began);
    } else if (kind < 15) {
      memset (bytes, 0, n * SECTOR);
      g_assert_true (im_block_write_zeroes (w->rig.block, at * SECTOR, n * SECTOR,
                                            kind % 2 ? IM_WRITE_MAY_UNMAP : 0, NULL));
      add_values (w, at * SECTOR, n * SECTOR, bytes, began);
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
  for (size_t i = 0; i < n; i++)
    apply (&disk, &g_array_index (events, Event, i), i < durable ? NULL : rand);
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
    ok[v->sector] = same || (v->flushed > n && ok[v->sector]);
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

/* Crashes after N events, and looks at what is left. */
static bool
survives (Work *w, size_t n, GRand *rand)
{
  g_autofree char *path = g_build_filename (w->rig.folder, "crashed.qcow2", NULL);
  g_autofree char *output = NULL;
  g_autofree uint8_t *found = g_malloc (w->rig.shape.size);
  Disk disk = rebuild (w, n, rand);
  bool ok;
  int status;

  g_assert_true (g_file_set_contents_full (path, (char *)disk.bytes, (gssize)disk.len, 0,
                                           0600, NULL));
  g_free (disk.bytes);
  status = rig_check (path, &output);
  if (status != 0 && status != 3) {
    g_test_message ("event %zu: qemu-img check says %d: %.300s", n, status, output);
    return false;
  }
  ok = read_disk (w, path, NULL, found) && is_plausible (w, found, n);
  if (ok && w->rig.shape.snapshot)
    ok = read_disk (w, path, "one", found) &&
         memcmp (found, w->rig.original, w->rig.shape.size) == 0;
  if (!ok)
    g_test_message ("event %zu of %u", n, events->len);
  return ok;
}

/* How many of CRASHES are survived; stops at the first that is not. */
static unsigned
crash_often (const RigShape *shape, unsigned steps, unsigned crashes, unsigned seed)
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
  work_a_while (&w, steps, rand);
  rig_close (&w.rig);
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
  g_test_add_func ("/formats/qcow2/crash/autoclear-bits-go-first", test_autoclear_first);
  g_test_add_func ("/formats/qcow2/crash/barrier-before-refcount-table-is-needed",
                   test_barrier_2);
  g_test_add_func ("/formats/qcow2/crash/barrier-before-pointers-is-needed",
                   test_barrier_3);
  g_test_add_func ("/formats/qcow2/crash/barrier-at-the-end-is-needed",
                   test_last_barrier);
  return g_test_run ();
}
