/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making writes durable, and remembering for good that it failed once.
 *
 * The kernel tells a descriptor once of what it could not write out.  Were two flushes to
 * ask at the same time, one would be told, and the other hear that all is well before the
 * first has said so; so they ask one after the other. */
#include "base/error.h"
#include "block/file-internal.h"

#include <errno.h>
#include <unistd.h>

/* fdatasync, as far as the test lets it be made; the errno otherwise. */
static int
sync_data (ImFile *file)
{
  const ImFileHooks *hooks = atomic_load_explicit (&im_file_hooks, memory_order_acquire);
  ImFileChange change = {.kind = IM_FILE_SYNC};
  int failure = hooks ? hooks->before (file, &change) : 0;
  if (failure == 0 && fdatasync (file->fd) < 0)
    failure = errno;
  if (failure == 0 && hooks)
    hooks->after (file, &change);
  return failure;
}

/* Runs one with the mutex released meanwhile. */
static void
run_locked (ImFile *file)
{
  ImFileSyncs *syncs = &file->syncs;
  syncs->running = true;
  syncs->begun++;
  pthread_mutex_unlock (&syncs->mutex);
  int failure = sync_data (file);
  pthread_mutex_lock (&syncs->mutex);
  if (syncs->failure == 0)
    syncs->failure = failure;
  syncs->running = false;
  syncs->done = syncs->begun;
  pthread_cond_broadcast (&syncs->ended);
}

/* Waits for one that begins from now on. */
static void
run_or_join_locked (ImFile *file)
{
  ImFileSyncs *syncs = &file->syncs;
  uint64_t wanted = syncs->begun + 1;
  while (syncs->failure == 0 && syncs->done < wanted) {
    if (syncs->running)
      pthread_cond_wait (&syncs->ended, &syncs->mutex);
    else
      run_locked (file);
  }
}

static bool
tell (int failure, GError **error)
{
  if (failure != 0)
    im_set_errno (error, failure, "cannot make the writes durable");
  return failure == 0;
}

bool
im_file_check_synced (ImFile *file, GError **error)
{
  pthread_mutex_lock (&file->syncs.mutex);
  int failure = file->syncs.failure;
  pthread_mutex_unlock (&file->syncs.mutex);
  return tell (failure, error);
}

bool
im_file_sync (ImFile *file, GError **error)
{
  if (file->cache == IM_CACHE_UNSAFE)
    return true;
  pthread_mutex_lock (&file->syncs.mutex);
  run_or_join_locked (file);
  int failure = file->syncs.failure;
  pthread_mutex_unlock (&file->syncs.mutex);
  return tell (failure, error);
}
