/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Has the kernel begin to write out what was filled, long before a flush has to wait for
 * it: the disk works while more is being filled, and the flush finds little left. */
#include "block/file-internal.h"

#include <fcntl.h>
#include <glib.h>

/* So much at a time: enough for long runs on the disk, little enough to begin early. */
#define STEP (UINT64_C (8) << 20)

/* One range on its way to the kernel. */
typedef struct {
  ImPoolTask task; /* first */
  ImFile *file;    /* a reference */
  uint64_t from, to;
} Start;

static void
start_writing (ImPoolTask *task)
{
  Start *start = (Start *)task;
  ImFile *file = start->file;
  /* It waits for nothing to be written, and what goes wrong the next fdatasync tells. */
  sync_file_range (file->fd, (off_t)start->from, (off_t)(start->to - start->from),
                   SYNC_FILE_RANGE_WRITE);
  pthread_mutex_lock (&file->filled.mutex);
  file->filled.starting = false;
  pthread_mutex_unlock (&file->filled.mutex);
  g_free (start);
  im_file_unref (file);
}

/* Adds a range; a task where there is enough for one. */
static Start *
add_range (ImFile *file, uint64_t at, uint64_t length)
{
  ImFileFilled *filled = &file->filled;
  Start *start = NULL;
  pthread_mutex_lock (&filled->mutex);
  filled->from = filled->bytes > 0 ? MIN (filled->from, at) : at;
  filled->to = filled->bytes > 0 ? MAX (filled->to, at + length) : at + length;
  filled->bytes += length;
  if (filled->bytes >= STEP && !filled->starting) {
    start = g_new0 (Start, 1);
    start->task.run = start_writing;
    start->file = im_file_ref (file);
    start->from = filled->from;
    start->to = filled->to;
    filled->starting = true;
    filled->bytes = 0;
  }
  pthread_mutex_unlock (&filled->mutex);
  return start;
}

void
im_file_filled (ImFile *file, uint64_t at, uint64_t length, ImPool *pool)
{
  if (file->cache != IM_CACHE_WRITEBACK || !pool)
    return;
  Start *start = add_range (file, at, length);
  if (start)
    im_pool_submit (pool, &start->task);
}
