/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where extracted bytes go: a new regular file that appears under its name only when it
 * is whole, a device, or a stream. */
#pragma once

#include "job/ring.h"
#include <stdatomic.h>

typedef struct ImTarget ImTarget;

typedef struct {
  const char *path; /* "-": standard output */
  bool force;
  uint64_t size;             /* bytes that will be written */
  const atomic_bool *cancel; /* set by another thread: waiting ends with an error; NULL */
} ImTargetOptions;

/* A regular file or a block device that is there already is refused without FORCE; with
 * it, the file is replaced once all is written, keeping its mode, and the device written
 * to, if it has room for all.  A FIFO or character device is a stream; a FIFO is waited
 * for until somebody reads. */
ImTarget *im_target_open (const ImTargetOptions *options, GError **error);

/* An ImRingConsumer's.  Zeros become holes in a new regular file. */
bool im_target_consume (void *target, const ImRingPiece *piece, GError **error);

/* All SIZE bytes are there, durable, and under the name. */
bool im_target_finish (ImTarget *target, uint64_t size, GError **error);

/* Without im_target_finish: a file that had been begun is gone again. */
void im_target_free (ImTarget *target);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImTarget, im_target_free)

/* A small text file likewise. */
bool im_target_write_text (const char *path, bool force, const char *text,
                           GError **error);
