/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reader of one connection: requests in, replies out. */
#include "nbd/nbd-transmit.h"
#include "base/log.h"
#include "nbd/nbd-job.h"
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

/* How often the reader looks for further requests before it sleeps. */
#define LOOKS_BEFORE_SLEEP 20

/* Jobs in a row that are without company before the reader makes such a job itself. */
#define LONELY_MIN 8

static size_t
available (const ImNbdInput *input)
{
  return input->end - input->start;
}

void
im_nbd_transmit_flush (ImNbdTransmission *t)
{
  size_t used = t->batch_used, sent = 0;
  t->batch_used = 0;
  if (used == 0)
    return;
  if (im_nbd_output_is_idle (&t->output))
    sent = im_nbd_output_send_now (&t->output, t->batch->data, used);
  if (sent == used)
    return;
  ImNbdItem *item = im_nbd_output_item (&t->output);
  item->buffer = t->batch;
  item->data = t->batch->data + sent;
  item->length = used - sent;
  im_nbd_output_push (&t->output, item);
  t->batch = NULL;
}

uint8_t *
im_nbd_transmit_room (ImNbdTransmission *t, size_t size)
{
  if (IM_NBD_BATCH_MAX - t->batch_used < size)
    im_nbd_transmit_flush (t);
  if (!t->batch)
    t->batch = im_nbd_output_buffer (&t->output, IM_NBD_PIECE);
  if (!t->batch) {
    t->ended = true;
    return NULL;
  }
  return t->batch->data + t->batch_used;
}

static void
answer_error (ImNbdTransmission *t, const ImNbdRequest *request, ImNbdVerdict verdict)
{
  ImNbdReplyTo to = im_nbd_reply_to (&t->session, request);
  uint8_t *p = im_nbd_transmit_room (t, IM_NBD_HEAD_MAX);
  if (p)
    t->batch_used += im_nbd_put_error (p, &to, verdict.error, verdict.reason);
}

void
im_nbd_transmit_success (ImNbdTransmission *t, const ImNbdRequest *request)
{
  ImNbdReplyTo to = im_nbd_reply_to (&t->session, request);
  uint8_t *p = im_nbd_transmit_room (t, IM_NBD_HEAD_MAX);
  if (p)
    t->batch_used += im_nbd_put_success (p, &to);
}

void
im_nbd_transmit_start (ImNbdTransmission *t, ImNbdJob *job)
{
  if (t->held)
    im_nbd_job_start (t->held);
  t->held = job;
}

/* Is the job that is held all that the client has under way? */
static bool
is_lonely (const ImNbdTransmission *t)
{
  return available (t->input) == 0 &&
         atomic_load_explicit (&t->output.working, memory_order_acquire) == 1 &&
         !t->output.first;
}

/* The input has been looked through, and what was answered of it is sent. */
static void
start_held (ImNbdTransmission *t)
{
  ImNbdJob *job = t->held;
  if (!job)
    return;
  t->held = NULL;
  t->lonely = is_lonely (t) ? t->lonely + 1 : 0;
  t->was_busy = t->lonely > LONELY_MIN;
  if (t->was_busy)
    im_nbd_job_run (job);
  else
    im_nbd_job_start (job);
}

static void
serve (ImNbdTransmission *t, const ImNbdRequest *request)
{
  switch (request->type) {
  case IM_NBD_CMD_READ:
    im_nbd_read (t, request);
    break;
  case IM_NBD_CMD_DISC:
    t->ended = true;
    break;
  case IM_NBD_CMD_FLUSH:
    if (t->session.flags & IM_NBD_FLAG_READ_ONLY)
      im_nbd_transmit_success (t, request);
    else
      im_nbd_flush_submit (t, request);
    break;
  case IM_NBD_CMD_WRITE:
    im_nbd_write_begin (t, request);
    break;
  default:
    im_nbd_job_submit (t, request);
  }
}

