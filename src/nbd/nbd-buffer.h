/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for what is sent and received, and what a connection keeps of it for later. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Large replies leave in pieces of this size; batches of small ones fill less of it. */
#define IM_NBD_PIECE (1u << 20)

typedef struct ImNbdBuffer ImNbdBuffer;
struct ImNbdBuffer {
  ImNbdBuffer *next;
  size_t size;
  _Alignas(512) uint8_t data[]; /* as direct I/O of most devices wants it */
};

/* A buffer for SIZE bytes that are not set; NULL: there is no memory. */
ImNbdBuffer *im_nbd_buffer_new (size_t size);
void im_nbd_buffer_free (ImNbdBuffer *buffer);

/* What all connections of a server keep together. */
typedef struct {
  atomic_uint pieces;       /* buffers of IM_NBD_PIECE */
  atomic_size_t large_size; /* bytes of larger ones */
} ImNbdKept;

/* What one connection keeps.  Its owner's lock is held in each call. */
typedef struct {
  ImNbdKept *kept;     /* borrowed */
  ImNbdBuffer *pieces; /* of IM_NBD_PIECE */
  ImNbdBuffer *large;  /* larger ones */
} ImNbdSpares;

/* The size of the buffer that one of at least SIZE bytes should have, so that it can be
 * kept afterwards. */
size_t im_nbd_spares_size (size_t size);

/* One of at least SIZE bytes, which im_nbd_spares_size gave; NULL: none is kept. */
ImNbdBuffer *im_nbd_spares_take (ImNbdSpares *spares, size_t size);

/* Keeps BUFFER (or NULL), which becomes the spares', or frees it where enough is kept. */
void im_nbd_spares_give (ImNbdSpares *spares, ImNbdBuffer *buffer);

/* Frees all that is kept. */
void im_nbd_spares_clear (ImNbdSpares *spares);
