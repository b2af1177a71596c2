/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The transmission phase of one connection.
 *
 *    socket ─► input ─► decode, check ─┬─► answered here: batch ──────┐
 *        │                             │                             ├─► output ─► socket
 *        └── large payload ────────────┴─► may block: job in the pool ┘
 *
 * The connection's own thread, the reader, takes as many requests as one receive gives,
 * answers what needs no waiting into one batch, and sends that with one call.  What may
 * wait for a device or a decoder goes to the pool; those workers push their replies into
 * the output themselves.  For a client that always has one request under way and no more
 * the reader does that too: nothing is kept waiting, and two threads need not be woken.
 */
#pragma once

#include "nbd/nbd-exports.h"
#include "nbd/nbd-output.h"

/* What all connections of a server share; borrowed by each. */
typedef struct ImNbdHost ImNbdHost;
struct ImNbdHost {
  const ImNbdExports *exports;
  ImPool *pool;             /* never NULL */
  unsigned handshake_limit; /* seconds; 0: none */
  const ImNbdTls *tls;      /* NULL: clients are served without */
  ImNbdBudget budget;
  /* Called at the end of a handshake; may wait.  False: the server stops. */
  bool (*take_place) (ImNbdHost *host);
};

/* Room for requests; one option with its header fits, too. */
#define IM_NBD_INPUT_SIZE (128u << 10)

typedef struct {
  ImNbdStream stream;
  uint8_t *data; /* IM_NBD_INPUT_SIZE bytes */
  size_t start, end;
  ImNbdBuffer *spare; /* owned; a list for the output to begin with; mostly NULL */
} ImNbdInput;

typedef struct ImNbdJob ImNbdJob;

/* A WRITE whose payload is being received. */
typedef struct {
  bool active;
  ImNbdRequest request;
  ImNbdJob *job; /* large: where the payload goes; NULL: it waits in the input */
} ImNbdIncoming;

/* The flushes of one connection. */
typedef struct {
  pthread_mutex_t lock; /* guards all below */
  ImNbdJob *first, **end;
  bool running; /* a job is started, or about to be, that takes them from here */
} ImNbdFlushes;

/* A range known to be data, without a hole of its file beneath it.  Any thread; that it
 * has become a hole since, or that two threads wrote half of it each, makes data of a
 * hole, and no more. */
typedef struct {
  atomic_uint_least64_t from, to;
} ImNbdKnown;

/* Every field is the reader's, unless it says otherwise. */
typedef struct {
  ImNbdHost *host;
  ImNbdSession session;      /* const: any thread */
  const ImNbdExport *export; /* const: any thread */
  ImNbdInput *input;
  const atomic_bool *stopping; /* set by the server */
  int wake_fd;
  ImNbdOutput output;
  ImNbdBuffer *batch; /* replies on their way to the output */
  size_t batch_used;
  uint64_t drain; /* bytes still to come of the payload of the request refused */
  ImNbdRequest refused;
  ImNbdVerdict refusal;
  ImNbdIncoming incoming;
  ImNbdFlushes flushes; /* any thread */
  ImNbdJob *held;       /* a job that the next one, or the end of what came, starts */
  unsigned lonely;      /* jobs in a row that had no company */
  bool was_busy;        /* the reader has just made one of those itself */
  unsigned
      writes_for_pool; /* writes that the reader leaves alone, one having been slow */
  bool ended;          /* no further request will be taken */
  ImNbdKnown known;
  atomic_uint failures; /* requests that failed below; any thread */
} ImNbdTransmission;

/* Serves until the client disconnects, the stream ends or the server stops, and all that
 * was under way has ended. */
void im_nbd_transmit (ImNbdHost *host, ImNbdInput *input, const ImNbdExport *export,
                      const ImNbdSession *session, const atomic_bool *stopping,
                      int wake_fd);

/* SIZE bytes (at most IM_NBD_BATCH_MAX) at the end of the batch, which is sent first
 * where they do not fit; the caller adds what it used to batch_used.  NULL: no memory,
 * and the transmission has ended. */
#define IM_NBD_BATCH_MAX (256u << 10)
uint8_t *im_nbd_transmit_room (ImNbdTransmission *t, size_t size);

/* Sends the batch, or hands it to the output. */
void im_nbd_transmit_flush (ImNbdTransmission *t);

/* Adds the answer to a request to the batch. */
void im_nbd_transmit_success (ImNbdTransmission *t, const ImNbdRequest *request);

/* Answers with an error, once the request's payload, of which nothing was taken from the
 * input yet, was received and thrown away. */
void im_nbd_transmit_refuse (ImNbdTransmission *t, const ImNbdRequest *request,
                             ImNbdVerdict verdict);

/* Begins a checked WRITE, whose payload comes next. */
void im_nbd_write_begin (ImNbdTransmission *t, const ImNbdRequest *request);

/* Takes payload from the input; once it is complete, writes it or gives it to the pool.
 * False: it is not all there. */
bool im_nbd_write_continue (ImNbdTransmission *t);

/* Where the *ret_length bytes that are still to come of a payload belong, which may be
 * received there rather than into the input; NULL: into the input. */
uint8_t *im_nbd_write_room (ImNbdTransmission *t, size_t *ret_length);
void im_nbd_write_received (ImNbdTransmission *t, size_t length);

/* Forgets a payload that did not come to its end. */
void im_nbd_write_abandon (ImNbdTransmission *t);

/* Starts JOB, here or in the pool, once the input has been looked through. */
void im_nbd_transmit_start (ImNbdTransmission *t, ImNbdJob *job);

/* Answers a checked READ, or gives it to the pool. */
void im_nbd_read (ImNbdTransmission *t, const ImNbdRequest *request);

void im_nbd_flushes_init (ImNbdFlushes *flushes);
/* Nobody else uses it any more. */
void im_nbd_flushes_clear (ImNbdFlushes *flushes);

/* Gives a checked FLUSH to the thread that makes flushes. */
void im_nbd_flush_submit (ImNbdTransmission *t, const ImNbdRequest *request);

/* Gives a checked request to the pool. */
void im_nbd_job_submit (ImNbdTransmission *t, const ImNbdRequest *request);

/* Maps [OFFSET, OFFSET + LENGTH) for the reply to REQUEST, which it belongs to; where
 * that may have holes, those of the file beneath raw bytes too. */
bool im_nbd_read_map (ImNbdTransmission *t, const ImNbdRequest *request, uint64_t offset,
                      uint64_t length, ImMapFlags flags, ImExtent *extents, size_t n,
                      size_t *ret_n, GError **error);

/* What a reply does with the beginning of a run of extents: *ret_hole, a hole long enough
 * for a chunk of its own, or data; and for how many of at most MAX bytes.  FIRST: how far
 * into the first extent it begins. */
uint64_t im_nbd_read_run (const ImExtent *extents, size_t n, uint64_t first, uint64_t max,
                          bool *ret_hole);

/* One reply, one chunk: simple replies, and DF. */
static inline bool
im_nbd_read_is_single (const ImNbdTransmission *t, const ImNbdRequest *request)
{
  return t->session.mode == IM_NBD_MODE_SIMPLE || (request->flags & IM_NBD_CMD_FLAG_DF);
}