/* Takes one request, and where it filters block status its payload too, from the input.
 * False: it is not all there. */
static bool
take_request (ImNbdTransmission *t, ImNbdRequest *request, ImNbdVerdict *ret_verdict)
{
  ImNbdInput *input = t->input;
  size_t size = im_nbd_request_size (t->session.mode);
  const uint8_t *p = input->data + input->start;
  *ret_verdict = (ImNbdVerdict){0, NULL};
  if (available (input) < size)
    return false;
  if (!im_nbd_request_decode (p, &t->session, request)) {
    im_log_verbose (1, "nbd: request without its magic number: client dropped");
    t->ended = true;
    return false;
  }
  if (request->payload > 0 && request->payload <= IM_NBD_FILTER_MAX &&
      im_nbd_request_has_filter (request, &t->session)) {
    if (available (input) - size < request->payload)
      return false;
    *ret_verdict = im_nbd_request_take_filter (request, &t->session, p + size);
    size += (size_t)request->payload;
    request->payload = 0;
  }
  input->start += size;
  return true;
}

/* Throws away what has come of a refused request's payload.  True: nothing of it is left.
 * Only then is the refusal sent: a client may look for replies to what it has sent, and
 * not to what it is still sending. */
static bool
drain_payload (ImNbdTransmission *t)
{
  size_t n = (size_t)MIN (t->drain, available (t->input));
  t->input->start += n;
  t->drain -= n;
  if (t->drain == 0)
    answer_error (t, &t->refused, t->refusal);
  return t->drain == 0;
}

void
im_nbd_transmit_refuse (ImNbdTransmission *t, const ImNbdRequest *request,
                        ImNbdVerdict verdict)
{
  if (request->payload > IM_NBD_DRAIN_MAX) {
    im_log_verbose (1, "nbd: payload of %" G_GUINT64_FORMAT " bytes: client dropped",
                    request->payload);
    t->ended = true;
    return;
  }
  t->drain = request->payload;
  t->refused = *request;
  t->refusal = verdict;
  if (t->drain == 0)
    answer_error (t, request, verdict);
}

static void
handle (ImNbdTransmission *t, const ImNbdRequest *request, ImNbdVerdict verdict)
{
  if (verdict.error == 0)
    verdict = im_nbd_request_check (request, &t->session);
  if (verdict.error == 0 && atomic_load_explicit (t->stopping, memory_order_relaxed) &&
      request->type != IM_NBD_CMD_DISC)
    verdict = (ImNbdVerdict){IM_NBD_ESHUTDOWN, "the server is stopping"};
  if (verdict.error)
    im_nbd_transmit_refuse (t, request, verdict);
  else
    serve (t, request);
}

/* Handles what the input holds, as far as the budget goes. */
static void
handle_input (ImNbdTransmission *t, bool *ret_over_budget)
{
  *ret_over_budget = false;
  while (!t->ended) {
    if (t->drain > 0 && !drain_payload (t))
      return;
    if (t->incoming.active) {
      if (!im_nbd_write_continue (t))
        return;
      continue;
    }
    if (available (t->input) < im_nbd_request_size (t->session.mode))
      return;
    if (im_nbd_output_is_over_budget (&t->output)) {
      *ret_over_budget = true;
      return;
    }
    ImNbdRequest request;
    ImNbdVerdict verdict;
    if (!take_request (t, &request, &verdict))
      return;
    handle (t, &request, verdict);
  }
}

/* Sleeps until the client sent something (where INPUT), the socket has room for what is
 * queued, or a worker woke us. */
