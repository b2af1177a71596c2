/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads that the reader answers itself, because nothing in them can block:
 *
 *   small           copied behind its head into the batch
 *   large           files sent from the page cache, decoded chunks from the chunk
 * engine's memory, zeros as holes (not by TLS) large           copied into a buffer of
 * its own
 *
 * and whatever fails to be one of these goes to the pool. */
#include "nbd/nbd-transmit.h"

/* Up to here a copy into the batch is the cheapest. */
#define SMALL_MAX (32u << 10)

/* Zeros from here on are worth a chunk of their own, which costs the client a round of
 * its loop. */
#define HOLE_MIN (32u << 10)

/* How far ahead holes are looked for. */
#define LEARN_MAX (16u << 20)

/* More pieces than this, and copying is as good. */
#define EXTENTS_MAX IM_PINS_MAX

static bool
is_known (const ImNbdKnown *known, uint64_t offset, uint64_t length)
{
  uint64_t from = atomic_load_explicit (&known->from, memory_order_relaxed);
  uint64_t to = atomic_load_explicit (&known->to, memory_order_relaxed);
  return offset >= from && offset - from <= to - from &&
         length <= to - from - (offset - from);
}

/* Finds out how far the data at OFFSET goes, which may be farther than one request: who
 * reads on need not look each time.  Failures come again. */
static void
learn (ImNbdTransmission *t, uint64_t offset, ImMapFlags flags)
{
  ImBlock *block = t->export->block;
  uint64_t length = MIN (block->size - offset, LEARN_MAX);
  ImExtent extent;
  size_t n;
  if (!im_block_map (block, offset, length, flags | IM_MAP_ZEROES, &extent, 1, &n,
                     NULL) ||
      extent.kind == IM_EXTENT_ZERO)
    return;
  atomic_store_explicit (&t->known.from, offset, memory_order_relaxed);
  atomic_store_explicit (&t->known.to, offset + extent.length, memory_order_relaxed);
}

/* Whether one of the extents may have a hole beneath it that is worth a chunk. */
static bool
may_have_hole (const ImExtent *extents, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (extents[i].kind == IM_EXTENT_FILE && !extents[i].crypt &&
        extents[i].length >= HOLE_MIN && im_file_is_sparse (extents[i].file))
      return true;
  return false;
}

bool
im_nbd_read_map (ImNbdTransmission *t, const ImNbdRequest *request, uint64_t offset,
                 uint64_t length, ImMapFlags flags, ImExtent *extents, size_t n,
                 size_t *ret_n, GError **error)
{
  ImBlock *block = t->export->block;
  if (!im_block_map (block, offset, length, flags, extents, n, ret_n, error))
    return false;
  if (im_nbd_read_is_single (t, request) || is_known (&t->known, offset, length) ||
      !may_have_hole (extents, *ret_n))
    return true;
  learn (t, offset, flags);
  return is_known (&t->known, offset, length) ||
         im_block_map (block, offset, length, flags | IM_MAP_ZEROES, extents, n, ret_n,
                       error);
}

uint64_t
im_nbd_read_run (const ImExtent *extents, size_t n, uint64_t first, uint64_t max,
                 bool *ret_hole)
{
  uint64_t length = 0;
  *ret_hole = false;
  for (size_t i = 0; i < n && length < max; i++) {
    uint64_t left = extents[i].length - (i == 0 ? first : 0);
    bool hole = extents[i].kind == IM_EXTENT_ZERO && left >= HOLE_MIN;
    if (i == 0)
      *ret_hole = hole;
    else if (hole || *ret_hole)
      break;
    length += left;
  }
  return MIN (length, max);
}

/* Can this be sent from where it is?  Of chunks that is only known when they are pinned.
 */
static bool
is_sendable (const ImExtent *extent)
{
  return extent->kind == IM_EXTENT_ZERO || im_extents_are_pinnable (extent, 1) ||
         im_extent_is_in_page_cache (extent);
}

