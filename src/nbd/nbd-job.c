/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that may have to wait for a device or a decoder, worked on in the pool.  A job
 * waits for the image, never for the client: a large read leaves in pieces, and where the
 * client does not take them it is parked until there is room. */
#include "base/error.h"
#include "base/log.h"
#include "nbd/nbd-meta.h"
#include "nbd/nbd-transmit.h"
#include <fcntl.h>

/* Extents asked for at once. */
#define MAP_BATCH 64

/* Failures of one connection that are worth a line each. */
#define FAILURES_LOGGED 16

typedef struct {
  ImPoolTask task;
  ImNbdParked parked;
  ImNbdTransmission *t;
  ImNbdRequest request;
  uint64_t done; /* READ: bytes that have left */
  size_t cost;
} Job;

/* What became of a step. */
typedef enum { STEP_MORE, STEP_DONE, STEP_PARKED } Step;

/* Answers with ERROR, and says so in the log. */
static Step
fail (Job *job, const GError *error)
{
  ImNbdTransmission *t = job->t;
  ImNbdItem *item = im_nbd_output_item (&t->output);
  item->to = im_nbd_reply_to (&t->session, &job->request);
  item->head_length = im_nbd_put_error (
      item->head, &item->to, im_nbd_error_from_errno (im_error_to_errno (error)),
      error->message);
  im_nbd_output_push (&t->output, item);
  if (atomic_fetch_add_explicit (&t->failures, 1, memory_order_relaxed) < FAILURES_LOGGED)
    im_log_warning (
        "nbd: %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT " of \"%s\": %s",
        job->request.length, job->request.offset, t->export->name, error->message);
  return STEP_DONE;
}

static Step
fail_for_memory (Job *job)
{
  g_autoptr (GError) error = NULL;
  im_set_errno (&error, ENOMEM, "reply");
  return fail (job, error);
}

/* Reads LENGTH bytes from where the job is, and sends them. */
static Step
send_data (Job *job, size_t length)
{
  ImNbdTransmission *t = job->t;
  uint64_t offset = job->request.offset + job->done;
  g_autoptr (GError) error = NULL;
  ImNbdBuffer *buffer = im_nbd_output_buffer (&t->output, length);
  if (!buffer)
    return fail_for_memory (job);
  if (!im_block_pread (t->export->block, buffer->data, length, offset, &error)) {
    im_nbd_output_recycle (&t->output, buffer);
    return fail (job, error);
  }
  job->done += length;
  bool last = job->done == job->request.length;
  ImNbdItem *item = im_nbd_output_item (&t->output);
  item->to = im_nbd_reply_to (&t->session, &job->request);
  item->head_length =
      im_nbd_put_data (item->head, &item->to, last, offset, (uint32_t)length);
  item->buffer = buffer;
  item->data = buffer->data;
  item->length = length;
  im_nbd_output_push (&t->output, item);
  return last ? STEP_DONE : STEP_MORE;
}

static Step
send_hole (Job *job, uint64_t length)
{
  ImNbdTransmission *t = job->t;
  ImNbdItem *item = im_nbd_output_item (&t->output);
  uint64_t offset = job->request.offset + job->done;
  job->done += length;
  bool last = job->done == job->request.length;
  item->to = im_nbd_reply_to (&t->session, &job->request);
  item->head_length =
      im_nbd_put_hole (item->head, &item->to, last, offset, (uint32_t)length);
  im_nbd_output_push (&t->output, item);
  return last ? STEP_DONE : STEP_MORE;
}

/* Sends the next chunk. */
static Step
read_step (Job *job)
{
  const ImNbdRequest *request = &job->request;
  if (im_nbd_read_is_single (job->t, request))
    return send_data (job, (size_t)request->length);
  if (im_nbd_output_park (&job->t->output, &job->parked))
    return STEP_PARKED;
  ImExtent extents[MAP_BATCH];
  size_t n;
  g_autoptr (GError) error = NULL;
  uint64_t left = request->length - job->done;
  if (!im_block_map (job->t->export->block, request->offset + job->done, left,
                     IM_MAP_WHERE, extents, MAP_BATCH, &n, &error))
    return fail (job, error);
  bool hole;
  uint64_t data = im_nbd_read_run (extents, n, 0, IM_NBD_PIECE, &hole);
  return hole ? send_hole (job, extents[0].length) : send_data (job, (size_t)data);
}

