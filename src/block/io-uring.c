/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The io_uring engine: a batch is one system call, whatever the number of ranges. */
#include "base/error.h"
#include "block/io-slots.h"
#include "block/io.h"

#include <errno.h>
#include <liburing.h>

enum { PATIENCE = 1000 }; /* microseconds between two tries where the kernel is short */

typedef struct {
  ImIoSlot slot;
  struct io_uring uring;
} Ring;

static ImIoSlot *
make_ring (int *ret_errno)
{
  Ring *ring = g_new0 (Ring, 1);
  int status = io_uring_queue_init (IM_IO_BATCH, &ring->uring, 0);
  if (status == 0)
    return &ring->slot;
  *ret_errno = -status;
  g_free (ring);
  return NULL;
}

static ImIoSlots rings = {.make = make_ring,
                          .mutex = PTHREAD_MUTEX_INITIALIZER,
                          .given = PTHREAD_COND_INITIALIZER,
                          .most = IM_IO_SLOTS_MAX};

/* What RING has under way. */
typedef struct {
  Ring *ring;
  unsigned queued;    /* of the batch */
  unsigned submitted; /* of those */
  unsigned reaped;    /* of those */
} Flight;

static void
reap (Flight *flight)
{
  struct io_uring_cqe *cqe;
  unsigned head, n = 0;
  io_uring_for_each_cqe (&flight->ring->uring, head, cqe)
  {
    ImIo *io = io_uring_cqe_get_data (cqe);
    if (io)
      io->result = cqe->res;
    n++;
  }
  io_uring_cq_advance (&flight->ring->uring, n);
  flight->reaped += n;
}

/* Submits all that is queued and waits for all of it.  Returns 0, or the errno with which
 * the kernel refused the ring itself; nothing is under way then either. */
static int
fly (Flight *flight)
{
  int failure = 0;
  while (flight->reaped < (failure ? flight->submitted : flight->queued)) {
    unsigned wanted = flight->queued - flight->reaped;
    int status = failure ? 0 : io_uring_submit_and_wait (&flight->ring->uring, wanted);
    if (status > 0)
      flight->submitted += (unsigned)status;
    else if (status < 0 && status != -EINTR && status != -EAGAIN && status != -EBUSY)
      failure = -status;
    unsigned before = flight->reaped;
    reap (flight);
    if (flight->reaped == before && status != -EINTR)
      g_usleep (PATIENCE);
  }
  return failure;
}

/* Gives RING back, or frees it where FAILURE has made it useless. */
static void
land (Ring *ring, int failure)
{
  if (failure == 0) {
    im_io_slot_give (&rings, &ring->slot);
    return;
  }
  io_uring_queue_exit (&ring->uring);
  g_free (ring);
  im_io_slot_forget (&rings);
}

static void
queue (Ring *ring, ImIo *io)
{
  /* There is room: the ring has as many entries as a batch, and was empty. */
  struct io_uring_sqe *sqe = io_uring_get_sqe (&ring->uring);
  if (io->write)
    io_uring_prep_writev2 (sqe, io->fd, io->iov, (unsigned)io->n, io->offset, io->flags);
  else
    io_uring_prep_readv2 (sqe, io->fd, io->iov, (unsigned)io->n, io->offset, io->flags);
  io_uring_sqe_set_data (sqe, io);
  io->result = -EAGAIN; /* until the kernel has answered */
}

static void
uring_transfer (ImIo **ios, size_t n)
{
  int failure = EAGAIN;
  Ring *ring = (Ring *)im_io_slot_take (&rings, &failure);
  if (!ring) { /* no more since the probe: the caller's thread does it */
    for (size_t i = 0; i < n; i++)
      ios[i]->result = -EAGAIN;
    return;
  }
  for (size_t i = 0; i < n; i++)
    queue (ring, ios[i]);
  Flight flight = {.ring = ring, .queued = (unsigned)n};
  land (ring, fly (&flight));
}

/* Not only can a ring be made, it also works. */
static bool
uring_probe (GError **error)
{
  int failure = 0;
  Ring *ring = (Ring *)im_io_slot_take (&rings, &failure);
  if (ring) {
    struct io_uring_sqe *sqe = io_uring_get_sqe (&ring->uring);
    io_uring_prep_nop (sqe);
    io_uring_sqe_set_data (sqe, NULL);
    Flight flight = {.ring = ring, .queued = 1};
    failure = fly (&flight);
    land (ring, failure);
  }
  if (failure != 0)
    im_set_errno (error, failure, "the kernel gives no io_uring");
  return failure == 0;
}

const ImIoEngine im_io_engine_uring = {.probe = uring_probe, .transfer = uring_transfer};
