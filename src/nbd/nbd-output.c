/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The queue of what waits to be sent to one client. */
#include "nbd/nbd-output.h"
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/eventfd.h>

/* Pieces of memory given to the kernel in one call. */
#define IOV_MAX_SENT 64

/* Stands for what could not be read of a file. */
static const uint8_t zeros[64 << 10];

static void
lock (ImNbdOutput *output)
{
  pthread_mutex_lock (&output->lock);
}

static void
unlock (ImNbdOutput *output)
{
  pthread_mutex_unlock (&output->lock);
}

void
im_nbd_output_init (ImNbdOutput *output, ImNbdStream *stream, int wake_fd,
                    ImNbdBudget *budget)
{
  *output = (ImNbdOutput){.stream = stream,
                          .wake_fd = wake_fd,
                          .budget = budget,
                          .spares = {.kept = &budget->kept}};
  output->end = &output->first;
  pthread_mutex_init (&output->lock, NULL);
}

static void
charge_locked (ImNbdOutput *output, size_t cost)
{
  output->charged += cost;
  atomic_fetch_add_explicit (&output->budget->in_flight, cost, memory_order_relaxed);
}

static void
release_locked (ImNbdOutput *output, size_t cost)
{
  output->charged -= cost;
  atomic_fetch_sub_explicit (&output->budget->in_flight, cost, memory_order_relaxed);
}

static size_t
item_cost (const ImNbdItem *item)
{
  return sizeof *item + (item->buffer      ? item->buffer->size
                         : item->pin.chunk ? item->length
                                           : 0);
}

static void
drop_first_locked (ImNbdOutput *output)
{
  ImNbdItem *item = output->first;
  output->first = item->next;
  if (!output->first)
    output->end = &output->first;
  output->queued -= item->length;
  release_locked (output, item_cost (item));
  im_nbd_spares_give (&output->spares, item->buffer);
  if (item->pin.chunk)
    im_chunk_unpin (&item->pin);
  item->next = output->spare_items;
  output->spare_items = item;
}

void
im_nbd_output_clear (ImNbdOutput *output)
{
  /* The last worker may still be on its way out of the lock. */
  lock (output);
  unlock (output);
  while (output->first)
    drop_first_locked (output);
  while (output->spare_items) {
    ImNbdItem *item = output->spare_items;
    output->spare_items = item->next;
    g_free (item);
  }
  im_nbd_spares_clear (&output->spares);
  pthread_mutex_destroy (&output->lock);
}

ImNbdItem *
im_nbd_output_item (ImNbdOutput *output)
{
  lock (output);
  ImNbdItem *item = output->spare_items;
  if (item)
    output->spare_items = item->next;
  unlock (output);
  if (!item)
    item = g_new (ImNbdItem, 1);
  *item = (ImNbdItem){.file_fd = -1};
  return item;
}

ImNbdBuffer *
im_nbd_output_buffer (ImNbdOutput *output, size_t size)
{
  ImNbdBuffer *buffer = NULL;
  size = im_nbd_spares_size (size);
  if (size >= IM_NBD_PIECE) {
    lock (output);
    buffer = im_nbd_spares_take (&output->spares, size);
    unlock (output);
  }
  return buffer ? buffer : im_nbd_buffer_new (size);
}

void
im_nbd_output_recycle (ImNbdOutput *output, ImNbdBuffer *buffer)
{
  lock (output);
  im_nbd_spares_give (&output->spares, buffer);
  unlock (output);
}

void
im_nbd_output_recycle_all (ImNbdOutput *output, ImNbdBuffer *buffers)
{
  while (buffers) {
    ImNbdBuffer *next = buffers->next;
    im_nbd_output_recycle (output, buffers);
    buffers = next;
  }
}

static void
wake_reader (ImNbdOutput *output)
{
  eventfd_write (output->wake_fd, 1);
}

/* Takes the parked work that may go on, for resume_all once the lock is released. */
static ImNbdParked *
take_parked_locked (ImNbdOutput *output)
{
  ImNbdParked *parked = NULL;
  if (output->broken || output->queued <= IM_NBD_QUEUE_LOW) {
    parked = output->parked;
    output->parked = NULL;
  }
  return parked;
}

static void
resume_all (ImNbdParked *parked)
{
  while (parked) {
    ImNbdParked *next = parked->next;
    parked->resume (parked);
    parked = next;
  }
}

/* The bodies in memory at the queue's beginning, up to the first in a file. */
static size_t
gather_locked (ImNbdOutput *output, struct iovec *iov, bool *ret_file_next)
{
  size_t n = 0;
  *ret_file_next = false;
  for (ImNbdItem *item = output->first; item && n + 2 <= IOV_MAX_SENT;
       item = item->next) {
    size_t sent = item->sent;
    if (sent < item->head_length) {
      iov[n++] = (struct iovec){item->head + sent, item->head_length - sent};
      sent = item->head_length;
    }
    if (item->length == 0)
      continue;
    if (item->file_fd >= 0) {
      *ret_file_next = true;
      break;
    }
    size_t at = sent - item->head_length, left = item->length - at;
    if (item->data)
      iov[n++] = (struct iovec){(uint8_t *)item->data + at, left};
    else /* a file's, unreadable: padding, as much as goes in one call */
      iov[n++] = (struct iovec){(uint8_t *)zeros, MIN (left, sizeof zeros)};
    if (!item->data && left > sizeof zeros)
      break;
  }
  return n;
}

static void
advance_locked (ImNbdOutput *output, size_t n)
{
  while (output->first) {
    ImNbdItem *item = output->first;
    size_t left = item->head_length + item->length - item->sent;
    if (n < left) {
      item->sent += n;
      return;
    }
    n -= left;
    drop_first_locked (output);
  }
}

