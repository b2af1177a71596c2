/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a file is made of, for the sources of the file leaf alone. */
#pragma once

#include "block/claims.h"
#include "block/io.h"

#include <pthread.h>
#include <stdatomic.h>

/* What was filled, and is not yet on its way to the disk. */
typedef struct {
  pthread_mutex_t mutex; /* innermost; guards all below */
  uint64_t from, to;     /* it lies in here; where there are */
  uint64_t bytes;
  bool starting; /* a task is under way */
} ImFileFilled;

/* One fdatasync at a time, which those that come meanwhile wait for and do not share. */
typedef struct {
  pthread_mutex_t mutex; /* guards all below; not held while it runs */
  pthread_cond_t ended;
  bool running;
  uint64_t begun, done; /* counted */
  int failure;          /* the errno of the first that failed, or 0 */
} ImFileSyncs;

struct ImFile {
  atomic_uint references;
  int fd; /* all below: const once open */
  /* The same file again, for writes that are durable when they return; -1 where there are
   * none.  The kernel tells of what it could not write out once for each descriptor, and
   * what such a write is told the next fdatasync would not be. */
  int durable_fd;
  uint64_t id;
  char *path;
  atomic_ullong size;     /* changes by im_file_extend and im_file_shrink alone */
  atomic_ullong written;  /* the end of the highest byte that was ever written to */
  pthread_mutex_t resize; /* one change of the size at a time; innermost, and the one
                           * mutex that covers a system call: a single ftruncate */
  ImFileFilled filled;
  struct stat st;
  ImCacheMode cache;
  bool writable;
  const ImIoEngine *engine;
  /* Direct I/O, else 0, NULL and -1. */
  uint32_t block;   /* what offsets and lengths must be multiples of; a power of two */
  uint32_t memory;  /* what addresses must be multiples of; likewise */
  ImClaims *claims; /* on blocks; where it is writable */
  int cached_fd;    /* the same file through the page cache, for writing its unaligned
                     * end; -1 where it cannot have one */
  bool temporary;   /* has no name, and vanishes with this process */
  bool in_memory;   /* tmpfs: a plain read never waits, yet RWF_NOWAIT is refused there */
  ImFileSyncs syncs;
};

/* The file that the descriptor FD, opened as MODE says, is of; PATH is what it is called.
 * Takes FD even when it fails. */
ImFile *im_file_take_fd (int fd, const char *path, const ImFileMode *mode,
                         GError **error);

/* The error of a read or write that did not come to its end. */
void im_file_set_io_error (const ImFile *file, const ImIo *io, GError **error);

/* What a test sees of each change of any file, and what it may do to it. */
typedef enum {
  IM_FILE_WRITE,   /* bytes */
  IM_FILE_ZERO,    /* zeros, a hole or not */
  IM_FILE_DISCARD, /* a hole */
  IM_FILE_RESIZE,  /* offset: the new size */
  IM_FILE_SYNC,
} ImFileChangeKind;

typedef struct {
  ImFileChangeKind kind;
  uint64_t offset, length;
  const struct iovec *iov; /* WRITE */
  size_t n;
  bool durable; /* WRITE: it is not over before its bytes are on the medium */
} ImFileChange;

typedef struct {
  /* Before it is made: 0, or the errno with which it is to fail. */
  int (*before) (ImFile *file, const ImFileChange *change);
  /* Once it was made, with the pointer that `before` was given; never where it failed. */
  void (*after) (ImFile *file, const ImFileChange *change);
} ImFileHooks;

/* Tests set it while no other thread runs; NULL otherwise. */
extern _Atomic (const ImFileHooks *) im_file_hooks;
