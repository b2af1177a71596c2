/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who waits for the kernel: as many threads as there is work for, and no fewer. */
#include "fuse/watch.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { THREADS = 6, MANY = 400 };

/* A kernel that has requests of one kind; each thread reads one at a time. */
static int queue;
static atomic_bool requests_wait, requests_hold, over;
static atomic_uint served[THREADS], done, waiting, most_waiting, let_go;
static ImFuseWatch *watch;

static void
wait_for (const atomic_uint *counter, unsigned n)
{
  for (int i = 0; atomic_load (counter) < n; i++) {
    g_assert_cmpint (i, <, 20000);
    g_usleep (500);
  }
}

/* Until others have come. */
static void
wait_in_request (void)
{
  unsigned now = atomic_fetch_add (&waiting, 1) + 1;
  if (now > atomic_load (&most_waiting))
    atomic_store (&most_waiting, now);
  wait_for (&let_go, 1);
  atomic_fetch_sub (&waiting, 1);
}

static void *
work (void *data)
{
  size_t number = GPOINTER_TO_SIZE (data);
  ImFuseWatcher watcher = {.watch = watch};
  while (!atomic_load (&over)) {
    uint64_t one;
    im_fuse_watch_begin (&watcher);
    g_assert_cmpint (read (queue, &one, sizeof one), ==, sizeof one);
    im_fuse_watch_got (&watcher);
    if (atomic_load (&over))
      break;
    if (atomic_load (&requests_wait))
      im_fuse_watch_leave (&watcher);
    if (atomic_load (&requests_wait) || atomic_load (&requests_hold))
      wait_in_request ();
    atomic_fetch_add (&served[number], 1);
    atomic_fetch_add (&done, 1);
  }
  im_fuse_watch_leave (&watcher);
  return NULL;
}

static void
ask (uint64_t n)
{
  g_assert_cmpint (write (queue, &n, sizeof n), ==, sizeof n);
}

static void
start (pthread_t *threads, unsigned processors)
{
  queue = eventfd (0, EFD_SEMAPHORE | EFD_CLOEXEC);
  watch = im_fuse_watch_new (THREADS, processors);
  atomic_store (&requests_wait, false);
  atomic_store (&requests_hold, false);
  atomic_store (&over, false);
  atomic_store (&done, 0);
  atomic_store (&most_waiting, 0);
  atomic_store (&let_go, 0);
  for (size_t i = 0; i < THREADS; i++) {
    atomic_store (&served[i], 0);
    pthread_create (&threads[i], NULL, work, GSIZE_TO_POINTER (i));
  }
}

/* Ends the threads, parked or not. */
static void
stop (pthread_t *threads)
{
  atomic_store (&over, true);
  im_fuse_watch_end (watch);
  ask (THREADS);
  for (size_t i = 0; i < THREADS; i++)
    pthread_join (threads[i], NULL);
  im_fuse_watch_free (watch);
  close (queue);
}

static unsigned
count_busy (void)
{
  unsigned busy = 0;
  for (size_t i = 0; i < THREADS; i++)
    busy += atomic_exchange (&served[i], 0) > 0;
  return busy;
}

static void
ask_one_by_one (unsigned n)
{
  for (unsigned i = 0; i < n; i++) {
    unsigned before = atomic_load (&done);
    g_usleep (200); /* whoever waits has gone to sleep */
    ask (1);
    wait_for (&done, before + 1);
  }
}

/* One processor: one thread. */
static void
test_one_at_a_time (void)
{
  pthread_t threads[THREADS];
  start (threads, 1);
  ask_one_by_one (MANY);
  g_assert_cmpuint (count_busy (), ==, 1);
  stop (threads);
  start (threads, 4);
  ask_one_by_one (MANY);
  g_assert_cmpuint (count_busy (), <=, 2);
  stop (threads);
}

/* Two that come at once are served at once, without anybody's help. */
static void
test_two_at_rest (void)
{
  pthread_t threads[THREADS];
  start (threads, 2);
  atomic_store (&requests_hold, true);
  ask (2);
  wait_for (&waiting, 2);
  atomic_store (&let_go, 1);
  wait_for (&done, 2);
  stop (threads);
}

/* Each that waits is replaced, to the last thread; and when requests are quick again one
 * thread is enough. */
static void
test_waiting_ones_are_replaced (void)
{
  pthread_t threads[THREADS];
  start (threads, 1);
  atomic_store (&requests_wait, true);
  ask (THREADS);
  wait_for (&waiting, THREADS);
  ask (1);
  g_usleep (20000);
  g_assert_cmpuint (atomic_load (&most_waiting), ==, THREADS);
  atomic_store (&requests_wait, false);
  atomic_store (&let_go, 1);
  wait_for (&done, THREADS + 1);
  ask_one_by_one (MANY);
  count_busy ();
  ask_one_by_one (50);
  g_assert_cmpuint (count_busy (), ==, 1);
  stop (threads);
}

/* What was slow, or tried in vain, is not tried again at once. */
static void
test_wary_for_a_while (void)
{
  ImFuseWatcher watcher = {.watch = im_fuse_watch_new (2, 2)};
  g_assert_true (im_fuse_watch_dares (&watcher));
  im_fuse_watch_doubt (&watcher);
  g_assert_false (im_fuse_watch_dares (&watcher));
  for (unsigned i = 0; i < 100; i++)
    im_fuse_watch_dares (&watcher);
  g_assert_true (im_fuse_watch_dares (&watcher));
  im_fuse_watch_begin (&watcher);
  im_fuse_watch_got (&watcher);
  g_usleep (5000);
  im_fuse_watch_begin (&watcher);
  g_assert_false (im_fuse_watch_dares (&watcher));
  im_fuse_watch_leave (&watcher);
  im_fuse_watch_leave (&watcher);
  im_fuse_watch_free (watcher.watch);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/fuse/watch/one-thread-for-one-request-at-a-time",
                   test_one_at_a_time);
  g_test_add_func ("/fuse/watch/two-wait-at-rest", test_two_at_rest);
  g_test_add_func ("/fuse/watch/those-that-wait-are-replaced",
                   test_waiting_ones_are_replaced);
  g_test_add_func ("/fuse/watch/wary-for-a-while", test_wary_for_a_while);
  return g_test_run ();
}
