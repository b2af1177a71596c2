/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a file is made of, for the sources of the file leaf alone. */
#pragma once

#include "block/file.h"

#include <stdatomic.h>

struct ImFile {
  atomic_uint references;
  int fd; /* all below: const once open */
  uint64_t id;
  char *path;
  uint64_t size;
  struct stat st;
  ImCacheMode cache;
  bool writable;
  bool in_memory; /* tmpfs: a plain read never waits, yet RWF_NOWAIT is refused there */
  atomic_int sync_failure; /* the errno of the first failed fdatasync, or 0 */
};
