/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SEEK_DATA and SEEK_HOLE on a block. */
#pragma once

#include "block/block.h"

typedef enum {
  IM_SEEK_FOUND,
  IM_SEEK_NONE,      /* no data from there on, or the offset is not inside */
  IM_SEEK_CANCELLED, /* cancelled said so */
  IM_SEEK_FAILED,    /* the tables could not be read: error is set */
} ImSeekResult;

/* The first byte from OFFSET on that is data (or in a hole, HOLE; there is one at the
 * end).  Exact: holes within the image's own clusters count too.  CANCELLED (data) is
 * asked between the steps of a long search. */
ImSeekResult im_fuse_seek (ImBlock *block, uint64_t offset, bool hole,
                           bool (*cancelled) (void *data), void *data,
                           uint64_t *ret_offset, GError **error);
