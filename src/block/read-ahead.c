/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds sequential readers of a block and decodes ahead of them on the pool. */
#include "block/read-ahead.h"
#include "base/bytes.h"

#include <pthread.h>

enum {
  STREAMS = 8, /* sequential readers told apart at one time */
  /* So many requests may be on their way at a time and come in any order. */
  IN_FLIGHT = 64,
  SLACK_MAX = 32 << 20, /* bytes that they lie apart */
  WINDOW = 8 << 20,     /* bytes decoded ahead of a stream, of a large cache */
  TRUST = 4,            /* no more is, than so many times what the stream has read */
  PIECE = 128 << 10     /* bytes that one task decodes */
};

/* One sequential reader; next == 0: free. */
typedef struct {
  uint64_t begun; /* its name: when, in notes */
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
  uint64_t stream; /* whose it is */
} Prefetch;

/* Has whom PREFETCH is for come past it, or gone elsewhere?  What it still lacks it
 * decodes itself by now. */
static bool
is_late (ImReadAhead *read_ahead, const Prefetch *prefetch)
{
  bool late = true;
  pthread_mutex_lock (&read_ahead->mutex);
  for (unsigned i = 0; i < STREAMS; i++)
    if (read_ahead->streams[i].begun == prefetch->stream)
      late = read_ahead->streams[i].next >= prefetch->end;
  pthread_mutex_unlock (&read_ahead->mutex);
  return late;
}

static void
prefetch_run (ImPoolTask *task)
{
  Prefetch *prefetch = (Prefetch *)task;
  ImBlock *block = prefetch->block;
  ImExtent extents[16];
  size_t n;
  for (uint64_t at = prefetch->offset;
       at < prefetch->end && !is_late (atomic_load (&block->read_ahead), prefetch);) {
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

/* Notes the read of [OFFSET, END) of a block of SIZE bytes; *RET_ALL becomes what to
 * decode now, which is empty where its end is not behind its offset. */
static void
plan (ImReadAhead *read_ahead, uint64_t offset, uint64_t end, uint64_t size,
      uint64_t window, Prefetch *ret_all)
{
  bool known;
  *ret_all = (Prefetch){.offset = 0};
  pthread_mutex_lock (&read_ahead->mutex);
  Stream *stream = find_stream (read_ahead, offset, end, &known);
  uint64_t now = ++read_ahead->clock;
  if (!known) {
    *stream = (Stream){.begun = now, .next = end, .ahead = end};
  } else if (end > stream->next) {
    stream->next = end;
    uint64_t from = im_max (stream->ahead, end);
    uint64_t read = stream->read + (end - offset);
    uint64_t to = im_min (end + im_min (window, read * TRUST), size);
    /* Only when a good part of the window is free, so that tasks are of a useful size. */
    if (to < size && to < from + PIECE)
      to = from;
    stream->ahead = im_max (from, to);
    *ret_all = (Prefetch){.offset = from, .end = to, .stream = stream->begun};
  }
  stream->used = now;
  stream->read += end - offset;
  pthread_mutex_unlock (&read_ahead->mutex);
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
  Prefetch all;
  plan (get_read_ahead (block), offset, offset + length, block->size, window, &all);
  for (uint64_t at = all.offset; at < all.end; at += PIECE) {
    Prefetch *prefetch = g_new (Prefetch, 1);
    *prefetch = (Prefetch){.task.run = prefetch_run,
                           .block = im_block_ref (block),
                           .offset = at,
                           .end = im_min (at + PIECE, all.end),
                           .stream = all.stream};
    im_pool_submit (pool, &prefetch->task);
  }
}