static void
sleep_until (ImNbdTransmission *t, bool input, ImNbdSleep sleep)
{
  bool room = im_nbd_output_set_sleep (&t->output, sleep);
  /* What ended before that call woke nobody. */
  bool needless = sleep == IM_NBD_SLEEPS_FOR_ANY &&
                  (t->ended ? im_nbd_output_is_idle (&t->output)
                            : !im_nbd_output_is_over_budget (&t->output));
  if (!needless) {
    struct pollfd fds[2] = {
        {.fd = input || room ? t->input->stream.fd : -1,
         .events = (short)((input ? POLLIN : 0) | (room ? POLLOUT : 0))},
        {.fd = t->wake_fd, .events = POLLIN},
    };
    poll (fds, 2, -1);
    eventfd_t count;
    if (fds[1].revents)
      eventfd_read (t->wake_fd, &count);
  }
  room = im_nbd_output_set_sleep (&t->output, IM_NBD_AWAKE);
  if (room)
    im_nbd_output_pump (&t->output);
}

/* Receives what there is; IDLE: waits until there is something.  Before it sleeps it
 * looks a few times more, some microseconds in all: a busy client has sent its next
 * request by then, and need not pay for waking us. */
static ssize_t
receive_some (ImNbdTransmission *t, uint8_t *room, size_t length, bool idle)
{
  ImNbdStream *stream = &t->input->stream;
  for (int i = 0; i < LOOKS_BEFORE_SLEEP; i++) {
    ssize_t n = im_nbd_stream_receive (stream, room, length, false);
    /* It had to wait for the reader. */
    if (n > 0 && i == 0 && t->was_busy)
      t->lonely = 0;
    t->was_busy = false;
    if (n >= 0 || errno != EAGAIN || !idle)
      return n;
  }
  return im_nbd_stream_receive (stream, room, length, true);
}

/* Makes room at the input's end. */
static uint8_t *
input_room (ImNbdInput *input, size_t *ret_length)
{
  if (input->start > 0) {
    memmove (input->data, input->data + input->start, available (input));
    input->end -= input->start;
    input->start = 0;
  }
  *ret_length = IM_NBD_INPUT_SIZE - input->end;
  return input->data + input->end;
}

static void
receive (ImNbdTransmission *t)
{
  size_t length;
  uint8_t *payload = im_nbd_write_room (t, &length);
  uint8_t *room = payload ? payload : input_room (t->input, &length);
  ssize_t n = receive_some (t, room, length, im_nbd_output_is_idle (&t->output));
  if (n > 0 && payload)
    im_nbd_write_received (t, (size_t)n);
  else if (n > 0)
    t->input->end += (size_t)n;
  else if (n < 0 && errno == EAGAIN)
    sleep_until (t, true, IM_NBD_SLEEPS_FOR_ROOM);
  else
    t->ended = true;
}

/* Waits until nothing is under way any more. */
static void
finish (ImNbdTransmission *t)
{
  t->ended = true;
  im_nbd_write_abandon (t);
  im_nbd_transmit_flush (t);
  while (!im_nbd_output_is_idle (&t->output))
    sleep_until (t, false, IM_NBD_SLEEPS_FOR_ANY);
}

void
im_nbd_transmit (ImNbdHost *host, ImNbdInput *input, const ImNbdExport *export,
                 const ImNbdSession *session, const atomic_bool *stopping, int wake_fd)
{
  ImNbdTransmission t = {.host = host,
                         .session = *session,
                         .export = export,
                         .input = input,
                         .stopping = stopping,
                         .wake_fd = wake_fd};
  im_nbd_output_init (&t.output, &input->stream, wake_fd, &host->budget);
  im_nbd_output_recycle_all (&t.output, g_steal_pointer (&input->spare));
  im_nbd_flushes_init (&t.flushes);
  while (!t.ended) {
    bool over_budget;
    handle_input (&t, &over_budget);
    im_nbd_transmit_flush (&t);
    start_held (&t);
    if (over_budget)
      sleep_until (&t, false, IM_NBD_SLEEPS_FOR_ANY);
    else if (!t.ended)
      receive (&t);
  }
  finish (&t);
  if (t.batch)
    im_nbd_output_recycle (&t.output, t.batch);
  im_nbd_output_clear (&t.output);
  im_nbd_flushes_clear (&t.flushes);
}
