/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files and blocks for the tests of this layer. */
#pragma once

#include "block/block.h"

/* A file of these bytes, without a name. */
ImFile *fixture_file (const void *bytes, size_t len);

/* LEN bytes that differ from place to place.  Caller frees. */
uint8_t *fixture_pattern (size_t len, unsigned seed);

/* A pool, caches and all; one for the process. */
const ImResources *fixture_resources (void);

/* A block whose map is given as a list of extents that cover it, in order.  Takes
 * PARENT's reference; N extents are copied.  At most PER_CALL come out of one call. */
ImBlock *fixture_block (const ImExtent *extents, size_t n, size_t per_call,
                        ImBlock *parent);
