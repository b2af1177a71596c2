/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of mapping tables (qcow2's L2 tables, and whatever plays that part
 * elsewhere), in slices of at most 4 KiB in host byte order, under one budget for the
 * whole chain of images.  Lookups copy entries out under a slice's sequence counter and
 * never block.  Thread-safe. */
#pragma once

#include "block/file.h"

typedef struct ImTableCache ImTableCache;

#define IM_TABLE_SLICE 4096u /* bytes */

ImTableCache *im_table_cache_new (uint64_t budget);
void im_table_cache_free (ImTableCache *cache);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImTableCache, im_table_cache_free)

/* Copies N words of 64 bits, big-endian in the file, from word FIRST on of the table
 * that begins at byte TABLE of FILE and has WORDS words.  All of [FIRST, FIRST + N) lie
 * in one slice: N ≤ im_table_cache_span (FIRST, WORDS).  With NOWAIT a slice that is not
 * cached is IM_ERROR_WOULD_BLOCK; otherwise it is read. */
bool im_table_cache_read_be64 (ImTableCache *cache, ImFile *file, uint64_t table,
                               uint64_t words, uint64_t first, size_t n, bool nowait,
                               uint64_t *ret_words, GError **error);

/* Forgets all slices of the table at byte TABLE, LEN bytes of it. */
void im_table_cache_drop (ImTableCache *cache, ImFile *file, uint64_t table,
                          uint64_t len);

/* How many words from FIRST on lie in the same slice of a table of WORDS words. */
static inline size_t
im_table_cache_span (uint64_t first, uint64_t words)
{
  uint64_t per_slice = IM_TABLE_SLICE / 8;
  uint64_t end = (first / per_slice + 1) * per_slice;
  return (size_t)((end < words ? end : words) - first);
}
