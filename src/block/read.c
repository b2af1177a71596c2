/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The generic read: map, then fetch each extent in as few transfers as it takes. */
#include "base/bytes.h"
#include "base/error.h"
#include "base/scratch.h"
#include "block/block.h"
#include "block/crypt-io.h"
#include "block/operation.h"
#include "block/read-ahead.h"
#include "block/salvage.h"

#include <errno.h>

enum {
  EXTENTS = 32,       /* mapped at a time */
  GAP_MAX = 64 << 10, /* bytes between two extents of a file that are read and dropped
                       * rather than read around */
};

/* Where one batch of extents is to be read to: BUF holds the block's bytes from BASE. */
typedef struct {
  uint8_t *buf;
  uint64_t base;
  ImExtent *extents;
  size_t n;
  ImPool *pool;
  bool writable; /* the block is, so that others may be writing what is read */
} Batch;

static uint8_t *
target (const Batch *batch, const ImExtent *extent)
{
  return batch->buf + (extent->offset - batch->base);
}

/* The error of reading a DAMAGED extent. */
static void
set_damage (const ImExtent *extent, GError **error)
{
  g_set_error_literal (error, IM_ERROR, IM_ERROR_CORRUPT, extent->reason);
  if (extent->at != 0 && !extent->unread)
    g_prefix_error (
        error, "table entry at 0x%" G_GINT64_MODIFIER "x is 0x%" G_GINT64_MODIFIER "x: ",
        extent->at, extent->entry);
  else if (extent->at != 0)
    g_prefix_error (error, "table entry at 0x%" G_GINT64_MODIFIER "x: ", extent->at);
}

/* Is there something to be read of it?  Not where it was but parts of sectors. */
static bool
is_file (const ImExtent *extent)
{
  return extent->kind == IM_EXTENT_FILE && extent->length > 0;
}

/* True when NEXT lies in the same file a little behind END. */
static bool
joins (const ImExtent *first, uint64_t end, const ImExtent *next)
{
  return next->kind == IM_EXTENT_FILE && next->file == first->file && next->at >= end &&
         next->at - end <= GAP_MAX;
}

/* FILE extents on their way into transfers: those that lie close together in one file are
 * one span, and spans of one file go to it together. */
typedef struct {
  ImFile *file;
  struct iovec iov[2 * EXTENTS];
  size_t used; /* of iov */
  ImFileRange spans[EXTENTS];
  size_t n;
} Spans;

/* Makes the FILE extents from index I on that lie close together one more span; returns
 * the index behind the last one that was. */
static size_t
add_span (Spans *spans, const Batch *batch, size_t i)
{
  static GPrivate dropped = IM_SCRATCH_INIT;
  const ImExtent *first = &batch->extents[i];
  ImFileRange *span = &spans->spans[spans->n++];
  struct iovec *iov = spans->iov + spans->used;
  uint64_t end = first->at;
  *span = (ImFileRange){.iov = iov, .offset = first->at};
  for (; i < batch->n; i++) {
    const ImExtent *extent = &batch->extents[i];
    if (!is_file (extent))
      continue;
    if (!joins (first, end, extent))
      break;
    if (extent->at > end)
      iov[span->n++] = (struct iovec){.iov_base = im_scratch (&dropped, GAP_MAX),
                                      .iov_len = extent->at - end};
    iov[span->n++] =
        (struct iovec){.iov_base = target (batch, extent), .iov_len = extent->length};
    end = extent->at + extent->length;
  }
  spans->used += span->n;
  return i;
}

static bool
read_spans (Spans *spans, GError **error)
{
  bool ok =
      spans->n == 0 || im_file_read_batch (spans->file, spans->spans, spans->n, error);
  spans->n = spans->used = 0;
  return ok;
}

/* Reads the sectors that the batch wants in part, so that only whole ones are left. */
static bool
read_cut_sectors (const Batch *batch, GError **error)
{
  for (size_t i = 0; i < batch->n; i++) {
    ImExtent *extent = &batch->extents[i];
    if (extent->kind == IM_EXTENT_FILE && extent->crypt &&
        !im_crypt_read_cut_sectors (extent, target (batch, extent), error))
      return false;
  }
  return true;
}

/* The claim that goes with reading the batch, on all from the first encrypted sector to
 * the last; NULL where none is needed.  Parents are written by nobody. */
static ImClaims *
plan_claim (const Batch *batch, uint64_t *ret_first, uint64_t *ret_last)
{
  ImClaims *claims = NULL;
  *ret_first = UINT64_MAX;
  *ret_last = 0;
  for (size_t i = 0; batch->writable && i < batch->n; i++) {
    const ImExtent *e = &batch->extents[i];
    if (e->kind != IM_EXTENT_FILE || !e->crypt || e->depth > 0)
      continue;
    claims = im_transform_claims (e->crypt);
    *ret_first = im_min (*ret_first, e->at / IM_TRANSFORM_SECTOR);
    *ret_last = im_max (*ret_last, (e->at + e->length - 1) / IM_TRANSFORM_SECTOR);
  }
  return claims;
}

