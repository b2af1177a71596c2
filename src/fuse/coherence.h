/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's page caches above a writable mount: one for each file, though the files
 * overlap.  Handles that write go past them, so no page is ever dirty; what was written
 * is dropped from all of them before the writer gets its answer.
 *
 *   session thread     write the disk ─► note ─┬─ no pages anywhere ──────────► reply
 *                                              └─► queue
 *   helper thread                                    └─► drop the pages ───────► reply
 *
 * To drop a page the kernel waits for reads of it, and session threads answer these; so
 * no session thread ever drops pages or waits for a helper. */
#pragma once

#include "base/pool.h"
#include "fuse/tree.h"

typedef struct ImFuseCoherence ImFuseCoherence;
typedef struct ImFuseChange ImFuseChange;

/* A range that was just written, and whoever waits for the answer. */
struct ImFuseChange {
  ImPoolTask task; /* the coherence's, as is owner */
  ImFuseCoherence *owner;
  const ImNode *node;
  uint64_t offset, length; /* in NODE, inside it */
  /* Has the kernel drop the pages that overlap [OFFSET, OFFSET + LENGTH) of that inode;
   * LENGTH 0: all.  False: they may still be there.  On a helper's thread. */
  bool (*drop) (ImFuseChange *change, uint64_t ino, uint64_t offset, uint64_t length);
  /* Answers and frees it.  On a helper's thread. */
  void (*reply) (ImFuseChange *change);
};

/* A handle that reads through the page cache is opened and closed. */
void im_fuse_pages_open (ImNodePages *pages);
void im_fuse_pages_close (ImNodePages *pages);
/* Comes before each read whose bytes go into the page cache. */
void im_fuse_pages_fill (ImNodePages *pages);

/* TREE outlives it. */
ImFuseCoherence *im_fuse_coherence_new (const ImFuseTree *tree);
/* Returns when all changes that were settled have been answered; later ones are refused.
 * Reads must be answered meanwhile, or the kernel's end be gone. */
void im_fuse_coherence_close (ImFuseCoherence *coherence);
/* Closes first. */
void im_fuse_coherence_free (ImFuseCoherence *coherence);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImFuseCoherence, im_fuse_coherence_free)

/* Comes after each change of the disk, be it one that failed halfway: the files that it
 * shows through are to be measured anew.  True where pages of them may have to go. */
bool im_fuse_coherence_note (ImFuseCoherence *coherence, const ImFuseChange *change);

/* Takes CHANGE; a helper drops those pages and replies.  Never waits.  False: closed, and
 * CHANGE is still the caller's. */
bool im_fuse_coherence_settle (ImFuseCoherence *coherence, ImFuseChange *change);