/* Maps all of REQUEST into sendable extents; 0: it cannot be. */
static size_t
map_sendable (ImNbdTransmission *t, const ImNbdRequest *request, ImExtent *extents)
{
  size_t n;
  g_autoptr (GError) error = NULL;
  if (!im_nbd_read_map (t, request, request->offset, request->length, IM_MAP_NOWAIT,
                        extents, EXTENTS_MAX, &n, &error))
    return 0;
  const ImExtent *last = &extents[n - 1];
  if (last->offset + last->length != request->offset + request->length ||
      n > 1 + request->length / SMALL_MAX)
    return 0;
  for (size_t i = 0; i < n; i++)
    if (!is_sendable (&extents[i]))
      return 0;
  return n;
}

/* Pins those of EXTENTS that are in chunks, if that needs no waiting.  False: nothing is
 * pinned. */
static bool
pin_chunks (ImBlock *block, const ImExtent *extents, size_t n, ImChunkPin *ret_pins)
{
  bool all = true;
  for (size_t i = 0; i < n; i++)
    ret_pins[i] = (ImChunkPin){.chunk = NULL};
  for (size_t i = 0, end; i < n && all; i = end) {
    for (end = i; end < n && extents[end].kind == IM_EXTENT_CHUNK;)
      end++;
    all = end == i || im_block_pin_nowait (block, &extents[i], end - i, &ret_pins[i]);
    end += end == i;
  }
  for (size_t i = 0; i < n && !all; i++)
    if (ret_pins[i].chunk)
      im_chunk_unpin (&ret_pins[i]);
  return all;
}

/* Replies to one request, as they are put in a row. */
typedef struct {
  ImNbdTransmission *t;
  const ImNbdRequest *request;
  const ImExtent *extents;
  ImChunkPin *pins; /* of EXTENTS; they become the items' */
  ImNbdItem *first, *last;
} ItemRow;

static ImNbdItem *
add_item (ItemRow *row)
{
  ImNbdItem *item = im_nbd_output_item (&row->t->output);
  item->to = im_nbd_reply_to (&row->t->session, row->request);
  if (row->last)
    row->last->next = item;
  else
    row->first = item;
  row->last = item;
  return item;
}

/* A chunk whose parts go in several items is the last one's, which leaves last. */
static void
add_chunk (ItemRow *row, ImNbdItem *item, const ImExtent *extent, uint64_t within)
{
  ImChunkPin *pin = &row->pins[extent - row->extents];
  item->data = pin->bytes + within;
  if (within + item->length < extent->length)
    return;
  item->pin = *pin;
  *pin = (ImChunkPin){.chunk = NULL};
}

/* The next LENGTH bytes from EXTENT, WITHIN bytes into it. */
static void
add_body (ItemRow *row, ImNbdItem *item, const ImExtent *extent, uint64_t within,
          uint64_t length)
{
  if (!item)
    item = add_item (row);
  item->length = (size_t)length;
  if (extent->kind == IM_EXTENT_CHUNK)
    add_chunk (row, item, extent, within);
  if (extent->kind != IM_EXTENT_FILE)
    return; /* or zeros */
  item->file_fd = im_file_fd (extent->file);
  item->file_at = extent->at + within;
}

/* Adds a chunk of LENGTH bytes of data that begins WITHIN bytes into *extent, and moves
 * both behind it. */
static void
add_data (ItemRow *row, const ImExtent **extent, uint64_t *within, uint64_t length)
{
  ImNbdItem *item = add_item (row);
  item->head_length = im_nbd_put_data (item->head, &item->to, false,
                                       (*extent)->offset + *within, (uint32_t)length);
  while (length > 0) {
    uint64_t n = MIN (length, (*extent)->length - *within);
    add_body (row, item, *extent, *within, n);
    item = NULL;
    length -= n;
    *within += n;
    if (*within == (*extent)->length) {
      (*extent)++;
      *within = 0;
    }
  }
}

static void
add_hole (ItemRow *row, const ImExtent **extent, uint64_t *within, uint64_t length)
{
  ImNbdItem *item = add_item (row);
  item->head_length = im_nbd_put_hole (item->head, &item->to, false,
                                       (*extent)->offset + *within, (uint32_t)length);
  (*extent)++;
  *within = 0;
}