static bool
make_plain (const Batch *batch, GError **error)
{
  for (size_t i = 0; i < batch->n; i++) {
    const ImExtent *extent = &batch->extents[i];
    if (is_file (extent) && extent->crypt &&
        !im_transform_apply (extent->crypt, IM_DECRYPT, extent->crypt_at,
                             target (batch, extent), extent->length, batch->pool, error))
      return false;
  }
  return true;
}

/* As they are in the files, but for parts of sectors, which are plain. */
static bool
read_as_stored (const Batch *batch, GError **error)
{
  Spans spans;
  spans.file = NULL;
  spans.n = spans.used = 0;
  if (!read_cut_sectors (batch, error))
    return false;
  for (size_t i = 0; i < batch->n;) {
    const ImExtent *extent = &batch->extents[i];
    if (!is_file (extent)) {
      i++;
      continue;
    }
    if (extent->file != spans.file && !read_spans (&spans, error))
      return false;
    spans.file = extent->file;
    i = add_span (&spans, batch, i);
  }
  return read_spans (&spans, error);
}

static bool
read_files (const Batch *batch, GError **error)
{
  ImClaim claim;
  uint64_t first, last;
  ImClaims *claims = plan_claim (batch, &first, &last);
  if (claims)
    im_claim_take (claims, &claim, first, last, false);
  bool ok = read_as_stored (batch, error);
  if (claims)
    im_claim_drop (claims, &claim);
  return ok && make_plain (batch, error);
}

static ImChunkRead
chunk_read (const Batch *batch, const ImExtent *extent)
{
  return (ImChunkRead){.chunk = extent->chunk,
                       .within = extent->within,
                       .length = (uint32_t)extent->length,
                       .buf = target (batch, extent)};
}

static bool
read_chunks (ImBlock *block, const Batch *batch, bool *met_chunks, GError **error)
{
  ImChunkRead reads[EXTENTS];
  size_t n = 0;
  for (size_t i = 0; i < batch->n; i++)
    if (batch->extents[i].kind == IM_EXTENT_CHUNK)
      reads[n++] = chunk_read (batch, &batch->extents[i]);
  *met_chunks |= n > 0;
  return n == 0 || im_chunk_engine_read (block->shared->chunks, reads, n, error);
}

static bool
fill_zeros (const Batch *batch, GError **error)
{
  for (size_t i = 0; i < batch->n; i++) {
    const ImExtent *extent = &batch->extents[i];
    if (extent->kind == IM_EXTENT_ZERO) {
      memset (target (batch, extent), 0, extent->length);
    } else if (extent->kind == IM_EXTENT_DAMAGED) {
      set_damage (extent, error);
      return false;
    }
  }
  return true;
}

static bool
read_range (ImBlock *block, void *buf, size_t len, uint64_t offset, bool *met_chunks,
            GError **error)
{
  ImExtent extents[EXTENTS];
  Batch batch = {.buf = buf,
                 .base = offset,
                 .extents = extents,
                 .pool = block->shared ? block->shared->pool : NULL,
                 .writable = block->writable};
  for (uint64_t done = 0; done < len;) {
    if (!im_block_map (block, offset + done, len - done, IM_MAP_WHERE, extents, EXTENTS,
                       &batch.n, error))
      return false;
    const ImExtent *last = &extents[batch.n - 1];
    done = last->offset + last->length - offset;
    if (!fill_zeros (&batch, error) || !read_files (&batch, error) ||
        !read_chunks (block, &batch, met_chunks, error))
      return false;
  }
  return true;
}

bool
im_read_extent (ImBlock *block, const ImExtent *extent, uint8_t *to, GError **error)
{
  ImExtent one = *extent; /* decryption cuts at it */
  Batch batch = {.buf = to,
                 .base = extent->offset,
                 .extents = &one,
                 .n = 1,
                 .writable = block->writable};
  if (extent->kind == IM_EXTENT_CHUNK) {
    ImChunkRead read = chunk_read (&batch, extent);
    return im_chunk_engine_read (block->shared->chunks, &read, 1, error);
  }
  batch.pool = block->shared ? block->shared->pool : NULL;
  return fill_zeros (&batch, error) && read_files (&batch, error);
}

