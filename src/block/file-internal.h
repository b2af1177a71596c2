/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a file is made of, for the sources of the file leaf alone. */
#pragma once

#include "block/file.h"

#include <pthread.h>
#include <stdatomic.h>

struct ImFile {
  atomic_uint references;
  int fd; /* all below: const once open */
  uint64_t id;
  char *path;
  atomic_ullong size;     /* changes by im_file_extend and im_file_shrink alone */
  atomic_ullong written;  /* the end of the highest byte that was ever written to */
  pthread_mutex_t resize; /* one change of the size at a time; innermost, and the one
                           * mutex that covers a system call: a single ftruncate */
  struct stat st;
  ImCacheMode cache;
  bool writable;
  bool in_memory; /* tmpfs: a plain read never waits, yet RWF_NOWAIT is refused there */
  atomic_int sync_failure; /* the errno of the first failed fdatasync, or 0 */
};

/* Moves the start of *IOV, of *N buffers, on by DONE bytes. */
void im_iov_advance (struct iovec **iov, size_t *n, size_t done);

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
