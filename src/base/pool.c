/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The worker pool: a queue under one mutex, and fan-out on top of it. */
#include "base/pool.h"
#include "base/process.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct ImPool {
  pthread_mutex_t mutex; /* guards all below but n_cpus */
  pthread_cond_t wake;   /* a task was queued, or the pool is closing */
  ImPoolTask *first, *last;
  unsigned n_queued;
  bool closing;
  unsigned max_threads;
  unsigned n_threads, n_idle;
  pthread_t *threads;
  unsigned n_cpus; /* const after im_pool_new; at most max_threads */
};

/* Waits for a task; NULL when the pool is closing and the queue is empty. */
static ImPoolTask *
take_task (ImPool *pool)
{
  pthread_mutex_lock (&pool->mutex);
  pool->n_idle++;
  while (!pool->first && !pool->closing)
    pthread_cond_wait (&pool->wake, &pool->mutex);
  pool->n_idle--;
  ImPoolTask *task = pool->first;
  if (task) {
    pool->n_queued--;
    pool->first = task->next;
    if (!pool->first)
      pool->last = NULL;
  }
  pthread_mutex_unlock (&pool->mutex);
  return task;
}

static void *
worker (void *data)
{
  ImPool *pool = data;
  pthread_setname_np (pthread_self (), "worker"); /* for those who look at it */
  for (;;) {
    ImPoolTask *task = take_task (pool);
    if (!task)
      return NULL;
    task->run (task);
  }
}

/* One more thread.  Where the system has none to give, those that are there do the work.
 */
static void
add_thread_locked (ImPool *pool)
{
  if (im_process_start_thread (&pool->threads[pool->n_threads], worker, pool) == 0)
    pool->n_threads++;
}

ImPool *
im_pool_new (unsigned threads)
{
  ImPool *pool = g_new0 (ImPool, 1);
  pthread_mutex_init (&pool->mutex, NULL);
  pthread_cond_init (&pool->wake, NULL);
  pool->threads = g_new0 (pthread_t, threads);
  pool->max_threads = threads;
  pool->n_cpus = MIN (g_get_num_processors (), threads);
  pthread_mutex_lock (&pool->mutex);
  add_thread_locked (pool);
  if (pool->n_threads == 0)
    g_error ("cannot create a thread");
  pthread_mutex_unlock (&pool->mutex);
  return pool;
}

void
im_pool_free (ImPool *pool)
{
  if (!pool)
    return;
  pthread_mutex_lock (&pool->mutex);
  pool->closing = true;
  pthread_cond_broadcast (&pool->wake);
  pthread_mutex_unlock (&pool->mutex);
  for (unsigned i = 0; i < pool->n_threads; i++)
    pthread_join (pool->threads[i], NULL);
  pthread_cond_destroy (&pool->wake);
  pthread_mutex_destroy (&pool->mutex);
  g_free (pool->threads);
  g_free (pool);
}

void
im_pool_submit (ImPool *pool, ImPoolTask *task)
{
  task->next = NULL;
  pthread_mutex_lock (&pool->mutex);
  if (pool->last)
    pool->last->next = task;
  else
    pool->first = task;
  pool->last = task;
  pool->n_queued++;
  if (pool->n_queued > pool->n_idle && pool->n_threads < pool->max_threads &&
      !pool->closing)
    add_thread_locked (pool);
  pthread_cond_signal (&pool->wake);
  pthread_mutex_unlock (&pool->mutex);
}

/* One im_pool_each.  Helpers may come late, when all pieces are taken and the caller has
 * gone; so it is counted by reference. */
typedef struct {
  void (*func) (void *data, size_t i);
  void *data;
  size_t n;
  atomic_size_t next; /* the first piece nobody has begun */
  atomic_uint references;
  pthread_mutex_t mutex; /* guards ended */
  pthread_cond_t all_ended;
  size_t ended;
} Each;

/* A helper's task, and the way back from it to its Each. */
typedef struct {
  ImPoolTask task;
  Each *each;
} EachHelper;

static void
each_unref (Each *each)
{
  if (atomic_fetch_sub (&each->references, 1) != 1)
    return;
  pthread_cond_destroy (&each->all_ended);
  pthread_mutex_destroy (&each->mutex);
  g_free (each);
}

/* Takes pieces until none is left. */
static void
each_work (Each *each)
{
  size_t done = 0;
  size_t i;
  while ((i = atomic_fetch_add (&each->next, 1)) < each->n) {
    each->func (each->data, i);
    done++;
  }
  if (done == 0)
    return;
  pthread_mutex_lock (&each->mutex);
  each->ended += done;
  if (each->ended == each->n)
    pthread_cond_signal (&each->all_ended);
  pthread_mutex_unlock (&each->mutex);
}

static void
each_help (ImPoolTask *task)
{
  EachHelper *helper = (EachHelper *)task;
  Each *each = helper->each;
  g_free (helper);
  each_work (each);
  each_unref (each);
}

void
im_pool_each (ImPool *pool, size_t n, void (*func) (void *data, size_t i), void *data)
{
  if (!pool || n <= 1) {
    for (size_t i = 0; i < n; i++)
      func (data, i);
    return;
  }
  /* Pieces are computation: more helpers than processors would only get in the way. */
  size_t helpers = n - 1 < pool->n_cpus ? n - 1 : pool->n_cpus;
  Each *each = g_new0 (Each, 1);
  each->func = func;
  each->data = data;
  each->n = n;
  atomic_init (&each->references, (unsigned)helpers + 1);
  pthread_mutex_init (&each->mutex, NULL);
  pthread_cond_init (&each->all_ended, NULL);
  for (size_t i = 0; i < helpers; i++) {
    EachHelper *helper = g_new (EachHelper, 1);
    *helper = (EachHelper){.task.run = each_help, .each = each};
    im_pool_submit (pool, &helper->task);
  }
  each_work (each);
  pthread_mutex_lock (&each->mutex);
  while (each->ended < n)
    pthread_cond_wait (&each->all_ended, &each->mutex);
  pthread_mutex_unlock (&each->mutex);
  each_unref (each);
}
