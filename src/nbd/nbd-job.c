/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs: their life, and those that read. */
#include "nbd/nbd-job.h"
#include "base/error.h"
#include "base/log.h"
#include "nbd/nbd-meta.h"
#include <errno.h>
#include <fcntl.h>

/* Extents asked for at once. */
#define MAP_BATCH IM_PINS_MAX

/* How far a read looks for the next chunk: what was found behind it is looked for again.
 */
#define LOOK_MAX (4u * IM_NBD_PIECE)

/* Failures of one connection that are worth a line each. */
#define FAILURES_LOGGED 16

/* The error that the protocol has for ERROR. */
static uint32_t
error_code (const ImNbdRequest *request, const GError *error)
{
  int errnum = im_error_to_errno (error);
  return errnum == ENOTSUP && (request->flags & IM_NBD_CMD_FLAG_FAST_ZERO)
             ? IM_NBD_ENOTSUP
             : im_nbd_error_from_errno (errnum);
}

/* Says what failed, the first few times. */
static void
complain (ImNbdJob *job, const GError *error)
{
  const ImNbdRequest *request = &job->request;
  const char *name = job->t->export->name;
  if (atomic_fetch_add_explicit (&job->t->failures, 1, memory_order_relaxed) >=
      FAILURES_LOGGED)
    return;
  if (request->type == IM_NBD_CMD_FLUSH)
    im_log_warning ("nbd: flush of \"%s\": %s", name, error->message);
  else
    im_log_warning ("nbd: %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
                    " of \"%s\": %s",
                    request->length, request->offset, name, error->message);
}

/* A piece of the reply. */
static ImNbdItem *
new_item (const ImNbdJob *job)
{
  ImNbdItem *item = im_nbd_output_item (&job->t->output);
  item->to = im_nbd_reply_to (&job->t->session, &job->request);
  return item;
}

ImNbdJobStep
im_nbd_job_fail (ImNbdJob *job, const GError *error)
{
  uint32_t code = error_code (&job->request, error);
  ImNbdItem *item = new_item (job);
  item->head_length = im_nbd_put_error (item->head, &item->to, code, error->message);
  im_nbd_output_push (&job->t->output, item);
  /* That zeros are not to be had fast is an answer like any other. */
  if (code != IM_NBD_ENOTSUP)
    complain (job, error);
  return IM_NBD_JOB_DONE;
}

ImNbdItem *
im_nbd_job_success (const ImNbdJob *job)
{
  ImNbdItem *item = new_item (job);
  item->head_length = im_nbd_put_success (item->head, &item->to);
  return item;
}

ImNbdJobStep
im_nbd_job_succeed (ImNbdJob *job)
{
  im_nbd_output_push (&job->t->output, im_nbd_job_success (job));
  return IM_NBD_JOB_DONE;
}

static ImNbdJobStep
fail_for_memory (ImNbdJob *job)
{
  g_autoptr (GError) error = NULL;
  im_set_errno (&error, ENOMEM, "reply");
  return im_nbd_job_fail (job, error);
}

/* Sends LENGTH bytes of BUFFER, those at which the job is. */
static void
push_data (ImNbdJob *job, ImNbdBuffer *buffer, size_t length)
{
  ImNbdTransmission *t = job->t;
  uint64_t offset = job->request.offset + job->done;
  ImNbdItem *item = new_item (job);
  job->done += length;
  item->head_length = im_nbd_put_data (
      item->head, &item->to, job->done == job->request.length, offset, (uint32_t)length);
  item->buffer = buffer;
  item->data = buffer->data;
  item->length = length;
  im_nbd_output_push (&t->output, item);
}

/* A read that was answered as far as the job is. */
static ImNbdJobStep
fail_here (ImNbdJob *job, const GError *error)
{
  ImNbdTransmission *t = job->t;
  ImNbdItem *item = new_item (job);
  item->head_length =
      im_nbd_put_error_at (item->head, &item->to, error_code (&job->request, error),
                           error->message, job->request.offset + job->done);
  im_nbd_output_push (&t->output, item);
  complain (job, error);
  return IM_NBD_JOB_DONE;
}

/* Reads LENGTH bytes from where the job is, and sends them; or as many as there are
 * before some that cannot be read, where the reply may have several chunks. */
static ImNbdJobStep
send_data (ImNbdJob *job, size_t length, bool single)
{
  ImNbdTransmission *t = job->t;
  size_t before;
  g_autoptr (GError) error = NULL;
  ImNbdBuffer *buffer = im_nbd_output_buffer (&t->output, length);
  if (!buffer)
    return fail_for_memory (job);
  if (im_block_pread_part (t->export->block, buffer->data, length,
                           job->request.offset + job->done, &before, &error)) {
    push_data (job, buffer, length);
    return job->done == job->request.length ? IM_NBD_JOB_DONE : IM_NBD_JOB_MORE;
  }
  if (before > 0 && !single)
    push_data (job, buffer, before);
  else
    im_nbd_output_recycle (&t->output, buffer);
  return single ? im_nbd_job_fail (job, error) : fail_here (job, error);
}