/* Sends the status chunk of the context ID. */
static Step
send_status (Job *job, uint32_t id, bool last)
{
  ImNbdTransmission *t = job->t;
  uint32_t n;
  g_autoptr (GError) error = NULL;
  ImNbdBuffer *buffer = im_nbd_output_buffer (&t->output, IM_NBD_PIECE);
  if (!buffer)
    return fail_for_memory (job);
  if (!im_nbd_extents (t->export->block, &job->request, t->session.mode, id, buffer->data,
                       buffer->size, &n, &error)) {
    im_nbd_output_recycle (&t->output, buffer);
    return fail (job, error);
  }
  ImNbdItem *item = im_nbd_output_item (&t->output);
  item->to = im_nbd_reply_to (&t->session, &job->request);
  item->head_length = im_nbd_put_status (item->head, &item->to, last, id, n);
  item->buffer = buffer;
  item->data = buffer->data;
  item->length = (size_t)n * (t->session.mode == IM_NBD_MODE_EXTENDED ? 16 : 8);
  im_nbd_output_push (&t->output, item);
  return last ? STEP_DONE : STEP_MORE;
}

static Step
status_step (Job *job)
{
  Step step = STEP_MORE;
  uint32_t left = job->request.contexts;
  for (uint32_t id = 0; step == STEP_MORE; id++) {
    uint32_t bit = 1u << id;
    if (!(left & bit))
      continue;
    left &= ~bit;
    step = send_status (job, id, left == 0);
  }
  return step;
}

/* Has LENGTH bytes of extents brought nearer. */
static void
warm (Job *job, const ImExtent *extent)
{
  if (extent->kind == IM_EXTENT_CHUNK)
    im_chunk_engine_prefetch (job->t->export->block->shared->chunks, &extent->chunk);
  else if (extent->kind == IM_EXTENT_FILE && im_file_fd (extent->file) >= 0)
    posix_fadvise (im_file_fd (extent->file), (off_t)extent->at, (off_t)extent->length,
                   POSIX_FADV_WILLNEED);
}

/* A hint: no more than the longest read is brought nearer. */
static Step
cache_step (Job *job)
{
  uint64_t offset = job->request.offset;
  uint64_t left = MIN (job->request.length, IM_NBD_MAX_BYTES);
  while (left > 0) {
    ImExtent extents[MAP_BATCH];
    size_t n;
    g_autoptr (GError) error = NULL;
    if (!im_block_map (job->t->export->block, offset, left, IM_MAP_WHERE, extents,
                       MAP_BATCH, &n, &error))
      return fail (job, error);
    for (size_t i = 0; i < n; i++) {
      warm (job, &extents[i]);
      offset += extents[i].length;
      left -= extents[i].length;
    }
  }
  ImNbdItem *item = im_nbd_output_item (&job->t->output);
  item->to = im_nbd_reply_to (&job->t->session, &job->request);
  item->head_length = im_nbd_put_success (item->head, &item->to);
  im_nbd_output_push (&job->t->output, item);
  return STEP_DONE;
}

static Step
step (Job *job)
{
  switch (job->request.type) {
  case IM_NBD_CMD_BLOCK_STATUS:
    return status_step (job);
  case IM_NBD_CMD_CACHE:
    return cache_step (job);
  default:
    return read_step (job);
  }
}

static void
job_run (ImPoolTask *task)
{
  Job *job = (Job *)task;
  Step result;
  do
    result = step (job);
  while (result == STEP_MORE);
  /* Once parked it may be running elsewhere already. */
  if (result == STEP_PARKED)
    return;
  ImNbdOutput *output = &job->t->output;
  size_t cost = job->cost;
  g_free (job);
  im_nbd_output_end_work (output, cost);
}

static void
job_resume (ImNbdParked *parked)
{
  Job *job = (Job *)((char *)parked - G_STRUCT_OFFSET (Job, parked));
  im_pool_submit (job->t->host->pool, &job->task);
}

void
im_nbd_job_submit (ImNbdTransmission *t, const ImNbdRequest *request)
{
  Job *job = g_new0 (Job, 1);
  job->task.run = job_run;
  job->parked.resume = job_resume;
  job->t = t;
  job->request = *request;
  uint64_t cost = IM_NBD_PIECE;
  if (request->type == IM_NBD_CMD_READ &&
      (request->length < cost || im_nbd_read_is_single (t, request)))
    cost = request->length;
  job->cost = sizeof *job + (size_t)cost;
  im_nbd_output_begin_work (&t->output, job->cost);
  im_pool_submit (t->host->pool, &job->task);
}
