/* SPDX-License-Identifier: GPL-2.0-or-later */
/* I/O engines: how a batch of transfers reaches the kernel.
 *
 *   file leaf ──► im_io_run ──► engine's transfer: every one of them tried once
 *                    ▲  │
 *                    └──┴─ what was interrupted or fell short is tried again
 *
 * An engine knows nothing of files, sizes or alignment; the leaf alone uses it. */
#pragma once

#include "block/file.h"

/* As many transfers are under way at one time for one caller. */
#define IM_IO_BATCH 64u

/* One transfer. */
typedef struct {
  int fd;
  bool write;
  int flags;     /* RWF_… */
  uint32_t unit; /* what a part of it that is left must begin at a multiple of; ≥ 1 */
  uint64_t offset;
  const struct iovec *iov; /* n ≤ IM_FILE_IOV_MAX; never changed */
  size_t n;
  /* Set by im_io_run.  A read that came to the file's end is no failure. */
  size_t done; /* bytes */
  int failure; /* the errno, or 0 */
  /* im_io_run's own: what is left, and in a copy what a short transfer left of iov. */
  size_t left;
  struct iovec *rest;
  ssize_t result; /* the engine's answer to one try: bytes, or -errno */
} ImIo;

/* All from any thread. */
typedef struct {
  /* Can this process use it?  Made after any fork, and before the first transfer. */
  bool (*probe) (GError **error);
  /* Tries each of N ≤ IM_IO_BATCH once and sets its result; none is under way when it
   * returns. */
  void (*transfer) (ImIo **ios, size_t n);
} ImIoEngine;

extern const ImIoEngine im_io_engine_threads;
extern const ImIoEngine im_io_engine_uring;  /* with liburing */
extern const ImIoEngine im_io_engine_native; /* with libaio */

/* The engine for AIO; NULL and an error where this build or this process has none. */
const ImIoEngine *im_io_engine_find (ImAio aio, GError **error);

/* Carries all of N ≤ IM_IO_BATCH transfers out; each tells by itself how it went. */
void im_io_run (const ImIoEngine *engine, ImIo *ios, size_t n);

/* Bytes in IOV. */
uint64_t im_iov_length (const struct iovec *iov, size_t n);
/* Copy LENGTH bytes of IOV, from byte SKIP on; the last one writes zeros there. */
void im_iov_gather (const struct iovec *iov, size_t skip, void *to, size_t length);
void im_iov_scatter (const struct iovec *iov, size_t skip, const void *from,
                     size_t length);
void im_iov_clear (const struct iovec *iov, size_t skip, size_t length);
