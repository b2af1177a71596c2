/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commits: whoever needs one and finds none running makes it; the others wait for it, or
 * for the next where it has begun to copy without their changes. */
#include "block/commit.h"
#include "base/bytes.h"
#include "block/commit-internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

enum {
  AGE_MAX = 5, /* seconds that a change may stay in memory alone */
  BATCH = 64,  /* updates written together */
};

atomic_uint im_commit_left_out;

typedef struct {
  unsigned rank;
  uint64_t at;
  uint8_t *bytes;
  size_t len;
} Update;

struct ImCommitBatch {
  GArray *updates; /* Update */
};

struct ImCommit {
  const ImCommitOps *ops; /* with all up to the thread: const */
  void *owner;
  ImFile *file;
  GPtrArray *data; /* further ImFiles */
  pthread_t thread;
  pthread_mutex_t mutex; /* guards all below */
  pthread_cond_t ended;  /* a commit has */
  pthread_cond_t wake;   /* for the thread */
  bool running;
  uint64_t begun, done; /* commits, counted */
  GError *failure;      /* of the last one done */
  bool dirty, at_once, stop;
  bool has_thread;
  struct timespec due; /* where dirty */
};

static void
clear_update (gpointer data)
{
  g_free (((Update *)data)->bytes);
}

void
im_commit_add (ImCommitBatch *batch, unsigned rank, uint64_t at, void *bytes, size_t len)
{
  Update update = {.rank = rank, .at = at, .bytes = bytes, .len = len};
  g_array_append_val (batch->updates, update);
}

static gint
compare_updates (gconstpointer a, gconstpointer b)
{
  const Update *x = a, *y = b;
  if (x->rank != y->rank)
    return x->rank < y->rank ? -1 : 1;
  return (x->at > y->at) - (x->at < y->at);
}

/* Before RANK.  The data that this commit is about was all written before it began, so
 * its files need no more than the first barrier; the other file has one rank after the
 * other. */
static bool
barrier (ImCommit *commit, unsigned rank, bool *data_durable, GError **error)
{
  if (atomic_load_explicit (&im_commit_left_out, memory_order_relaxed) >> rank & 1)
    return true;
  for (guint i = 0; !*data_durable && i < commit->data->len; i++)
    if (!im_file_sync (commit->data->pdata[i], error))
      return false;
  *data_durable = true;
  return im_file_sync (commit->file, error);
}

/* Can NEXT be written together with LAST, the one before it? */
static bool
joins (const Update *last, const Update *next)
{
  return next->rank == last->rank && next->at - last->at >= last->len;
}

/* How many of N updates can be written together. */
static size_t
count_run (const Update *updates, size_t n)
{
  size_t i = 1;
  while (i < im_min (n, BATCH) && joins (&updates[i - 1], &updates[i]))
    i++;
  return i;
}

/* Writes updates of one rank together. */
static bool
write_run (ImCommit *commit, const Update *updates, size_t n, GError **error)
{
  struct iovec iov[BATCH];
  ImFileRange ranges[BATCH];
  uint64_t end = 0;
  for (size_t i = 0; i < n; i++) {
    const Update *u = &updates[i];
    iov[i] = (struct iovec){.iov_base = u->bytes, .iov_len = u->len};
    ranges[i] = (ImFileRange){.iov = &iov[i], .n = 1, .offset = u->at};
    end = im_max (end, u->at + u->len);
  }
  return im_file_extend (commit->file, end, error) &&
         im_file_write_batch (commit->file, ranges, n, false, error);
}

/* Returns how many ranks are durable; fewer than all on failure.  A barrier before rank 3
 * always: the data that it points at was written by others. */
static unsigned
write_ranks (ImCommit *commit, const GArray *updates, GError **error)
{
  const Update *all = (const Update *)updates->data;
  bool wrote = false, data_durable = false;
  unsigned rank = 0;
  for (size_t i = 0, n; i < updates->len; i += n) {
    n = count_run (all + i, updates->len - i);
    if (all[i].rank != rank) {
      if ((wrote || all[i].rank == 3) &&
          !barrier (commit, all[i].rank, &data_durable, error))
        return rank;
      rank = all[i].rank;
    }
    if (!write_run (commit, all + i, n, error))
      return rank;
    wrote = true;
  }
  return barrier (commit, IM_COMMIT_RANKS, &data_durable, error) ? IM_COMMIT_RANKS : rank;
}

static bool
check_synced (const ImCommit *commit, GError **error)
{
  for (guint i = 0; i < commit->data->len; i++)
    if (!im_file_check_synced (commit->data->pdata[i], error))
      return false;
  return im_file_check_synced (commit->file, error);
}

/* One commit; this thread alone makes one. */
static void
run (ImCommit *commit, GError **error)
{
  if (!check_synced (commit, error))
    return;
  ImCommitBatch batch = {.updates = g_array_new (FALSE, FALSE, sizeof (Update))};
  g_array_set_clear_func (batch.updates, clear_update);
  commit->ops->collect (commit->owner, &batch);
  g_array_sort (batch.updates, compare_updates);
  unsigned durable = write_ranks (commit, batch.updates, error);
  g_array_unref (batch.updates);
  commit->ops->finished (commit->owner, durable);
}

