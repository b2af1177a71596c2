/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for decoded chunks.  What left the cache last is given out next: the processor
 * still has it in its own caches, and the system need not find and clear pages anew. */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum { IM_CHUNK_SPARES = 16 };

typedef struct {
  pthread_mutex_t mutex; /* guards all below; a leaf */
  size_t size;           /* of each spare; chunks of an image are of one size, mostly */
  unsigned n;
  uint8_t *spares[IM_CHUNK_SPARES];
} ImChunkMemory;

void im_chunk_memory_init (ImChunkMemory *memory);
/* Everything has been given back. */
void im_chunk_memory_clear (ImChunkMemory *memory);

/* SIZE bytes that are not set, or NULL: there is no memory.  Any thread. */
uint8_t *im_chunk_memory_take (ImChunkMemory *memory, size_t size);
/* Takes back BYTES (or NULL), which were taken with SIZE.  Any thread. */
void im_chunk_memory_give (ImChunkMemory *memory, uint8_t *bytes, size_t size);
