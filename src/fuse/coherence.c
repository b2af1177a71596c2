/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's page caches above a writable mount, and how they stay true. */
#include "fuse/coherence.h"
#include "base/bytes.h"
#include <pthread.h>

/* Each waits for the kernel most of the time. */
#define HELPERS 4u

struct ImFuseCoherence {
  const ImFuseTree *tree;
  ImPool *helpers;
  pthread_mutex_t lock;
  pthread_cond_t idle;
  size_t pending; /* lock: changes that are queued or being settled */
  bool closed;    /* lock */
};

void
im_fuse_pages_open (ImNodePages *pages)
{
  atomic_fetch_add (&pages->handles, 1);
}

void
im_fuse_pages_close (ImNodePages *pages)
{
  atomic_fetch_sub (&pages->handles, 1);
}

/* A writer that does not see this count has written before: the read that follows gets
 * the new bytes. */
void
im_fuse_pages_fill (ImNodePages *pages)
{
  atomic_fetch_add (&pages->filled, 1);
}

ImFuseCoherence *
im_fuse_coherence_new (const ImFuseTree *tree)
{
  ImFuseCoherence *coherence = g_new0 (ImFuseCoherence, 1);
  coherence->tree = tree;
  coherence->helpers = im_pool_new (HELPERS);
  pthread_mutex_init (&coherence->lock, NULL);
  pthread_cond_init (&coherence->idle, NULL);
  return coherence;
}

void
im_fuse_coherence_close (ImFuseCoherence *coherence)
{
  pthread_mutex_lock (&coherence->lock);
  coherence->closed = true;
  while (coherence->pending > 0)
    pthread_cond_wait (&coherence->idle, &coherence->lock);
  pthread_mutex_unlock (&coherence->lock);
}

void
im_fuse_coherence_free (ImFuseCoherence *coherence)
{
  im_fuse_coherence_close (coherence);
  im_pool_free (coherence->helpers);
  pthread_cond_destroy (&coherence->idle);
  pthread_mutex_destroy (&coherence->lock);
  g_free (coherence);
}

/* What of CHANGE shows through NODE, in NODE's own offsets.  False: nothing. */
static bool
shows_through (const ImFuseChange *change, const ImNode *node, uint64_t *ret_offset,
               uint64_t *ret_length)
{
  if (node->kind != IM_NODE_BLOCK)
    return false;
  uint64_t first = change->node->block->offset + change->offset;
  uint64_t begin = im_max (first, node->block->offset);
  uint64_t end =
      im_min (first + change->length, node->block->offset + node->block->block->size);
  if (begin >= end)
    return false;
  *ret_offset = begin - node->block->offset;
  *ret_length = end - begin;
  return true;
}

static bool
may_hold_pages (const ImNode *node)
{
  return atomic_load (&node->pages.filled) != atomic_load (&node->pages.emptied);
}

bool
im_fuse_coherence_note (ImFuseCoherence *coherence, const ImFuseChange *change)
{
  bool pages = false;
  uint64_t offset, length;
  for (guint i = 0; i < coherence->tree->nodes->len; i++) {
    ImNode *node = coherence->tree->nodes->pdata[i];
    if (!shows_through (change, node, &offset, &length))
      continue;
    if (!atomic_load_explicit (&node->outdated, memory_order_relaxed))
      atomic_store (&node->outdated, true);
    pages = pages || may_hold_pages (node);
  }
  return pages;
}

/* Where nobody has it open any more all its pages go, so that writers need not ask for
 * that again; what is read into the cache meanwhile counts anew. */
static void
drop_pages (ImFuseChange *change, ImNode *node, uint64_t offset, uint64_t length)
{
  ImNodePages *pages = &node->pages;
  uint64_t filled = atomic_load (&pages->filled);
  if (atomic_load (&pages->handles) > 0) {
    change->drop (change, node->ino, offset, length);
    return;
  }
  if (!change->drop (change, node->ino, 0, 0))
    return;
  uint64_t emptied = atomic_load (&pages->emptied);
  while (emptied < filled &&
         !atomic_compare_exchange_weak (&pages->emptied, &emptied, filled))
    ;
}

static void
settle (ImPoolTask *task)
{
  ImFuseChange *change = (ImFuseChange *)task;
  ImFuseCoherence *coherence = change->owner;
  uint64_t offset, length;
  for (guint i = 0; i < coherence->tree->nodes->len; i++) {
    ImNode *node = coherence->tree->nodes->pdata[i];
    if (shows_through (change, node, &offset, &length) && may_hold_pages (node))
      drop_pages (change, node, offset, length);
  }
  change->reply (change);
  pthread_mutex_lock (&coherence->lock);
  if (--coherence->pending == 0)
    pthread_cond_broadcast (&coherence->idle);
  pthread_mutex_unlock (&coherence->lock);
}

bool
im_fuse_coherence_settle (ImFuseCoherence *coherence, ImFuseChange *change)
{
  change->task.run = settle;
  change->owner = coherence;
  pthread_mutex_lock (&coherence->lock);
  bool open = !coherence->closed;
  if (open) {
    coherence->pending++;
    im_pool_submit (coherence->helpers, &change->task);
  }
  pthread_mutex_unlock (&coherence->lock);
  return open;
}
