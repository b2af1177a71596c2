/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pieces from one reader to several consumers. */
#include "job/ring.h"
#include "base/error.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

enum { CONSUMERS_MAX = 8 };

typedef struct {
  ImRing *ring;
  ImRingConsumer consumer; /* const */
  pthread_t thread;
  uint64_t consumed; /* the ring's mutex */
} Consumer;

struct ImRing {
  Consumer consumers[CONSUMERS_MAX];
  unsigned n;
  uint8_t *buffers;
  ImRingPiece pieces[IM_RING_PIECES]; /* one of the reader's, or filled and const */
  pthread_mutex_t mutex;              /* guards all below */
  pthread_cond_t changed;
  uint64_t produced;
  bool ended; /* no more will come */
  bool abort;
  GError *failure; /* the first */
};

/* The next piece for CONSUMER, or NULL at the end. */
static const ImRingPiece *
wait_for_piece (Consumer *consumer)
{
  ImRing *ring = consumer->ring;
  const ImRingPiece *piece = NULL;
  pthread_mutex_lock (&ring->mutex);
  while (consumer->consumed == ring->produced && !ring->ended && !ring->abort)
    pthread_cond_wait (&ring->changed, &ring->mutex);
  if (consumer->consumed < ring->produced && !ring->abort)
    piece = &ring->pieces[consumer->consumed % IM_RING_PIECES];
  pthread_mutex_unlock (&ring->mutex);
  return piece;
}

static void
note_consumed (Consumer *consumer, GError *failure)
{
  ImRing *ring = consumer->ring;
  pthread_mutex_lock (&ring->mutex);
  consumer->consumed++;
  if (failure) {
    ring->abort = true;
    if (!ring->failure)
      ring->failure = g_steal_pointer (&failure);
  }
  pthread_cond_broadcast (&ring->changed);
  pthread_mutex_unlock (&ring->mutex);
  g_clear_error (&failure);
}

static void *
work (void *data)
{
  Consumer *consumer = data;
  const ImRingPiece *piece;
  while ((piece = wait_for_piece (consumer))) {
    GError *failure = NULL;
    consumer->consumer.consume (consumer->consumer.data, piece, &failure);
    note_consumed (consumer, failure);
  }
  return NULL;
}

/* Signals are for the thread that watches them. */
static bool
start_thread (Consumer *consumer, GError **error)
{
  sigset_t all, before;
  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  int errnum = pthread_create (&consumer->thread, NULL, work, consumer);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  if (errnum != 0)
    im_set_errno (error, errnum, "cannot make a thread");
  return errnum == 0;
}

static bool
make_buffers (ImRing *ring, GError **error)
{
  void *buffers = mmap (NULL, (size_t)IM_RING_PIECES * IM_RING_PIECE,
                        PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buffers == MAP_FAILED) {
    im_set_errno (error, errno, "buffers of %u bytes", IM_RING_PIECES * IM_RING_PIECE);
    return false;
  }
  ring->buffers = buffers;
  for (unsigned i = 0; i < IM_RING_PIECES; i++)
    ring->pieces[i].buffer = ring->buffers + (size_t)i * IM_RING_PIECE;
  return true;
}

ImRing *
im_ring_new (const ImRingConsumer *consumers, unsigned n, GError **error)
{
  ImRing *ring = g_new0 (ImRing, 1);
  pthread_mutex_init (&ring->mutex, NULL);
  pthread_cond_init (&ring->changed, NULL);
  bool ok = make_buffers (ring, error);
  for (unsigned i = 0; ok && i < MIN (n, CONSUMERS_MAX); i++) {
    ring->consumers[i] = (Consumer){.ring = ring, .consumer = consumers[i]};
    ok = start_thread (&ring->consumers[i], error);
    ring->n += ok;
  }
  if (ok)
    return ring;
  im_ring_finish (ring, true, NULL);
  return NULL;
}

/* How many pieces every consumer has seen. */
static uint64_t
consumed_by_all_locked (const ImRing *ring)
{
  uint64_t least = ring->produced;
  for (unsigned i = 0; i < ring->n; i++)
    least = MIN (least, ring->consumers[i].consumed);
  return least;
}

ImRingPiece *
im_ring_begin (ImRing *ring)
{
  pthread_mutex_lock (&ring->mutex);
  while (ring->produced - consumed_by_all_locked (ring) == IM_RING_PIECES && !ring->abort)
    pthread_cond_wait (&ring->changed, &ring->mutex);
  ImRingPiece *piece =
      ring->abort ? NULL : &ring->pieces[ring->produced % IM_RING_PIECES];
  pthread_mutex_unlock (&ring->mutex);
  return piece;
}

void
im_ring_end (ImRing *ring)
{
  pthread_mutex_lock (&ring->mutex);
  ring->produced++;
  pthread_cond_broadcast (&ring->changed);
  pthread_mutex_unlock (&ring->mutex);
}

bool
im_ring_finish (ImRing *ring, bool abort, GError **error)
{
  pthread_mutex_lock (&ring->mutex);
  ring->ended = true;
  ring->abort |= abort;
  pthread_cond_broadcast (&ring->changed);
  pthread_mutex_unlock (&ring->mutex);
  for (unsigned i = 0; i < ring->n; i++)
    pthread_join (ring->consumers[i].thread, NULL);
  bool ok = ring->failure == NULL;
  if (!ok)
    g_propagate_error (error, ring->failure);
  if (ring->buffers)
    munmap (ring->buffers, (size_t)IM_RING_PIECES * IM_RING_PIECE);
  pthread_cond_destroy (&ring->changed);
  pthread_mutex_destroy (&ring->mutex);
  g_free (ring);
  return ok;
}
