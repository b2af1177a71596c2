/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chunk engine: whatever a format stores compressed is read through here.  It owns
 * the cache of decoded chunks (sharded, pinned by reference, one decode at a time per
 * chunk, bounded in bytes) and spreads the chunks of one request over the worker pool. */
#pragma once

#include "base/pool.h"
#include "block/codec.h"
#include "block/file.h"

typedef struct ImChunkEngine ImChunkEngine;

/* One chunk: where its stored bytes are and what they become.  Borrows file and codec.
 * (file, at) identifies it. */
typedef struct {
  ImFile *file;
  uint64_t at;     /* in the file */
  uint32_t stored; /* bytes to read there, an upper bound; cut at the file's end */
  uint32_t plain;  /* bytes it decodes to, ≥ 1 */
  const ImCodec *codec;
} ImChunkRef;

/* A part of one chunk that somebody wants. */
typedef struct {
  ImChunkRef chunk;
  uint32_t within; /* first byte wanted of the plain ones */
  uint32_t length;
  uint8_t *buf; /* where they go */
} ImChunkRead;

/* Keeps at most about BUDGET bytes of decoded chunks.  POOL is borrowed, may be NULL. */
ImChunkEngine *im_chunk_engine_new (uint64_t budget, ImPool *pool);
void im_chunk_engine_free (ImChunkEngine *engine);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImChunkEngine, im_chunk_engine_free)

ImPool *im_chunk_engine_pool (ImChunkEngine *engine);

/* How many bytes of decoded chunks it keeps at most. */
uint64_t im_chunk_engine_budget (const ImChunkEngine *engine);

/* Fills all N reads; fails with the first error found.  Any thread. */
bool im_chunk_engine_read (ImChunkEngine *engine, const ImChunkRead *reads, size_t n,
                           GError **error);

/* A decoded chunk that stays as it is while somebody holds it; all zero: none. */
typedef struct {
  ImChunkEngine *engine;
  void *chunk;          /* the engine's own */
  const uint8_t *bytes; /* the first that was wanted */
} ImChunkPin;

/* As read, with the bytes left where they are: READS' buf is not used, and RET_PINS[i] is
 * where those of READS[i] are.  Where it fails nothing stays pinned.  What is pinned
 * counts as cached, and is not freed however full the cache is: the caller bounds it. */
bool im_chunk_engine_pin (ImChunkEngine *engine, const ImChunkRead *reads, size_t n,
                          ImChunkPin *ret_pins, GError **error);

/* Lets go of PIN, which becomes none.  Any thread. */
void im_chunk_unpin (ImChunkPin *pin);

/* Is the chunk in the cache, decoded?  It may leave at any time; never waits. */
bool im_chunk_engine_is_cached (ImChunkEngine *engine, const ImChunkRef *chunk);

/* True and READ filled where the chunk is in the cache, decoded; never waits. */
bool im_chunk_engine_read_cached (ImChunkEngine *engine, const ImChunkRead *read);

/* Decodes CHUNK into the cache where it is not there; an error is forgotten here and
 * will come again to whoever reads it. */
void im_chunk_engine_prefetch (ImChunkEngine *engine, const ImChunkRef *chunk);