/* Sends EXTENTS, which are pinnable, from the chunk engine's memory; else as above: there
 * damage is dealt with. */
static ImNbdJobStep
send_chunks (ImNbdJob *job, const ImExtent *extents, size_t n, size_t length)
{
  ImChunkPin pins[MAP_BATCH];
  ImNbdItem *first = NULL, **end = &first;
  if (!im_block_pin (job->t->export->block, extents, n, pins, NULL))
    return send_data (job, length, false);
  uint64_t offset = job->request.offset + job->done;
  job->done += length;
  bool last = job->done == job->request.length;
  for (size_t i = 0; i < n; i++) {
    ImNbdItem *item = new_item (job);
    if (i == 0)
      item->head_length =
          im_nbd_put_data (item->head, &item->to, last, offset, (uint32_t)length);
    item->pin = pins[i];
    item->data = pins[i].bytes;
    item->length = extents[i].length;
    *end = item;
    end = &item->next;
  }
  im_nbd_output_push (&job->t->output, first);
  return last ? IM_NBD_JOB_DONE : IM_NBD_JOB_MORE;
}

static ImNbdJobStep
send_hole (ImNbdJob *job, uint64_t length)
{
  ImNbdTransmission *t = job->t;
  ImNbdItem *item = new_item (job);
  uint64_t offset = job->request.offset + job->done;
  job->done += length;
  bool last = job->done == job->request.length;
  item->head_length =
      im_nbd_put_hole (item->head, &item->to, last, offset, (uint32_t)length);
  im_nbd_output_push (&t->output, item);
  return last ? IM_NBD_JOB_DONE : IM_NBD_JOB_MORE;
}

/* Cuts EXTENTS after LENGTH bytes, which they have; how many it become. */
static size_t
cut (ImExtent *extents, uint64_t length)
{
  size_t n = 0;
  while (length > extents[n].length)
    length -= extents[n++].length;
  extents[n].length = length;
  return n + 1;
}

/* Sends the next chunk. */
static ImNbdJobStep
read_step (ImNbdJob *job)
{
  const ImNbdRequest *request = &job->request;
  if (im_nbd_read_is_single (job->t, request))
    return send_data (job, (size_t)request->length, true);
  if (im_nbd_output_park (&job->t->output, &job->parked))
    return IM_NBD_JOB_PARKED;
  ImExtent extents[MAP_BATCH];
  size_t n;
  g_autoptr (GError) error = NULL;
  if (!im_nbd_read_map (job->t, request, request->offset + job->done,
                        MIN (request->length - job->done, LOOK_MAX), IM_MAP_WHERE,
                        extents, MAP_BATCH, &n, &error))
    return im_nbd_job_fail (job, error);
  bool hole;
  uint64_t data = im_nbd_read_run (extents, n, 0, IM_NBD_PIECE, &hole);
  if (hole)
    return send_hole (job, extents[0].length);
  n = cut (extents, data);
  return im_extents_are_pinnable (extents, n)
             ? send_chunks (job, extents, n, (size_t)data)
             : send_data (job, (size_t)data, false);
}

/* Sends the status chunk of the context ID. */
static ImNbdJobStep
send_status (ImNbdJob *job, uint32_t id, bool last)
{
  ImNbdTransmission *t = job->t;
  uint32_t n;
  g_autoptr (GError) error = NULL;
  ImNbdBuffer *buffer = im_nbd_output_buffer (&t->output, IM_NBD_PIECE);
  if (!buffer)
    return fail_for_memory (job);
  if (!im_nbd_extents (&t->host->exports->contexts.items[id], t->export->block,
                       t->export->start, &job->request, t->session.mode, buffer->data,
                       buffer->size, &n, &error)) {
    im_nbd_output_recycle (&t->output, buffer);
    return im_nbd_job_fail (job, error);
  }
  ImNbdItem *item = new_item (job);
  item->head_length = im_nbd_put_status (item->head, &item->to, last, id, n);
  item->buffer = buffer;
  item->data = buffer->data;
  item->length = (size_t)n * (t->session.mode == IM_NBD_MODE_EXTENDED ? 16 : 8);
  im_nbd_output_push (&t->output, item);
  return last ? IM_NBD_JOB_DONE : IM_NBD_JOB_MORE;
}

