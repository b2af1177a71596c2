/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Read-ahead for what is compressed: decoding what a sequential reader will want next,
 * while it is busy with what it has.  Internal to the layer. */
#pragma once

#include "block/block.h"

typedef struct ImReadAhead ImReadAhead;

/* Says that [OFFSET, OFFSET + LENGTH) of BLOCK was read and met compressed chunks.  Any
 * thread; never waits. */
void im_read_ahead_note (ImBlock *block, uint64_t offset, uint64_t length);

void im_read_ahead_free (ImReadAhead *read_ahead);
