/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every piece once, whoever runs it. */
#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>

enum { PIECES = 1000 };

typedef struct {
  atomic_uint runs[PIECES];
  ImPool *pool;
} Count;

static void
count_piece (void *data, size_t i)
{
  Count *count = data;
  atomic_fetch_add (&count->runs[i], 1);
}

static void
check_each_once (const Count *count)
{
  for (size_t i = 0; i < PIECES; i++)
    g_assert_cmpuint (atomic_load (&count->runs[i]), ==, 1);
}

static void
test_each_runs_every_piece_once (void)
{
  g_autoptr (ImPool) pool = im_pool_new (4);
  for (int round = 0; round < 50; round++) {
    Count count = {0};
    im_pool_each (pool, PIECES, count_piece, &count);
    check_each_once (&count);
  }
}

static void
test_each_without_pool (void)
{
  Count count = {0};
  im_pool_each (NULL, PIECES, count_piece, &count);
  check_each_once (&count);
}

typedef struct {
  ImPoolTask task;
  Count *count;
  atomic_uint *ended;
} Nested;

static void
run_nested (ImPoolTask *task)
{
  Nested *nested = (Nested *)task;
  im_pool_each (nested->count->pool, PIECES, count_piece, nested->count);
  atomic_fetch_add (nested->ended, 1);
}

/* All workers are busy with tasks that fan out themselves: nobody waits for a worker. */
static void
test_each_from_within_tasks (void)
{
  enum { TASKS = 8 };
  ImPool *pool = im_pool_new (2);
  static Count counts[TASKS];
  static Nested nested[TASKS];
  atomic_uint ended = 0;
  for (size_t i = 0; i < TASKS; i++) {
    counts[i].pool = pool;
    nested[i] = (Nested){.task.run = run_nested, .count = &counts[i], .ended = &ended};
    im_pool_submit (pool, &nested[i].task);
  }
  im_pool_free (pool);
  g_assert_cmpuint (atomic_load (&ended), ==, TASKS);
  for (size_t i = 0; i < TASKS; i++)
    check_each_once (&counts[i]);
}

/* Ends when all its like are running. */
typedef struct {
  ImPoolTask task;
  pthread_barrier_t *all;
} Meeting;

static void
run_meeting (ImPoolTask *task)
{
  pthread_barrier_wait (((Meeting *)task)->all);
}

/* As many at once as there may be threads, although none was there before. */
static void
test_grows_with_the_work (void)
{
  enum { THREADS = 5 };
  ImPool *pool = im_pool_new (THREADS);
  pthread_barrier_t all;
  pthread_barrier_init (&all, NULL, THREADS);
  Meeting meetings[THREADS];
  for (size_t i = 0; i < THREADS; i++) {
    meetings[i] = (Meeting){.task.run = run_meeting, .all = &all};
    im_pool_submit (pool, &meetings[i].task);
  }
  im_pool_free (pool);
  pthread_barrier_destroy (&all);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/base/pool/each-runs-every-piece-once",
                   test_each_runs_every_piece_once);
  g_test_add_func ("/base/pool/each-without-pool", test_each_without_pool);
  g_test_add_func ("/base/pool/each-from-within-tasks", test_each_from_within_tasks);
  g_test_add_func ("/base/pool/grows-with-the-work", test_grows_with_the_work);
  return g_test_run ();
}
