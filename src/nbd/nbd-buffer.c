/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for what is sent and received, and what a connection keeps of it for later. */
#include "nbd/nbd-buffer.h"
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Buffers that all connections may keep for their next replies.  Each may keep one
 * besides. */
#define PIECES_MAX 24

/* Bytes of larger buffers that all connections may keep. */
#define LARGE_MAX (64u << 20)

/* Up to here a buffer is allocated as it is needed. */
#define SMALL_MAX (64u << 10)

/* Pieces and what is longer come from the system and go back to it at once: allocators
 * keep them otherwise, for each thread that had some. */
ImNbdBuffer *
im_nbd_buffer_new (size_t size)
{
  void *buffer;
  int failure;
  if (size >= IM_NBD_PIECE) {
    buffer = mmap (NULL, sizeof (ImNbdBuffer) + size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    failure = buffer == MAP_FAILED;
  } else {
    failure =
        posix_memalign (&buffer, _Alignof(ImNbdBuffer), sizeof (ImNbdBuffer) + size);
  }
  if (failure)
    return NULL;
  ((ImNbdBuffer *)buffer)->size = size;
  return buffer;
}

void
im_nbd_buffer_free (ImNbdBuffer *buffer)
{
  if (buffer->size >= IM_NBD_PIECE)
    munmap (buffer, sizeof *buffer + buffer->size);
  else
    free (buffer);
}

size_t
im_nbd_spares_size (size_t size)
{
  return size > SMALL_MAX && size < IM_NBD_PIECE ? IM_NBD_PIECE : size;
}

/* False: too much is kept already. */
static bool
keep_large (ImNbdSpares *spares, ImNbdBuffer *buffer)
{
  atomic_size_t *all = &spares->kept->large_size;
  size_t before = atomic_fetch_add_explicit (all, buffer->size, memory_order_relaxed);
  if (before + buffer->size > LARGE_MAX) {
    atomic_fetch_sub_explicit (all, buffer->size, memory_order_relaxed);
    return false;
  }
  buffer->next = spares->large;
  spares->large = buffer;
  return true;
}

static bool
keep_piece (ImNbdSpares *spares, ImNbdBuffer *buffer)
{
  atomic_uint *all = &spares->kept->pieces;
  if (spares->pieces && atomic_load_explicit (all, memory_order_relaxed) >= PIECES_MAX)
    return false;
  buffer->next = spares->pieces;
  spares->pieces = buffer;
  atomic_fetch_add_explicit (all, 1, memory_order_relaxed);
  return true;
}

/* One that is too small has had its time. */
static ImNbdBuffer *
take_large (ImNbdSpares *spares, size_t size)
{
  ImNbdBuffer *buffer = spares->large;
  if (!buffer)
    return NULL;
  spares->large = buffer->next;
  atomic_fetch_sub_explicit (&spares->kept->large_size, buffer->size,
                             memory_order_relaxed);
  if (buffer->size >= size)
    return buffer;
  im_nbd_buffer_free (buffer);
  return NULL;
}

static ImNbdBuffer *
take_piece (ImNbdSpares *spares)
{
  ImNbdBuffer *buffer = spares->pieces;
  if (buffer) {
    spares->pieces = buffer->next;
    atomic_fetch_sub_explicit (&spares->kept->pieces, 1, memory_order_relaxed);
  }
  return buffer;
}

ImNbdBuffer *
im_nbd_spares_take (ImNbdSpares *spares, size_t size)
{
  if (size < IM_NBD_PIECE)
    return NULL;
  return size == IM_NBD_PIECE ? take_piece (spares) : take_large (spares, size);
}

void
im_nbd_spares_give (ImNbdSpares *spares, ImNbdBuffer *buffer)
{
  if (!buffer)
    return;
  bool kept = false;
  if (buffer->size == IM_NBD_PIECE)
    kept = keep_piece (spares, buffer);
  else if (buffer->size > IM_NBD_PIECE)
    kept = keep_large (spares, buffer);
  if (!kept)
    im_nbd_buffer_free (buffer);
}

void
im_nbd_spares_clear (ImNbdSpares *spares)
{
  for (ImNbdBuffer *buffer; (buffer = take_piece (spares));)
    im_nbd_buffer_free (buffer);
  for (ImNbdBuffer *buffer; (buffer = take_large (spares, 0));)
    im_nbd_buffer_free (buffer);
}
