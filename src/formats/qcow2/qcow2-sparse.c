/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: was the image preallocated, so that its clusters lie in holes of the file?
 *
 * Asking the file system about every cluster is slow, and without preallocation there is
 * nothing to find.  The question is decided as QEMU decides it, so that both report the
 * same holes: yes where clearly more clusters are in use, by their refcounts, than the
 * file occupies on its disk.  In an image that is being written the answer may be about
 * what was; it decides what is looked at, never what is found there. */
#include "base/bytes.h"
#include "formats/qcow2/qcow2-image.h"

#define PIECE 65536u

/* Refcount blocks that are read before the answer is no: those of a file of 2 TiB with
 * the usual clusters.  A sparse one shows itself long before that; this is for tables
 * that point at the same block again and again. */
#define BLOCK_BYTES_MAX (UINT64_C (64) << 20)

typedef struct {
  const Qcow2Image *image;
  uint64_t clusters; /* of the file */
  uint64_t wanted;   /* used ones that decide */
  uint64_t used;     /* found so far */
  uint64_t read;     /* bytes of refcount blocks */
  uint8_t *piece;    /* PIECE bytes */
} Count;

/* Adds the used ones among the N clusters whose refcounts begin at AT. */
static bool
count_block (Count *count, uint64_t at, uint64_t n)
{
  unsigned order = count->image->header.refcount_order;
  uint64_t per_piece = ((uint64_t)PIECE * 8) >> order;

  for (uint64_t done = 0; done < n && count->used < count->wanted; done += per_piece) {
    uint64_t now = im_min (per_piece, n - done);
    size_t bytes = (size_t)im_div_up (now << order, 8);

    count->read += bytes;
    if (count->read > BLOCK_BYTES_MAX ||
        !im_file_pread (count->image->file, count->piece, bytes, at, NULL))
      return false;
    count->used += qcow2_refcounts_used (count->piece, now, order);
    at += bytes;
  }
  return true;
}

/* Walks the refcount table until it is decided.  False: something in it is broken. */
static bool
count_used (Count *count)
{
  const Qcow2Header *h = &count->image->header;
  uint64_t per_block = UINT64_C (1) << (h->cluster_bits + 3 - h->refcount_order);
  uint64_t entries = (uint64_t)h->refcount_clusters << (h->cluster_bits - 3);
  uint8_t words[4096];

  entries = im_min (entries, im_div_up (count->clusters, per_block));
  for (uint64_t i = 0; i < entries && count->used < count->wanted; i++) {
    uint64_t slot = i % (sizeof words / 8), block;

    if (slot == 0 && !im_file_pread (count->image->file, words, sizeof words,
                                     h->refcount_offset + i * 8, NULL))
      return false;
    block = im_get_be64 (words + slot * 8) & QCOW2_REFCOUNT_OFFSET_MASK;
    if (block == 0)
      continue;
    if (block % (UINT64_C (1) << h->cluster_bits) != 0 ||
        !count_block (count, block, im_min (per_block, count->clusters - i * per_block)))
      return false;
  }
  return true;
}

static bool
is_preallocated (const Qcow2Image *image)
{
  uint64_t cluster_size = UINT64_C (1) << image->header.cluster_bits;
  uint64_t occupied = (uint64_t)im_file_stat (image->file)->st_blocks * 512;
  uint64_t real = occupied / cluster_size;
  g_autofree uint8_t *piece = NULL;
  Count count = {
      .image = image,
      .clusters = im_div_up (im_file_size (image->file), cluster_size),
      /* A tenth, and two clusters, are allowed for what file systems round. */
      .wanted = im_max (real * 10 / 9, real + 2),
  };

  /* The cheap test first: a file without holes cannot have that many. */
  if (!im_file_has_holes (image->file) || count.clusters < count.wanted)
    return false;
  piece = g_malloc (PIECE);
  count.piece = piece;
  return count_used (&count) && count.used >= count.wanted;
}

bool
qcow2_looks_beneath (ImBlock *block)
{
  Qcow2Image *image = (Qcow2Image *)block;
  int beneath = atomic_load_explicit (&image->beneath, memory_order_relaxed);

  if (beneath == QCOW2_BENEATH_UNKNOWN) {
    /* Threads that ask at the same time find the same. */
    beneath = is_preallocated (image) ? QCOW2_BENEATH_YES : QCOW2_BENEATH_NO;
    atomic_store_explicit (&image->beneath, beneath, memory_order_relaxed);
  }
  return beneath == QCOW2_BENEATH_YES;
}
