/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Worker threads. */
#pragma once

#include <glib.h>
#include <stddef.h>

typedef struct ImPool ImPool;
typedef struct ImPoolTask ImPoolTask;

/* One piece of work, embedded in whatever owns it; must outlive its run. */
struct ImPoolTask {
  void (*run) (ImPoolTask *task);
  ImPoolTask *next; /* the pool's, while queued */
};

/* At most THREADS ≥ 1 of them, made as there is work for them; all signals are blocked in
 * them.  After any fork. */
ImPool *im_pool_new (unsigned threads);

/* Runs what is queued, then joins the threads. */
void im_pool_free (ImPool *pool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImPool, im_pool_free)

/* Queues TASK, first in first out.  A task may block on I/O, never on another task. */
void im_pool_submit (ImPool *pool, ImPoolTask *task);

/* Runs func (data, i) once for each i below N and returns when all have ended.  The
 * caller works through them itself; idle workers take what nobody has begun.  May be
 * called from within a task.  POOL may be NULL: the caller does it all. */
void im_pool_each (ImPool *pool, size_t n, void (*func) (void *data, size_t i),
                   void *data);
