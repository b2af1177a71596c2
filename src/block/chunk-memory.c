/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for decoded chunks. */
#include "block/chunk-memory.h"
#include <glib.h>

/* Of larger ones none is kept: 4 MiB in all. */
#define SPARE_SIZE_MAX (256u << 10)

void
im_chunk_memory_init (ImChunkMemory *memory)
{
  *memory = (ImChunkMemory){.n = 0};
  pthread_mutex_init (&memory->mutex, NULL);
}

void
im_chunk_memory_clear (ImChunkMemory *memory)
{
  while (memory->n > 0)
    g_free (memory->spares[--memory->n]);
  pthread_mutex_destroy (&memory->mutex);
}

uint8_t *
im_chunk_memory_take (ImChunkMemory *memory, size_t size)
{
  uint8_t *bytes = NULL;
  pthread_mutex_lock (&memory->mutex);
  if (memory->n > 0 && memory->size == size)
    bytes = memory->spares[--memory->n];
  pthread_mutex_unlock (&memory->mutex);
  return bytes ? bytes : g_try_malloc (size);
}

void
im_chunk_memory_give (ImChunkMemory *memory, uint8_t *bytes, size_t size)
{
  pthread_mutex_lock (&memory->mutex);
  if (memory->n == 0)
    memory->size = size;
  if (bytes && size <= SPARE_SIZE_MAX && memory->size == size &&
      memory->n < IM_CHUNK_SPARES) {
    memory->spares[memory->n++] = bytes;
    bytes = NULL;
  }
  pthread_mutex_unlock (&memory->mutex);
  g_free (bytes);
}
