/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who waits for the kernel: places that threads take and leave. */
#include "fuse/watch.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* So many wait where there is little to do.  Two, where there are the processors: a read
 * that comes in pieces then finds its second thread awake, and a thread that the kernel
 * wakes at the client's side leaves the other processor alone. */
#define AT_REST 2u

/* So many requests in a row tell how busy the client is. */
#define STREAK 8u

/* A request that took longer, although nothing of it was to be waited for, has waited:
 * for throttling, or a journal. */
#define SLOW_MICROSECONDS 2000

/* So many requests are then not tried; and so many after one tried in vain. */
#define WARY_AFTER_SLOW 64u
#define WARY_AFTER_VAIN 16u

struct ImFuseWatch {
  unsigned threads, processors; /* const */
  unsigned at_rest;             /* const */
  atomic_uint wary;             /* requests that are not to be tried */
  pthread_mutex_t mutex;        /* guards all below */
  pthread_cond_t room;
  unsigned places;   /* so many may watch; at least 1 */
  unsigned watching; /* wait for a request, or serve one that is quick */
  unsigned parked;
  bool ended;
};

ImFuseWatch *
im_fuse_watch_new (unsigned threads, unsigned processors)
{
  ImFuseWatch *watch = g_new0 (ImFuseWatch, 1);
  watch->threads = threads;
  watch->processors = processors;
  watch->at_rest = MIN (AT_REST, MIN (threads, processors));
  watch->places = watch->at_rest;
  pthread_mutex_init (&watch->mutex, NULL);
  pthread_cond_init (&watch->room, NULL);
  return watch;
}

void
im_fuse_watch_free (ImFuseWatch *watch)
{
  pthread_cond_destroy (&watch->room);
  pthread_mutex_destroy (&watch->mutex);
  g_free (watch);
}

void
im_fuse_watch_end (ImFuseWatch *watch)
{
  pthread_mutex_lock (&watch->mutex);
  watch->ended = true;
  pthread_cond_broadcast (&watch->room);
  pthread_mutex_unlock (&watch->mutex);
}

/* One more place, for one who is parked. */
static void
add_place_locked (ImFuseWatch *watch)
{
  if (watch->parked == 0)
    return;
  watch->places = MIN (watch->places + 1, watch->threads);
  pthread_cond_signal (&watch->room);
}

static void
take_place_locked (ImFuseWatch *watch)
{
  watch->parked++;
  while (watch->watching >= watch->places && !watch->ended)
    pthread_cond_wait (&watch->room, &watch->mutex);
  watch->parked--;
  watch->watching++;
}

/* Changes the number of places where the last requests suggest that. */
static void
adapt_locked (ImFuseWatcher *w)
{
  ImFuseWatch *watch = w->watch;
  if (w->ready >= STREAK && watch->watching < watch->processors) {
    add_place_locked (watch);
  } else if (w->slept >= STREAK && watch->watching > watch->at_rest) {
    watch->watching--;
    watch->places = watch->watching;
    take_place_locked (watch);
  }
  w->ready = w->slept = 0;
}

void
im_fuse_watch_begin (ImFuseWatcher *w)
{
  ImFuseWatch *watch = w->watch;
  bool streak = w->ready >= STREAK || w->slept >= STREAK;
  if (w->watching && g_get_monotonic_time () - w->came > SLOW_MICROSECONDS)
    atomic_store_explicit (&watch->wary, WARY_AFTER_SLOW, memory_order_relaxed);
  if (w->watching && !streak)
    return;
  pthread_mutex_lock (&watch->mutex);
  if (w->watching)
    adapt_locked (w);
  else
    take_place_locked (watch);
  pthread_mutex_unlock (&watch->mutex);
  w->watching = true;
}

/* A client on the same processor may get its turn, and ask again, before the thread asks
 * for that: so any time off the processor counts as sleep. */
void
im_fuse_watch_got (ImFuseWatcher *w)
{
  struct rusage usage;
  getrusage (RUSAGE_THREAD, &usage);
  long sleeps = usage.ru_nvcsw + usage.ru_nivcsw;
  bool slept = sleeps != w->sleeps;
  w->sleeps = sleeps;
  w->ready = slept ? 0 : w->ready + 1;
  w->slept = slept ? w->slept + 1 : 0;
  w->came = g_get_monotonic_time ();
}

void
im_fuse_watch_leave (ImFuseWatcher *w)
{
  ImFuseWatch *watch = w->watch;
  if (!w->watching)
    return;
  w->watching = false;
  w->ready = w->slept = 0;
  pthread_mutex_lock (&watch->mutex);
  if (--watch->watching < watch->at_rest)
    add_place_locked (watch);
  pthread_mutex_unlock (&watch->mutex);
}

bool
im_fuse_watch_dares (ImFuseWatcher *w)
{
  unsigned wary = atomic_load_explicit (&w->watch->wary, memory_order_relaxed);
  if (wary > 0)
    atomic_store_explicit (&w->watch->wary, wary - 1, memory_order_relaxed);
  return wary == 0;
}

void
im_fuse_watch_doubt (ImFuseWatcher *w)
{
  atomic_store_explicit (&w->watch->wary, WARY_AFTER_VAIN, memory_order_relaxed);
}