/* Says where on the disk the read came upon damage. */
static bool
read_damaged (ImBlock *block, void *buf, size_t len, uint64_t offset, size_t *ret_done,
              GError **error)
{
  g_autoptr (GError) failure = NULL;
  if (im_salvage_read (block, buf, len, offset, ret_done, &failure))
    return true;
  if (im_error_is_damage (failure))
    g_prefix_error (&failure, "damaged at disk offset %" G_GUINT64_FORMAT ": ",
                    block->damage_start + offset + *ret_done);
  g_propagate_error (error, g_steal_pointer (&failure));
  return false;
}

bool
im_block_pread_part (ImBlock *block, void *buf, size_t len, uint64_t offset,
                     size_t *ret_done, GError **error)
{
  bool met_chunks = false;
  g_autoptr (GError) failure = NULL;
  *ret_done = 0;
  if (block->writable)
    im_operation_begin ();
  bool ok = read_range (block, buf, len, offset, &met_chunks, &failure);
  if (!ok && im_error_is_damage (failure))
    ok = read_damaged (block, buf, len, offset, ret_done, error);
  else if (!ok)
    g_propagate_error (error, g_steal_pointer (&failure));
  if (block->writable)
    im_operation_end ();
  if (ok && met_chunks)
    im_read_ahead_note (block, offset, len);
  return ok;
}

bool
im_block_pread (ImBlock *block, void *buf, size_t len, uint64_t offset, GError **error)
{
  size_t done;
  return im_block_pread_part (block, buf, len, offset, &done, error);
}

/* The bytes of EXTENT, as they are in its file. */
static bool
fetch_stored_nowait (const Batch *batch, ImExtent *extent)
{
  Batch alone = {.extents = extent, .n = 1, .writable = batch->writable};
  ImClaim claim;
  uint64_t first, last;
  ImClaims *claims = plan_claim (&alone, &first, &last);
  if (claims && !im_claim_try (claims, &claim, first, last, false))
    return false;
  bool done = im_file_pread_nowait (extent->file, target (batch, extent), extent->length,
                                    extent->at);
  if (claims)
    im_claim_drop (claims, &claim);
  return done;
}

/* Fetches EXTENT into TO if that needs no waiting. */
static bool
fetch_nowait (ImBlock *block, const Batch *batch, ImExtent *extent, bool *met_chunks)
{
  switch (extent->kind) {
  case IM_EXTENT_ZERO:
    memset (target (batch, extent), 0, extent->length);
    return true;
  case IM_EXTENT_FILE:
    return im_crypt_is_quick (extent) && fetch_stored_nowait (batch, extent) &&
           (!extent->crypt ||
            im_transform_apply (extent->crypt, IM_DECRYPT, extent->crypt_at,
                                target (batch, extent), extent->length, NULL, NULL));
  case IM_EXTENT_CHUNK: {
    *met_chunks = true;
    ImChunkRead read = chunk_read (batch, extent);
    return im_chunk_engine_read_cached (block->shared->chunks, &read);
  }
  case IM_EXTENT_PARENT:
  case IM_EXTENT_DAMAGED:
    break;
  }
  return false;
}

/* Asked before anything is copied: the whole is read again by whoever may wait, and what
 * a sequential reader has had twice would count as wanted again. */
static bool
lacks_chunks (ImBlock *block, const Batch *batch)
{
  for (size_t i = 0; i < batch->n; i++) {
    const ImExtent *extent = &batch->extents[i];
    if (extent->kind == IM_EXTENT_CHUNK &&
        !im_chunk_engine_is_cached (block->shared->chunks, &extent->chunk))
      return true;
  }
  return false;
}

static bool
read_range_nowait (ImBlock *block, void *buf, size_t len, uint64_t offset,
                   bool *met_chunks)
{
  ImExtent extents[EXTENTS];
  Batch batch = {
      .buf = buf, .base = offset, .extents = extents, .writable = block->writable};
  for (uint64_t done = 0; done < len;) {
    if (!im_block_map (block, offset + done, len - done, IM_MAP_NOWAIT, extents, EXTENTS,
                       &batch.n, NULL) ||
        lacks_chunks (block, &batch))
      return false;
    for (size_t i = 0; i < batch.n; i++)
      if (!fetch_nowait (block, &batch, &extents[i], met_chunks))
        return false;
    const ImExtent *last = &extents[batch.n - 1];
    done = last->offset + last->length - offset;
  }
  return true;
}

bool
im_block_pread_nowait (ImBlock *block, void *buf, size_t len, uint64_t offset)
{
  bool met_chunks = false;
  if (block->writable)
    im_operation_begin ();
  bool ok = read_range_nowait (block, buf, len, offset, &met_chunks);
  if (block->writable)
    im_operation_end ();
  if (ok && met_chunks)
    im_read_ahead_note (block, offset, len);
  return ok;
}