static void
break_locked (ImNbdOutput *output)
{
  output->broken = true;
  output->blocked = false;
  im_nbd_stream_cut (output->stream); /* the reader shall notice */
  while (output->first)
    drop_first_locked (output);
}

/* The first item's file could not be read.  Its chunk has been promised already: zeros
 * fill it, and the run ends in an error.  A simple reply has no place for one. */
static void
fail_run_locked (ImNbdOutput *output)
{
  ImNbdItem *item = output->first;
  if (item->to.mode == IM_NBD_MODE_SIMPLE) {
    break_locked (output);
    return;
  }
  for (; !item->ends_run; item = item->next)
    item->file_fd = -1;
  item->head_length =
      im_nbd_put_error (item->head, &item->to, IM_NBD_EIO, "the image could not be read");
}

/* What a send of RESULT bytes, or the errno ERRNUM, means.  False: no more for now. */
static bool
account_locked (ImNbdOutput *output, ssize_t result, int errnum, bool from_file)
{
  bool clients = errnum == EAGAIN || errnum == EPIPE || errnum == ECONNRESET;
  if (output->broken)
    break_locked (output);
  else if (result > 0)
    advance_locked (output, (size_t)result);
  else if (from_file && (result == 0 || !clients))
    fail_run_locked (output);
  else if (result < 0 && errnum == EAGAIN)
    output->blocked = true;
  else
    break_locked (output);
  return !output->blocked && !output->broken;
}

/* Sends once from the queue, which is not empty; the lock is released meanwhile. */
static bool
send_some_locked (ImNbdOutput *output)
{
  struct iovec iov[IOV_MAX_SENT];
  bool file_next;
  size_t n = gather_locked (output, iov, &file_next);
  ImNbdItem *item = output->first;
  bool from_file = n == 0;
  ssize_t result;
  unlock (output);
  if (from_file) {
    size_t at = item->sent - item->head_length;
    result = im_nbd_stream_send_file (output->stream, item->file_fd, item->file_at + at,
                                      item->length - at);
  } else {
    result = im_nbd_stream_send (output->stream, iov, n, file_next);
  }
  int errnum = result < 0 ? errno : 0;
  lock (output);
  return account_locked (output, result, errnum, from_file);
}

/* Takes the turn unless someone has it, and sends. */
static void
pump_locked (ImNbdOutput *output)
{
  if (output->sending)
    return;
  output->sending = true;
  output->blocked = false;
  while (output->first && send_some_locked (output))
    continue;
  output->sending = false;
  if (output->sleep == IM_NBD_SLEEPS_FOR_ANY ||
      (output->sleep == IM_NBD_SLEEPS_FOR_ROOM && output->blocked))
    wake_reader (output);
}

void
im_nbd_output_push (ImNbdOutput *output, ImNbdItem *items)
{
  lock (output);
  bool was_blocked = output->blocked;
  *output->end = items;
  for (; items; items = items->next) {
    output->queued += items->length;
    charge_locked (output, item_cost (items));
    output->end = &items->next;
  }
  if (output->broken && !output->sending)
    break_locked (output);
  else if (!was_blocked)
    pump_locked (output);
  ImNbdParked *parked = take_parked_locked (output);
  unlock (output);
  resume_all (parked);
}

void
im_nbd_output_pump (ImNbdOutput *output)
{
  lock (output);
  pump_locked (output);
  ImNbdParked *parked = take_parked_locked (output);
  unlock (output);
  resume_all (parked);
}

size_t
im_nbd_output_send_now (ImNbdOutput *output, const uint8_t *data, size_t length)
{
  struct iovec iov = {(uint8_t *)data, length};
  if (output->broken)
    return length;
  ssize_t n = im_nbd_stream_send (output->stream, &iov, 1, false);
  if (n >= 0)
    return (size_t)n;
  if (errno == EAGAIN)
    return 0;
  lock (output);
  break_locked (output);
  unlock (output);
  return length;
}

bool
im_nbd_output_park (ImNbdOutput *output, ImNbdParked *parked)
{
  lock (output);
  bool full = !output->broken && output->queued >= IM_NBD_QUEUE_HIGH;
  if (full) {
    parked->next = output->parked;
    output->parked = parked;
  }
  unlock (output);
  return full;
}

void
im_nbd_output_begin_work (ImNbdOutput *output, size_t cost)
{
  lock (output);
  charge_locked (output, cost);
  atomic_fetch_add_explicit (&output->working, 1, memory_order_relaxed);
  unlock (output);
}

void
im_nbd_output_end_work (ImNbdOutput *output, size_t cost)
{
  lock (output);
  release_locked (output, cost);
  if (output->sleep == IM_NBD_SLEEPS_FOR_ANY)
    wake_reader (output);
  atomic_fetch_sub_explicit (&output->working, 1, memory_order_release);
  unlock (output);
}

bool
im_nbd_output_is_over_budget (ImNbdOutput *output)
{
  if (im_nbd_output_is_idle (output))
    return false;
  lock (output);
  unsigned working = atomic_load_explicit (&output->working, memory_order_relaxed);
  size_t total = atomic_load_explicit (&output->budget->in_flight, memory_order_relaxed);
  bool under_way = working > 0 || output->first;
  bool over = output->queued >= IM_NBD_QUEUE_MAX ||
              output->charged >= IM_NBD_MEMORY_MAX || total >= IM_NBD_TOTAL_MAX ||
              working >= IM_NBD_WORK_MAX;
  unlock (output);
  return under_way && over;
}

bool
im_nbd_output_set_sleep (ImNbdOutput *output, ImNbdSleep sleep)
{
  lock (output);
  output->sleep = sleep;
  bool blocked = output->blocked;
  unlock (output);
  return blocked;
}
