/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copying a disk, a partition or a gap out into a file, with its digests. */
#pragma once

#include "block/block.h"
#include "job/digest.h"
#include <stdatomic.h>

typedef struct {
  const char *path;           /* of the new file; "-": standard output */
  bool force;                 /* it may replace what is there */
  const char *const *digests; /* names of im_digest_names, ended by NULL */
  const atomic_bool *cancel;  /* set by another thread: end with an error */
} ImExtractOptions;

typedef struct {
  uint64_t size, holes; /* bytes; of them zeros that were not read */
  GPtrArray *digests;   /* of ImDigest, in the order asked for */
} ImExtracted;

/* Copies all of BLOCK.  Where that fails no file is left, or the former one. */
bool im_extract (ImBlock *block, const ImExtractOptions *options,
                 ImExtracted *ret_extracted, GError **error);
void im_extracted_clear (ImExtracted *extracted);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (ImExtracted, im_extracted_clear)
