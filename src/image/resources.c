/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The worker pool and the caches that all images of a process share. */
#include "base/bytes.h"
#include "image/image.h"

/* Workers wait for disks as well as compute, so there are more than processors. */
enum { THREADS_PER_CPU = 2, THREADS_MIN = 8, THREADS_MAX = 64 };

ImResources *
im_resources_new (uint64_t metadata_cache, uint64_t chunk_cache)
{
  uint64_t threads = (uint64_t)g_get_num_processors () * THREADS_PER_CPU;
  ImResources *shared = g_new0 (ImResources, 1);
  shared->pool =
      im_pool_new ((unsigned)im_min (im_max (threads, THREADS_MIN), THREADS_MAX));
  shared->tables = im_table_cache_new (metadata_cache);
  shared->chunks = im_chunk_engine_new (chunk_cache, shared->pool);
  return shared;
}

void
im_resources_free (ImResources *shared)
{
  if (!shared)
    return;
  /* The pool first: what it still runs may hold blocks, and these use the caches. */
  im_pool_free (shared->pool);
  im_chunk_engine_free (shared->chunks);
  im_table_cache_free (shared->tables);
  g_free (shared);
}
