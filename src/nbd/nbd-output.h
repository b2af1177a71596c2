/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What waits to be sent to one client.
 *
 * Whoever has something, the connection's reader or a worker, pushes it.  If nobody holds
 * the send turn he takes it and sends until the queue is empty or the socket is full;
 * otherwise the holder sends it for him.  Nobody blocks: when the socket is full the
 * reader is woken, and pumps again once poll says that there is room.
 *
 *     reader ──┐            ┌──► first ─► item ─► item ─► NULL
 *              ├── push ────┤        the holder of the turn sends from here
 *     workers ─┘            └──► appended at the end, under the lock              */
#pragma once

#include "block/chunk.h"
#include "nbd/nbd-buffer.h"
#include "nbd/nbd-reply.h"
#include "nbd/nbd-stream.h"
#include <pthread.h>
#include <stdatomic.h>

typedef struct ImNbdItem ImNbdItem;

/* One head and one body, sent in this order; either may be empty. */
struct ImNbdItem {
  ImNbdItem *next;
  uint8_t head[IM_NBD_HEAD_MAX];
  size_t head_length;
  ImNbdBuffer *buffer; /* owned; holds the body, or NULL */
  const uint8_t *data; /* the body in memory */
  ImChunkPin pin;      /* owned; keeps the body, or none */
  int file_fd;         /* the body in a file: borrowed; -1: there is none such */
  uint64_t file_at;
  size_t length; /* of the body */
  size_t sent;   /* of head and body */
  /* Items with a body in a file come in runs that are pushed at once.  The last of a run
   * has this set; in structured replies it has no body, and becomes the error if one of
   * the others turns out unreadable. */
  bool ends_run;
  ImNbdReplyTo to; /* of the run */
};

/* Work that waits until there is room again.  Embedded in its owner. */
typedef struct ImNbdParked ImNbdParked;
struct ImNbdParked {
  ImNbdParked *next;
  void (*resume) (ImNbdParked *parked); /* any thread, without the lock */
};

/* What all connections of a server hold together. */
typedef struct {
  atomic_size_t in_flight; /* bytes that they are charged */
  ImNbdKept kept;          /* besides */
} ImNbdBudget;

/* What a reader that sleeps is to be woken for. */
typedef enum {
  IM_NBD_AWAKE,           /* nothing: it looks for itself */
  IM_NBD_SLEEPS_FOR_ROOM, /* the socket turned out full: it is to wait for room as well */
  IM_NBD_SLEEPS_FOR_ANY,  /* the same, and whenever a worker ends */
} ImNbdSleep;

typedef struct {
  ImNbdStream *stream; /* borrowed */
  int wake_fd;         /* borrowed; an eventfd that wakes the reader */
  ImNbdBudget *budget; /* borrowed */
  atomic_uint working; /* pieces of work that may still push; only the reader adds */
  pthread_mutex_t lock;
  /* Under the lock, all below; but while nothing is working the reader needs none. */
  ImNbdItem *first, **end;
  bool sending; /* someone holds the turn */
  bool blocked; /* the socket was full when last tried */
  bool broken;  /* the client is gone: nothing is queued any more */
  ImNbdSleep sleep;
  size_t queued;  /* bytes of the bodies in the queue */
  size_t charged; /* memory of the queue and of the work under way */
  ImNbdParked *parked;
  ImNbdItem *spare_items;
  ImNbdSpares spares;
} ImNbdOutput;

/* Budgets in bytes: what may be queued for one connection, what memory one connection and
 * all of them may hold; and how much work one may have under way. */
#define IM_NBD_QUEUE_MAX  (8u << 20)
#define IM_NBD_MEMORY_MAX (16u << 20)
#define IM_NBD_TOTAL_MAX  (32u << 20)
#define IM_NBD_WORK_MAX   64u

/* How much may be queued before work on large reads is parked, and how little there must
 * be before it goes on. */
#define IM_NBD_QUEUE_HIGH (4u * IM_NBD_PIECE)
#define IM_NBD_QUEUE_LOW  (1u * IM_NBD_PIECE)

void im_nbd_output_init (ImNbdOutput *output, ImNbdStream *stream, int wake_fd,
                         ImNbdBudget *budget);
/* Nobody else uses it any more. */
void im_nbd_output_clear (ImNbdOutput *output);

/* An empty item, and an empty buffer of at least SIZE bytes (NULL: no memory).  Those of
 * IM_NBD_PIECE are recycled, and some larger ones.  Any thread. */
ImNbdItem *im_nbd_output_item (ImNbdOutput *output);
ImNbdBuffer *im_nbd_output_buffer (ImNbdOutput *output, size_t size);
void im_nbd_output_recycle (ImNbdOutput *output, ImNbdBuffer *buffer);

/* The same for the list BUFFERS, of IM_NBD_PIECE each. */
void im_nbd_output_recycle_all (ImNbdOutput *output, ImNbdBuffer *buffers);

/* Appends the list ITEMS, which becomes the output's, and sends what the socket takes. */
void im_nbd_output_push (ImNbdOutput *output, ImNbdItem *items);

/* Sends on.  For the reader, when the socket has room again. */
void im_nbd_output_pump (ImNbdOutput *output);

/* Sends at once, for the reader while no worker is at work.  Returns how many of the
 * LENGTH bytes went; what remains is to be pushed. */
size_t im_nbd_output_send_now (ImNbdOutput *output, const uint8_t *data, size_t length);

/* True where there is no room for another piece, and PARKED will be resumed once there
 * is. */
bool im_nbd_output_park (ImNbdOutput *output, ImNbdParked *parked);

/* Around each piece of work, which may take COST bytes of memory: the reader begins it,
 * the worker ends it, which is the last that it may do with the output. */
void im_nbd_output_begin_work (ImNbdOutput *output, size_t cost);
void im_nbd_output_end_work (ImNbdOutput *output, size_t cost);

/* True where the client should take what it asked for before it asks for more.  Never
 * while nothing is under way, so that each connection proceeds.  For the reader. */
bool im_nbd_output_is_over_budget (ImNbdOutput *output);

/* Nothing is working and nothing is queued.  For the reader. */
static inline bool
im_nbd_output_is_idle (const ImNbdOutput *output)
{
  return atomic_load_explicit (&output->working, memory_order_acquire) == 0 &&
         !output->first;
}

/* Says how the reader is about to sleep, and what for; returns true where it should wait
 * for room in the socket.  AWAKE: it woke up. */
bool im_nbd_output_set_sleep (ImNbdOutput *output, ImNbdSleep sleep);
