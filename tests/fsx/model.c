/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a disk must hold, shared by all who change it. */
#include "model.h"
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* So many of the last notes on a place are told. */
#define TOLD 24u

Model *
model_new (uint64_t size)
{
  Model *model = mmap (NULL, sizeof *model + size, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (model == MAP_FAILED)
    err (1, "a model of %" PRIu64 " bytes", size);
  pthread_mutexattr_t mutex;
  pthread_mutexattr_init (&mutex);
  pthread_mutexattr_setpshared (&mutex, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init (&model->lock, &mutex);
  pthread_condattr_t cond;
  pthread_condattr_init (&cond);
  pthread_condattr_setpshared (&cond, PTHREAD_PROCESS_SHARED);
  pthread_cond_init (&model->changed, &cond);
  model->size = size;
  return model;
}

static bool
clash (const ModelRange *a, const ModelRange *b)
{
  return a->begin < b->end && b->begin < a->end && (a->exclusive || b->exclusive);
}

static bool
is_free_locked (const Model *model, const ModelRange *range)
{
  for (unsigned i = 0; i < MODEL_WORKERS; i++) {
    if (clash (&model->held[i][0], range) || clash (&model->held[i][1], range))
      return false;
  }
  return true;
}

bool
model_claim (Model *model, unsigned worker, const ModelRange *ranges, unsigned n)
{
  pthread_mutex_lock (&model->lock);
  while (!atomic_load (&model->stop) && !(is_free_locked (model, &ranges[0]) &&
                                          is_free_locked (model, &ranges[n - 1]))) {
    /* Not for ever: who says that it is over may have died at it. */
    struct timespec until;
    clock_gettime (CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_cond_timedwait (&model->changed, &model->lock, &until);
  }
  bool stopped = atomic_load (&model->stop);
  for (unsigned i = 0; i < n && !stopped; i++)
    model->held[worker][i] = ranges[i];
  pthread_mutex_unlock (&model->lock);
  return !stopped;
}

void
model_release (Model *model, unsigned worker)
{
  pthread_mutex_lock (&model->lock);
  memset (model->held[worker], 0, sizeof model->held[worker]);
  pthread_cond_broadcast (&model->changed);
  pthread_mutex_unlock (&model->lock);
}

void
model_note (Model *model, unsigned worker, const char *what, const char *where,
            uint64_t begin, uint64_t end)
{
  pthread_mutex_lock (&model->lock);
  model->notes[model->time % MODEL_NOTES] = (ModelNote){.time = model->time,
                                                        .begin = begin,
                                                        .end = end,
                                                        .what = what,
                                                        .where = where,
                                                        .worker = worker};
  model->time++;
  pthread_mutex_unlock (&model->lock);
}

/* The last notes that concern byte AT, the newest first. */
static void
tell (Model *model, uint64_t at)
{
  pthread_mutex_lock (&model->lock);
  unsigned told = 0;
  for (uint64_t i = 0; i < MODEL_NOTES && i < model->time && told < TOLD; i++) {
    const ModelNote *note = &model->notes[(model->time - 1 - i) % MODEL_NOTES];
    if (at < note->begin || at >= note->end)
      continue;
    printf ("  %" PRIu64 ": worker %u: %s, %s: %" PRIu64 " to %" PRIu64 "\n", note->time,
            note->worker, note->what, note->where, note->begin, note->end);
    told++;
  }
  pthread_mutex_unlock (&model->lock);
}

bool
model_check (Model *model, unsigned worker, const char *what, const char *where,
             uint64_t at, const uint8_t *got, size_t n)
{
  const uint8_t *right = model->bytes + at;
  if (memcmp (got, right, n) == 0)
    return true;
  size_t first = 0, last = n - 1, wrong = 0;
  while (got[first] == right[first])
    first++;
  while (got[last] == right[last])
    last--;
  for (size_t i = first; i <= last; i++)
    wrong += got[i] != right[i];
  if (atomic_exchange (&model->stop, true))
    return false;
  printf ("worker %u: %s, %s, %" PRIu64 " to %" PRIu64 ": %zu bytes wrong, from %" PRIu64
          " to %" PRIu64 ": %#04x instead of %#04x\n",
          worker, what, where, at, at + n, wrong, at + first, at + last + 1, got[first],
          right[first]);
  tell (model, at + first);
  fflush (stdout);
  return false;
}
