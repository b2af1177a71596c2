/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading what is damaged in part.  Internal to the layer. */
#pragma once

#include "block/block.h"

/* Reads one extent, which im_block_map gave, to TO. */
bool im_read_extent (ImBlock *block, const ImExtent *extent, uint8_t *to, GError **error);

/* Reads LEN bytes at OFFSET, extent by extent and, where a medium fails, by ever smaller
 * pieces, and notes damage in block->damage.  Where the block fills damage, zeros stand
 * in its place and nowhere else; otherwise the first of it is an error.  *RET_DONE bytes
 * came before what failed. */
bool im_salvage_read (ImBlock *block, uint8_t *buf, size_t len, uint64_t offset,
                      size_t *ret_done, GError **error);
