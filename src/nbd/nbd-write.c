/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that change the disk.  Nothing of a WRITE is done before all of its payload
 * is here:
 *
 *   small   waits in the input; what cannot block long is written straight from there,
 *           and what may is copied into a job
 *   large   received into the buffer of a job, which starts once it is full            */
#include "base/error.h"
#include "nbd/nbd-job.h"

/* Up to here a payload stays in the input. */
#define SMALL_MAX (32u << 10)
G_STATIC_ASSERT (2 * SMALL_MAX < IM_NBD_INPUT_SIZE);

/* A write that took the reader longer than this had to wait after all, for throttling or
 * a journal; so many more then go to the pool. */
#define SLOW_MICROSECONDS 500
#define WRITES_AFTER_SLOW 64u

/* Zeroes and trims are done in pieces, each of which ends at a multiple of this. */
#define CHANGE_PIECE (UINT64_C (256) << 20)

/* False: the pool is to do it, and to tell what is wrong with it. */
static bool
write_here (ImNbdTransmission *t, const ImNbdRequest *request, const uint8_t *data)
{
  if (request->flags & IM_NBD_CMD_FLAG_FUA)
    return false;
  if (t->writes_for_pool > 0) {
    t->writes_for_pool--;
    return false;
  }
  gint64 start = g_get_monotonic_time ();
  bool ok = im_block_pwrite_nowait (t->export->block, data, (size_t)request->length,
                                    request->offset);
  if (g_get_monotonic_time () - start > SLOW_MICROSECONDS)
    t->writes_for_pool = WRITES_AFTER_SLOW;
  if (ok)
    im_nbd_transmit_success (t, request);
  return ok;
}

/* A job with room for the payload of REQUEST.  NULL: no memory, and it was refused. */
static ImNbdJob *
new_job (ImNbdTransmission *t, const ImNbdRequest *request)
{
  ImNbdBuffer *payload = im_nbd_output_buffer (&t->output, (size_t)request->payload);
  if (payload)
    return im_nbd_job_new (t, request, payload, payload->size);
  im_nbd_transmit_refuse (t, request,
                          (ImNbdVerdict){IM_NBD_ENOMEM, "no memory for the payload"});
  return NULL;
}

void
im_nbd_write_begin (ImNbdTransmission *t, const ImNbdRequest *request)
{
  t->incoming = (ImNbdIncoming){.active = true, .request = *request};
  if (request->payload <= SMALL_MAX)
    return;
  t->incoming.job = new_job (t, request);
  t->incoming.active = t->incoming.job != NULL;
}

static bool
take_small (ImNbdTransmission *t)
{
  ImNbdInput *input = t->input;
  const ImNbdRequest *request = &t->incoming.request;
  size_t size = (size_t)request->payload;
  const uint8_t *data = input->data + input->start;
  if (input->end - input->start < size)
    return false;
  if (!write_here (t, request, data)) {
    ImNbdJob *job = new_job (t, request);
    if (!job)
      return true;
    memcpy (job->payload->data, data, size);
    im_nbd_transmit_start (t, job);
  }
  input->start += size;
  return true;
}

static bool
take_large (ImNbdTransmission *t)
{
  ImNbdInput *input = t->input;
  size_t length;
  uint8_t *room = im_nbd_write_room (t, &length);
  size_t n = MIN (length, input->end - input->start);
  memcpy (room, input->data + input->start, n);
  input->start += n;
  t->incoming.job->received += n;
  if (n < length)
    return false;
  im_nbd_transmit_start (t, t->incoming.job);
  return true;
}

bool
im_nbd_write_continue (ImNbdTransmission *t)
{
  bool complete = t->incoming.job ? take_large (t) : take_small (t);
  if (complete)
    t->incoming = (ImNbdIncoming){.active = false};
  return complete;
}

uint8_t *
im_nbd_write_room (ImNbdTransmission *t, size_t *ret_length)
{
  ImNbdJob *job = t->incoming.job;
  if (!job)
    return NULL;
  *ret_length = (size_t)job->request.payload - job->received;
  return job->payload->data + job->received;
}

void
im_nbd_write_received (ImNbdTransmission *t, size_t length)
{
  t->incoming.job->received += length;
}

void
im_nbd_write_abandon (ImNbdTransmission *t)
{
  if (t->incoming.job)
    im_nbd_job_free (t->incoming.job);
  t->incoming = (ImNbdIncoming){.active = false};
}

static ImNbdJobStep
write_step (ImNbdJob *job)
{
  const ImNbdRequest *request = &job->request;
  g_autoptr (GError) error = NULL;
  bool ok = im_block_pwrite (
      job->t->export->block, job->payload->data, (size_t)request->length, request->offset,
      request->flags & IM_NBD_CMD_FLAG_FUA ? IM_WRITE_FUA : 0, &error);
  return ok ? im_nbd_job_succeed (job) : im_nbd_job_fail (job, error);
}

static bool
zero_or_trim (ImBlock *block, const ImNbdRequest *request, uint64_t offset,
              uint64_t length, GError **error)
{
  if (request->type == IM_NBD_CMD_TRIM)
    return im_block_discard (block, offset, length, error);
  unsigned flags = request->flags & IM_NBD_CMD_FLAG_NO_HOLE ? 0 : IM_WRITE_MAY_UNMAP;
  if (request->flags & IM_NBD_CMD_FLAG_FAST_ZERO)
    flags |= IM_WRITE_FAST;
  return im_block_write_zeroes (block, offset, length, flags, error);
}

/* A piece of zeroes or trim, which can be as long as the disk. */
static ImNbdJobStep
piece_step (ImNbdJob *job)
{
  const ImNbdRequest *request = &job->request;
  ImBlock *block = job->t->export->block;
  uint64_t offset = request->offset + job->done;
  uint64_t length =
      MIN (request->length - job->done, CHANGE_PIECE - offset % CHANGE_PIECE);
  g_autoptr (GError) error = NULL;
  if (!zero_or_trim (block, request, offset, length, &error))
    return im_nbd_job_fail (job, error);
  job->done += length;
  if (job->done == request->length)
    return request->flags & IM_NBD_CMD_FLAG_FUA && !im_block_flush (block, &error)
               ? im_nbd_job_fail (job, error)
               : im_nbd_job_succeed (job);
  /* Once its client has gone nobody waits for the rest, or for an answer. */
  return im_nbd_stream_is_cut (job->t->output.stream) ? IM_NBD_JOB_DONE
                                                      : IM_NBD_JOB_LATER;
}

ImNbdJobStep
im_nbd_job_change (ImNbdJob *job)
{
  return job->request.type == IM_NBD_CMD_WRITE ? write_step (job) : piece_step (job);
}
