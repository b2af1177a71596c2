/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds out how much of each file is allocated. */
#include "fuse/measure.h"
#include "base/bytes.h"
#include <pthread.h>

/* One step: so much of a disk, with so many looks at its tables.  Unmounting waits for
 * one step; what a step could not look at counts as allocated.  A step of nothing but
 * hole is followed by one of twice the size, unless it took long, so that 8 EiB take few;
 * a larger one that found something is done again in halves. */
#define STEP_BYTES (UINT64_C (64) << 30)
#define LONG_US    (50 * 1000)
#define STEP_MAPS  1024u

/* A disk that is being written is measured again, this long after the last time. */
#define REPEAT_US (5 * G_USEC_PER_SEC)

struct ImFuseMeasure {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  GQueue wanted;        /* lock: nodes to be measured */
  GHashTable *asked;    /* lock: nodes that are in it, or being measured */
  atomic_bool stopping; /* set under lock */
};

/* An unreadable table is for readers to complain of: that step counts as allocated. */
static uint64_t
measure_step (ImBlock *block, uint64_t offset, uint64_t length)
{
  uint64_t allocated;
  g_autoptr (ImBlock) slice = im_slice_new (block, offset, length, NULL);
  if (!slice || !im_block_allocated_size (slice, STEP_MAPS, &allocated, NULL))
    return length;
  return im_min (allocated, length);
}

static void
measure_node (ImFuseMeasure *measure, ImNode *node)
{
  ImBlock *block = node->block->block;
  uint64_t total = 0, step = STEP_BYTES;
  atomic_store (&node->outdated, false);
  for (uint64_t at = 0; at < block->size;) {
    if (atomic_load (&measure->stopping))
      return;
    gint64 begun = g_get_monotonic_time ();
    uint64_t length = im_min (block->size - at, step);
    uint64_t allocated = measure_step (block, at, length);
    if (allocated > 0 && step > STEP_BYTES) {
      step /= 2;
      continue;
    }
    total += allocated;
    at += length;
    bool easy = allocated == 0 && g_get_monotonic_time () - begun < LONG_US;
    step = !easy ? STEP_BYTES : step > UINT64_MAX / 2 ? UINT64_MAX : step * 2;
  }
  atomic_store_explicit (&node->allocated, total, memory_order_release);
}

static void *
run (void *data)
{
  ImFuseMeasure *measure = data;
  pthread_mutex_lock (&measure->lock);
  while (!atomic_load (&measure->stopping)) {
    ImNode *node = g_queue_pop_head (&measure->wanted);
    if (!node) {
      pthread_cond_wait (&measure->changed, &measure->lock);
      continue;
    }
    pthread_mutex_unlock (&measure->lock);
    measure_node (measure, node);
    pthread_mutex_lock (&measure->lock);
    node->measure_again = g_get_monotonic_time () + REPEAT_US;
    g_hash_table_remove (measure->asked, node);
  }
  pthread_mutex_unlock (&measure->lock);
  return NULL;
}

static void
destroy (ImFuseMeasure *measure)
{
  g_queue_clear (&measure->wanted);
  g_hash_table_unref (measure->asked);
  pthread_cond_destroy (&measure->changed);
  pthread_mutex_destroy (&measure->lock);
  g_free (measure);
}

ImFuseMeasure *
im_fuse_measure_new (void)
{
  ImFuseMeasure *measure = g_new0 (ImFuseMeasure, 1);
  pthread_mutex_init (&measure->lock, NULL);
  pthread_cond_init (&measure->changed, NULL);
  g_queue_init (&measure->wanted);
  measure->asked = g_hash_table_new (NULL, NULL);
  if (pthread_create (&measure->thread, NULL, run, measure) == 0)
    return measure;
  destroy (measure);
  return NULL;
}

void
im_fuse_measure_free (ImFuseMeasure *measure)
{
  pthread_mutex_lock (&measure->lock);
  atomic_store (&measure->stopping, true);
  pthread_cond_signal (&measure->changed);
  pthread_mutex_unlock (&measure->lock);
  pthread_join (measure->thread, NULL);
  destroy (measure);
}

void
im_fuse_measure_want (ImFuseMeasure *measure, ImNode *node)
{
  if (atomic_load_explicit (&node->allocated, memory_order_acquire) !=
          IM_NODE_UNMEASURED &&
      !atomic_load (&node->outdated))
    return;
  pthread_mutex_lock (&measure->lock);
  if (g_get_monotonic_time () >= node->measure_again &&
      g_hash_table_add (measure->asked, node)) {
    g_queue_push_tail (&measure->wanted, node);
    pthread_cond_signal (&measure->changed);
  }
  pthread_mutex_unlock (&measure->lock);
}
