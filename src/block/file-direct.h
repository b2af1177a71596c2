/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Direct I/O with any alignment of requests, for the sources of the file leaf alone.
 *
 *   0        block     2 blocks              whole            size
 *   +----------+----------+------ // ----------+----------------+
 *   |     past the page cache, in whole blocks |  read likewise, written through it
 *   +----------+----------+------ // ----------+----------------+
 *
 * Blocks that a request covers in part are read, changed and written back while nobody
 * else writes to them.  What lies behind the file's last whole block cannot be written
 * with O_DIRECT without making the file longer, and goes through the page cache.  The
 * kernel keeps the two coherent as long as no direct write is under way in a folio that
 * is being changed in the cache, which claims on the file's blocks see to. */
#pragma once

#include "block/file-internal.h"

/* Reads N ≤ IM_IO_BATCH ranges as far as they lie within SIZE. */
bool im_direct_read (ImFile *file, const ImFileRange *ranges, size_t n, uint64_t size,
                     GError **error);

/* Writes N ranges inside the file; FLAGS are RWF_…. */
bool im_direct_write (ImFile *file, const ImFileRange *ranges, size_t n, int flags,
                      GError **error);

/* Before the kernel is told to change [OFFSET, OFFSET + LENGTH), LENGTH ≥ 1: until CLAIM
 * is dropped nobody reads, changes and writes back a block of it. */
void im_direct_claim (ImFile *file, ImClaim *claim, uint64_t offset, uint64_t length);

/* The same before the file's size becomes SIZE. */
void im_direct_claim_end (ImFile *file, ImClaim *claim, uint64_t size);
