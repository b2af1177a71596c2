/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk that takes writes, notes how it was asked, and fails or waits when told to. */
#pragma once

#include "fixture.h"

#define WRITABLE_SIZE (UINT64_C (5) << 30)

typedef struct {
  ImBlock block; /* first */
  ImFile *file;
  int fd;               /* a memory file */
  atomic_bool in_place; /* writes need no waiting, unless they fail */
  atomic_bool hold;     /* changes and flushes wait for as long as this is set */
  atomic_int errnum;    /* what changes and flushes fail with; 0: they work */
  atomic_uint begun;    /* changes and flushes */
  atomic_uint done;
  atomic_uint at_once; /* writes that were made without waiting */
  atomic_uint flushes;
  atomic_uint flags;             /* ImWriteFlags of the last write or zeroes */
  atomic_uint_least64_t longest; /* of zeroes and discards */
} WritableDisk;

/* One for the process, and a host that exports it. */
WritableDisk *writable_disk (void);
ImNbdHost *writable_host (void);
ImExportSet *writable_set (void);

/* Makes all of it zeros, and forgets what was noted and told. */
void writable_reset (void);

/* Whether the LENGTH bytes at OFFSET are those at DATA; NULL: zeros. */
bool writable_holds (uint64_t offset, const void *data, size_t length);
