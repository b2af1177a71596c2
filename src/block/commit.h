/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commits: the only way in which metadata reaches a file.  The owner, a format, copies
 * what it has changed and ranks the copies; they are written rank after rank, with the
 * file made durable in between, one commit at a time.
 *
 *   rank 0  marks that must precede any change
 *        1  what nothing points at yet; counts up
 *        2  what makes the new counts valid
 *        3  pointers to what 1 and 2 made valid
 *        4  what quarantine released
 *
 * A thread of its own commits what has become five seconds old. */
#pragma once

#include "block/file.h"

#define IM_COMMIT_RANKS 5u

typedef struct ImCommit ImCommit;
typedef struct ImCommitBatch ImCommitBatch;

typedef struct {
  /* Copies all that is dirty into BATCH, under the owner's own mutex.  Bytes that such
   * copies point at have been written. */
  void (*collect) (void *owner, ImCommitBatch *batch);
  /* The commit of the last copies ended.  What had a rank below DURABLE is in the file
   * for good; it is IM_COMMIT_RANKS where all went well.  Of rank DURABLE any part may
   * have been written, of later ones nothing was; all must come again. */
  void (*finished) (void *owner, unsigned durable);
} ImCommitOps;

/* FILE is borrowed. */
ImCommit *im_commit_new (const ImCommitOps *ops, void *owner, ImFile *file);
/* FILE, borrowed, holds data that pointers in the first file lead to: it is made durable
 * by the first barrier of each commit.  Before the first commit. */
void im_commit_add_file (ImCommit *commit, ImFile *file);
/* Ends the thread and makes none again; im_commit_now still works. */
void im_commit_stop (ImCommit *commit);
/* Commits nothing. */
void im_commit_free (ImCommit *commit);

/* From within collect.  Takes BYTES, of g_malloc. */
void im_commit_add (ImCommitBatch *batch, unsigned rank, uint64_t at, void *bytes,
                    size_t len);

/* A commit that copies after this call began, and all data written before it, durable. */
bool im_commit_now (ImCommit *commit, GError **error);

/* Something has become dirty: to be committed within five seconds, or at once. */
void im_commit_soon (ImCommit *commit);
void im_commit_start (ImCommit *commit);