/* Runs a commit with the mutex released meanwhile. */
static void
run_locked (ImCommit *commit)
{
  GError *failure = NULL;
  commit->running = true;
  commit->begun++;
  commit->dirty = commit->at_once = false;
  pthread_mutex_unlock (&commit->mutex);
  run (commit, &failure);
  pthread_mutex_lock (&commit->mutex);
  g_clear_error (&commit->failure);
  commit->failure = failure;
  commit->running = false;
  commit->done = commit->begun;
  pthread_cond_broadcast (&commit->ended);
}

bool
im_commit_now (ImCommit *commit, GError **error)
{
  pthread_mutex_lock (&commit->mutex);
  uint64_t wanted = commit->begun + 1;
  while (commit->done < wanted) {
    if (commit->running)
      pthread_cond_wait (&commit->ended, &commit->mutex);
    else
      run_locked (commit);
  }
  /* A later commit that worked has written what an earlier one could not. */
  bool ok = commit->failure == NULL;
  if (!ok && error)
    *error = g_error_copy (commit->failure);
  pthread_mutex_unlock (&commit->mutex);
  return ok;
}

static void
set_due_locked (ImCommit *commit)
{
  if (commit->dirty)
    return;
  commit->dirty = true;
  clock_gettime (CLOCK_MONOTONIC, &commit->due);
  commit->due.tv_sec += AGE_MAX;
}

static void *
work (void *data)
{
  ImCommit *commit = data;
  pthread_mutex_lock (&commit->mutex);
  while (!commit->stop) {
    if (!commit->dirty && !commit->at_once) {
      pthread_cond_wait (&commit->wake, &commit->mutex);
      continue;
    }
    int waited = commit->at_once ? ETIMEDOUT
                                 : pthread_cond_timedwait (&commit->wake, &commit->mutex,
                                                           &commit->due);
    if (commit->stop || (waited != ETIMEDOUT && !commit->at_once))
      continue;
    if (commit->running)
      pthread_cond_wait (&commit->ended, &commit->mutex);
    else
      run_locked (commit);
    if (commit->failure) /* kept in memory, and tried again later */
      set_due_locked (commit);
  }
  pthread_mutex_unlock (&commit->mutex);
  return NULL;
}

/* At the first change, so that an image which is never written has no thread. */
static void
start_thread_locked (ImCommit *commit)
{
  if (commit->has_thread || commit->stop)
    return;
  sigset_t all, before;
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  commit->has_thread = pthread_create (&commit->thread, NULL, work, commit) == 0;
  pthread_sigmask (SIG_SETMASK, &before, NULL);
}

void
im_commit_soon (ImCommit *commit)
{
  pthread_mutex_lock (&commit->mutex);
  start_thread_locked (commit);
  if (!commit->dirty) {
    set_due_locked (commit);
    pthread_cond_signal (&commit->wake);
  }
  pthread_mutex_unlock (&commit->mutex);
}

void
im_commit_start (ImCommit *commit)
{
  pthread_mutex_lock (&commit->mutex);
  start_thread_locked (commit);
  commit->at_once = true;
  pthread_cond_signal (&commit->wake);
  pthread_mutex_unlock (&commit->mutex);
}

ImCommit *
im_commit_new (const ImCommitOps *ops, void *owner, ImFile *file)
{
  ImCommit *commit = g_new0 (ImCommit, 1);
  commit->ops = ops;
  commit->owner = owner;
  commit->file = file;
  commit->data = g_ptr_array_new ();
  pthread_mutex_init (&commit->mutex, NULL);
  pthread_cond_init (&commit->ended, NULL);
  pthread_condattr_t attributes;
  pthread_condattr_init (&attributes);
  pthread_condattr_setclock (&attributes, CLOCK_MONOTONIC);
  pthread_cond_init (&commit->wake, &attributes);
  pthread_condattr_destroy (&attributes);
  return commit;
}

void
im_commit_add_file (ImCommit *commit, ImFile *file)
{
  g_ptr_array_add (commit->data, file);
}

void
im_commit_stop (ImCommit *commit)
{
  pthread_mutex_lock (&commit->mutex);
  commit->stop = true;
  pthread_cond_signal (&commit->wake);
  pthread_mutex_unlock (&commit->mutex);
  if (commit->has_thread)
    pthread_join (commit->thread, NULL);
  commit->has_thread = false;
}

void
im_commit_free (ImCommit *commit)
{
  if (!commit)
    return;
  im_commit_stop (commit);
  g_clear_error (&commit->failure);
  g_ptr_array_unref (commit->data);
  pthread_cond_destroy (&commit->ended);
  pthread_cond_destroy (&commit->wake);
  pthread_mutex_destroy (&commit->mutex);
  g_free (commit);
}
