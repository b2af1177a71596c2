/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds sequential readers of a block and decodes ahead of them on the pool. */
#include "block/read-ahead.h"
#include "base/bytes.h"

#include <pthread.h>

enum {
  STREAMS = 8, /* sequential readers told apart at one time */
  /* So many requests may be on their way at a time and come in any order. */
  IN_FLIGHT = 16,
  SLACK_MAX = 8 << 20, /* bytes that they lie apart */
  WINDOW = 8 << 20,    /* bytes decoded ahead of a stream, of a large cache */
  TRUST = 4,           /* no more is, than so many times what the stream has read */
  PIECE = 128 << 10    /* bytes that one task decodes */
};

/* One sequential reader; next == 0: free. */
typedef struct {
  uint64_t next;  /* where its last read ended */
  uint64_t ahead; /* up to where decoding was asked for */
  uint64_t read;  /* bytes; two random reads may happen to lie side by side */
  uint64_t used;  /* when, in notes */
} Stream;

struct ImReadAhead {
  pthread_mutex_t mutex; /* guards all below */
  uint64_t clock;
  Stream streams[STREAMS];
};

/* Decoding [offset, end) of a block, on the pool. */
typedef struct {
  ImPoolTask task;
  ImBlock *block; /* a reference */
  uint64_t offset, end;
} Prefetch;

static void
prefetch_run (ImPoolTask *task)
{
  Prefetch *prefetch = (Prefetch *)task;
  ImBlock *block = prefetch->block;
  ImExtent extents[16];
  size_t n;
  for (uint64_t at = prefetch->offset; at < prefetch->end;) {
    if (!im_block_map (block, at, prefetch->end - at, IM_MAP_WHERE, extents,
                       G_N_ELEMENTS (extents), &n, NULL))
      break;
    for (size_t i = 0; i < n; i++)
      if (extents[i].kind == IM_EXTENT_CHUNK)
        im_chunk_engine_prefetch (block->shared->chunks, &extents[i].chunk);
    at = extents[n - 1].offset + extents[n - 1].length;
  }
  im_block_unref (block);
  g_free (prefetch);
}

static ImReadAhead *
get_read_ahead (ImBlock *block)
{
  ImReadAhead *found = atomic_load (&block->read_ahead);
  if (found)
    return found;
  ImReadAhead *made = g_new0 (ImReadAhead, 1);
  pthread_mutex_init (&made->mutex, NULL);
  if (atomic_compare_exchange_strong (&block->read_ahead, &found, made))
    return made;
  im_read_ahead_free (made);
  return found;
}

void
im_read_ahead_free (ImReadAhead *read_ahead)
{
  if (!read_ahead)
    return;
  pthread_mutex_destroy (&read_ahead->mutex);
  g_free (read_ahead);
}

/* The stream that a read of [OFFSET, END) carries on, or else the least recently used
 * one, to begin anew; *ret_known tells which. */
static Stream *
find_stream (ImReadAhead *read_ahead, uint64_t offset, uint64_t end, bool *ret_known)
{
  uint64_t slack = im_min (SLACK_MAX, (end - offset) * IN_FLIGHT);
  Stream *oldest = &read_ahead->streams[0];
  for (unsigned i = 0; i < STREAMS; i++) {
    Stream *stream = &read_ahead->streams[i];
    uint64_t away = offset > stream->next ? offset - stream->next : stream->next - offset;
    if (stream->next != 0 && away <= slack) {
      *ret_known = true;
      return stream;
    }
    if (stream->used < oldest->used)
      oldest = stream;
  }
  *ret_known = false;
  return oldest;
}

/* Notes the read and returns what to decode now: [*ret_from, the result). */
static uint64_t
plan (ImReadAhead *read_ahead, uint64_t offset, uint64_t end, uint64_t size,
      uint64_t window, uint64_t *ret_from)
{
  bool known;
  pthread_mutex_lock (&read_ahead->mutex);
  Stream *stream = find_stream (read_ahead, offset, end, &known);
  stream->used = ++read_ahead->clock;
  stream->read += end - offset;
  uint64_t from = 0, to = 0;
  if (!known) {
    *stream =
        (Stream){.next = end, .ahead = end, .read = end - offset, .used = stream->used};
  } else if (end > stream->next) {
    stream->next = end;
    from = im_max (stream->ahead, end);
    to = im_min (end + im_min (window, stream->read * TRUST), size);
    /* Only when a good part of the window is free, so that tasks are of a useful size. */
    if (to < size && to < from + PIECE)
      to = from;
    stream->ahead = im_max (from, to);
  }
  pthread_mutex_unlock (&read_ahead->mutex);
  *ret_from = from;
  return to;
}

void
im_read_ahead_note (ImBlock *block, uint64_t offset, uint64_t length)
{
  ImChunkEngine *chunks = block->shared->chunks;
  ImPool *pool = im_chunk_engine_pool (chunks);
  /* No more than will still be there when the reader comes to it. */
  uint64_t window = im_min (WINDOW, im_chunk_engine_budget (chunks) / STREAMS);
  if (!pool || window < PIECE)
    return;
  uint64_t from;
  uint64_t to =
      plan (get_read_ahead (block), offset, offset + length, block->size, window, &from);
  while (from < to) {
    Prefetch *prefetch = g_new (Prefetch, 1);
    *prefetch = (Prefetch){.task.run = prefetch_run,
                           .block = im_block_ref (block),
                           .offset = from,
                           .end = im_min (from + PIECE, to)};
    from = prefetch->end;
    im_pool_submit (pool, &prefetch->task);
  }
}