static ImNbdJobStep
status_step (ImNbdJob *job)
{
  ImNbdJobStep step = IM_NBD_JOB_MORE;
  uint32_t left = job->request.contexts;
  for (uint32_t id = 0; step == IM_NBD_JOB_MORE; id++) {
    uint32_t bit = 1u << id;
    if (!(left & bit))
      continue;
    left &= ~bit;
    step = send_status (job, id, left == 0);
  }
  return step;
}

/* Has EXTENT brought nearer; a chunk only where its place cannot be taken by another's
 * bytes meanwhile. */
static void
warm (ImNbdJob *job, const ImExtent *extent)
{
  if (extent->kind == IM_EXTENT_CHUNK && extent->stable)
    im_chunk_engine_prefetch (job->t->export->block->shared->chunks, &extent->chunk);
  else if (extent->kind == IM_EXTENT_FILE && im_file_fd (extent->file) >= 0 &&
           !im_file_is_direct (extent->file))
    posix_fadvise (im_file_fd (extent->file), (off_t)extent->at, (off_t)extent->length,
                   POSIX_FADV_WILLNEED);
}

/* A hint: no more than the longest read is brought nearer. */
static ImNbdJobStep
cache_step (ImNbdJob *job)
{
  uint64_t offset = job->request.offset;
  uint64_t left = MIN (job->request.length, IM_NBD_MAX_BYTES);
  while (left > 0) {
    ImExtent extents[MAP_BATCH];
    size_t n;
    g_autoptr (GError) error = NULL;
    if (!im_block_map (job->t->export->block, offset, left, IM_MAP_WHERE, extents,
                       MAP_BATCH, &n, &error))
      return im_nbd_job_fail (job, error);
    for (size_t i = 0; i < n; i++) {
      warm (job, &extents[i]);
      offset += extents[i].length;
      left -= extents[i].length;
    }
  }
  return im_nbd_job_succeed (job);
}

static ImNbdJobStep
step (ImNbdJob *job)
{
  switch (job->request.type) {
  case IM_NBD_CMD_BLOCK_STATUS:
    return status_step (job);
  case IM_NBD_CMD_CACHE:
    return cache_step (job);
  case IM_NBD_CMD_WRITE:
  case IM_NBD_CMD_WRITE_ZEROES:
  case IM_NBD_CMD_TRIM:
    return im_nbd_job_change (job);
  case IM_NBD_CMD_FLUSH:
    return im_nbd_flush_run (job);
  default:
    return read_step (job);
  }
}

void
im_nbd_job_run (ImNbdJob *job)
{
  ImNbdJobStep result;
  do
    result = step (job);
  while (result == IM_NBD_JOB_MORE);
  /* Once parked it may be running elsewhere already. */
  if (result == IM_NBD_JOB_DONE)
    im_nbd_job_free (job);
  else if (result == IM_NBD_JOB_LATER)
    im_nbd_job_start (job);
}

static void
run_task (ImPoolTask *task)
{
  im_nbd_job_run ((ImNbdJob *)task);
}

static void
job_resume (ImNbdParked *parked)
{
  im_nbd_job_start ((ImNbdJob *)((char *)parked - G_STRUCT_OFFSET (ImNbdJob, parked)));
}

ImNbdJob *
im_nbd_job_new (ImNbdTransmission *t, const ImNbdRequest *request, ImNbdBuffer *payload,
                size_t memory)
{
  ImNbdJob *job = g_new0 (ImNbdJob, 1);
  job->task.run = run_task;
  job->parked.resume = job_resume;
  job->t = t;
  job->request = *request;
  job->payload = payload;
  job->cost = sizeof *job + memory;
  im_nbd_output_begin_work (&t->output, job->cost);
  return job;
}

void
im_nbd_job_start (ImNbdJob *job)
{
  im_pool_submit (job->t->host->pool, &job->task);
}

void
im_nbd_job_free (ImNbdJob *job)
{
  ImNbdOutput *output = &job->t->output;
  size_t cost = job->cost;
  if (job->payload)
    im_nbd_output_recycle (output, job->payload);
  g_free (job);
  im_nbd_output_end_work (output, cost);
}

/* How much memory the reply of REQUEST, or a piece of it, takes. */
static size_t
reply_size (const ImNbdTransmission *t, const ImNbdRequest *request)
{
  switch (request->type) {
  case IM_NBD_CMD_READ:
    return request->length < IM_NBD_PIECE || im_nbd_read_is_single (t, request)
               ? (size_t)request->length
               : IM_NBD_PIECE;
  case IM_NBD_CMD_BLOCK_STATUS:
    return IM_NBD_PIECE;
  default:
    return 0;
  }
}

void
im_nbd_job_submit (ImNbdTransmission *t, const ImNbdRequest *request)
{
  im_nbd_transmit_start (t, im_nbd_job_new (t, request, NULL, reply_size (t, request)));
}