static bool
read_in_place (ImNbdTransmission *t, const ImNbdRequest *request)
{
  ImExtent extents[EXTENTS_MAX];
  ImChunkPin pins[EXTENTS_MAX];
  size_t n = map_sendable (t, request, extents);
  if (n == 0 || !pin_chunks (t->export->block, extents, n, pins))
    return false;
  ItemRow row = {.t = t, .request = request, .extents = extents, .pins = pins};
  const ImExtent *extent = extents, *end = extents + n;
  uint64_t within = 0;
  if (im_nbd_read_is_single (t, request))
    add_data (&row, &extent, &within, request->length);
  while (extent < end) {
    bool hole;
    uint64_t length =
        im_nbd_read_run (extent, (size_t)(end - extent), within, IM_NBD_PIECE, &hole);
    if (hole)
      add_hole (&row, &extent, &within, extent->length - within);
    else
      add_data (&row, &extent, &within, length);
  }
  /* A simple reply ends with its data, and has no place for an error after them. */
  if (t->session.mode != IM_NBD_MODE_SIMPLE) {
    ImNbdItem *item = add_item (&row);
    item->head_length = im_nbd_put_success (item->head, &item->to);
  }
  row.last->ends_run = true;
  im_nbd_transmit_flush (t);
  im_nbd_output_push (&t->output, row.first);
  return true;
}

static bool
read_small (ImNbdTransmission *t, const ImNbdRequest *request)
{
  ImNbdReplyTo to = im_nbd_reply_to (&t->session, request);
  uint8_t *p = im_nbd_transmit_room (t, IM_NBD_HEAD_MAX + (size_t)request->length);
  if (!p)
    return true;
  size_t head = request->length > 0 ? im_nbd_put_data (p, &to, true, request->offset,
                                                       (uint32_t)request->length)
                                    : im_nbd_put_success (p, &to);
  if (request->length > 0 &&
      !im_block_pread_nowait (t->export->block, p + head, (size_t)request->length,
                              request->offset))
    return false;
  t->batch_used += head + (size_t)request->length;
  return true;
}

/* Whether a job would send part of REQUEST as a hole. */
static bool
has_hole (ImNbdTransmission *t, const ImNbdRequest *request)
{
  ImExtent extents[EXTENTS_MAX];
  size_t n;
  g_autoptr (GError) error = NULL;
  if (im_nbd_read_is_single (t, request) ||
      !im_nbd_read_map (t, request, request->offset, request->length, IM_MAP_NOWAIT,
                        extents, EXTENTS_MAX, &n, &error))
    return false;
  for (size_t i = 0; i < n; i++)
    if (extents[i].kind == IM_EXTENT_ZERO && extents[i].length >= HOLE_MIN)
      return true;
  return false;
}

static bool
read_large (ImNbdTransmission *t, const ImNbdRequest *request)
{
  size_t length = (size_t)request->length;
  if (has_hole (t, request))
    return false;
  ImNbdBuffer *buffer = im_nbd_output_buffer (&t->output, length);
  if (!buffer)
    return false;
  if (!im_block_pread_nowait (t->export->block, buffer->data, length, request->offset)) {
    im_nbd_output_recycle (&t->output, buffer);
    return false;
  }
  ImNbdItem *item = im_nbd_output_item (&t->output);
  item->to = im_nbd_reply_to (&t->session, request);
  item->head_length =
      im_nbd_put_data (item->head, &item->to, true, request->offset, (uint32_t)length);
  item->buffer = buffer;
  item->data = buffer->data;
  item->length = length;
  im_nbd_transmit_flush (t);
  im_nbd_output_push (&t->output, item);
  return true;
}

void
im_nbd_read (ImNbdTransmission *t, const ImNbdRequest *request)
{
  bool done;
  if (request->length < SMALL_MAX)
    done = read_small (t, request);
  else
    done = (t->input->stream.can_send_files && read_in_place (t, request)) ||
           (request->length <= IM_NBD_PIECE && read_large (t, request));
  if (!done)
    im_nbd_job_submit (t, request);
}
