/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine of Linux's older asynchronous I/O, which is that for direct I/O alone; what
 * is cached it transfers within the submission. */
#include "base/error.h"
#include "block/io-slots.h"
#include "block/io.h"

#include <errno.h>
#include <libaio.h>

typedef struct {
  ImIoSlot slot;
  io_context_t kernel;
} Context;

static ImIoSlot *
make_context (int *ret_errno)
{
  Context *context = g_new0 (Context, 1);
  int status = io_setup (IM_IO_BATCH, &context->kernel);
  if (status == 0)
    return &context->slot;
  *ret_errno = -status;
  g_free (context);
  return NULL;
}

static ImIoSlots contexts = {.make = make_context,
                             .mutex = PTHREAD_MUTEX_INITIALIZER,
                             .given = PTHREAD_COND_INITIALIZER,
                             .most = IM_IO_SLOTS_MAX};

/* What CONTEXT has under way. */
typedef struct {
  Context *context;
  ImIo **ios;
  struct iocb *list[IM_IO_BATCH];
  size_t n;
  size_t submitted; /* of those; or refused */
  size_t over;      /* of those */
} Flight;

static void
prepare (struct iocb *iocb, ImIo *io)
{
  if (io->write)
    io_prep_pwritev2 (iocb, io->fd, io->iov, (int)io->n, (long long)io->offset,
                      io->flags);
  else
    io_prep_preadv2 (iocb, io->fd, io->iov, (int)io->n, (long long)io->offset, io->flags);
  iocb->data = io;
  io->result = -EAGAIN; /* until the kernel has answered */
}

/* As many as the kernel takes; one that it refuses has its error. */
static void
submit (Flight *flight)
{
  while (flight->submitted < flight->n) {
    int status =
        io_submit (flight->context->kernel, (long)(flight->n - flight->submitted),
                   flight->list + flight->submitted);
    if (status > 0) {
      flight->submitted += (size_t)status;
    } else if (status == -EAGAIN && flight->submitted > flight->over) {
      return; /* there is room once one of them is over */
    } else if (status != -EINTR) {
      flight->ios[flight->submitted++]->result = status < 0 ? status : -EAGAIN;
      flight->over++;
    }
  }
}

/* Waits for some of those under way.  False: nobody will ever know how they went. */
static bool
reap (Flight *flight)
{
  struct io_event events[IM_IO_BATCH];
  long under_way = (long)(flight->submitted - flight->over);
  long least = flight->submitted == flight->n ? under_way : 1;
  int n = io_getevents (flight->context->kernel, least, under_way, events, NULL);
  if (n < 0)
    return n == -EINTR;
  for (int i = 0; i < n; i++)
    ((ImIo *)events[i].data)->result = (ssize_t)(long)events[i].res;
  flight->over += (size_t)n;
  return true;
}

/* A context that does not answer is given up, which waits for what is under way; the
 * transfers without an answer are made again, all of them being such as can be. */
static void
give_up (Context *context)
{
  io_destroy (context->kernel);
  g_free (context);
  im_io_slot_forget (&contexts);
}

static void
native_transfer (ImIo **ios, size_t n)
{
  struct iocb iocbs[IM_IO_BATCH];
  int failure;
  Flight flight = {.ios = ios, .n = n};
  for (size_t i = 0; i < n; i++) {
    prepare (&iocbs[i], ios[i]);
    flight.list[i] = &iocbs[i];
  }
  flight.context = (Context *)im_io_slot_take (&contexts, &failure);
  if (!flight.context) /* no more since the probe: the caller's thread does it */
    return;
  while (flight.over < n) {
    submit (&flight);
    if (flight.submitted > flight.over && !reap (&flight)) {
      give_up (flight.context);
      return;
    }
  }
  im_io_slot_give (&contexts, &flight.context->slot);
}

static bool
native_probe (GError **error)
{
  int failure = 0;
  ImIoSlot *slot = im_io_slot_take (&contexts, &failure);
  if (slot)
    im_io_slot_give (&contexts, slot);
  else
    im_set_errno (error, failure, "the kernel gives no asynchronous I/O");
  return slot != NULL;
}

const ImIoEngine im_io_engine_native = {.probe = native_probe,
                                        .transfer = native_transfer};
