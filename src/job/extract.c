/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Extraction: one thread reads, one writes, one computes each digest. */
#include "job/extract.h"
#include "base/bytes.h"
#include "base/error.h"
#include "job/cancel.h"
#include "job/progress.h"
#include "job/target.h"

enum { EXTENTS_AT_ONCE = 64 };

/* So that progress goes on while digests work through a great hole. */
#define ZEROS_AT_ONCE (UINT64_C (64) << 20)

/* One extraction under way. */
typedef struct {
  ImBlock *block;
  const ImExtractOptions *options;
  ImRing *ring;
  ImProgress progress;
  uint64_t holes;
} Extraction;

/* *RET_DONE: bytes handed on, or 0 where a consumer failed, which says why itself. */
static bool
pass_on (Extraction *e, uint64_t offset, uint64_t length, bool zeros, uint64_t *ret_done,
         GError **error)
{
  ImRingPiece *piece = im_ring_begin (e->ring);
  *ret_done = 0;
  if (!piece)
    return true;
  piece->offset = offset;
  piece->length = im_min (length, zeros ? ZEROS_AT_ONCE : IM_RING_PIECE);
  piece->data = zeros ? NULL : piece->buffer;
  if (!zeros &&
      !im_block_pread (e->block, piece->data, (size_t)piece->length, offset, error))
    return false;
  *ret_done = piece->length;
  im_ring_end (e->ring);
  return true;
}

/* One run of zeros or of what is not.  *OFFSET moves on; *RET_MORE is false where a
 * consumer failed. */
static bool
pass_run (Extraction *e, uint64_t *offset, uint64_t end, bool zeros, bool *ret_more,
          GError **error)
{
  *ret_more = true;
  while (*offset < end && *ret_more) {
    uint64_t done;
    if (!im_check_cancelled (e->options->cancel, error) ||
        !pass_on (e, *offset, end - *offset, zeros, &done, error))
      return false;
    *ret_more = done > 0;
    *offset += done;
    e->holes += zeros ? done : 0;
    im_progress_update (&e->progress, *offset);
  }
  return true;
}

/* Reads everything, neighbouring extents of bytes together. */
static bool
read_all (Extraction *e, GError **error)
{
  uint64_t size = e->block->size, offset = 0;
  bool more = true;
  while (offset < size && more) {
    ImExtent extents[EXTENTS_AT_ONCE];
    size_t n;
    if (!im_block_map (e->block, offset, size - offset, IM_MAP_ZEROES, extents,
                       EXTENTS_AT_ONCE, &n, error))
      return false;
    for (size_t i = 0; i < n && more;) {
      bool zeros = extents[i].kind == IM_EXTENT_ZERO;
      uint64_t end = extents[i].offset;
      for (; i < n && (extents[i].kind == IM_EXTENT_ZERO) == zeros; i++)
        end += extents[i].length;
      if (!pass_run (e, &offset, end, zeros, &more, error))
        return false;
    }
  }
  return true;
}

static GPtrArray *
make_digests (const char *const *names, GError **error)
{
  g_autoptr (GPtrArray) digests =
      g_ptr_array_new_with_free_func ((GDestroyNotify)im_digest_free);
  for (; *names; names++) {
    ImDigest *digest = im_digest_new (*names);
    if (!digest) {
      g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "digest '%s' is not known", *names);
      return NULL;
    }
    g_ptr_array_add (digests, digest);
  }
  return g_steal_pointer (&digests);
}

static ImRing *
start_ring (ImTarget *target, const GPtrArray *digests, GError **error)
{
  g_autofree ImRingConsumer *consumers = g_new (ImRingConsumer, digests->len + 1);
  consumers[0] = (ImRingConsumer){.consume = im_target_consume, .data = target};
  for (guint i = 0; i < digests->len; i++)
    consumers[i + 1] =
        (ImRingConsumer){.consume = im_digest_consume, .data = digests->pdata[i]};
  return im_ring_new (consumers, digests->len + 1, error);
}

bool
im_extract (ImBlock *block, const ImExtractOptions *options, ImExtracted *ret_extracted,
            GError **error)
{
  Extraction e = {.block = block, .options = options};
  g_autoptr (GPtrArray) digests = make_digests (options->digests, error);
  const ImTargetOptions to = {.path = options->path,
                              .force = options->force,
                              .size = block->size,
                              .cancel = options->cancel};
  g_autoptr (ImTarget) target = digests ? im_target_open (&to, error) : NULL;
  e.ring = target ? start_ring (target, digests, error) : NULL;
  if (!e.ring)
    return false;
  im_progress_begin (&e.progress, "extracting", block->size);
  bool read = read_all (&e, error);
  bool written = im_ring_finish (e.ring, !read, read ? error : NULL);
  im_progress_end (&e.progress);
  if (!read || !written || !im_target_finish (target, block->size, error))
    return false;
  *ret_extracted = (ImExtracted){
      .size = block->size, .holes = e.holes, .digests = g_steal_pointer (&digests)};
  return true;
}

void
im_extracted_clear (ImExtracted *extracted)
{
  g_clear_pointer (&extracted->digests, g_ptr_array_unref);
}
