/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk made of runs of data and holes, for tests that need no bytes. */
#pragma once

#include "block/block.h"

/* One run; the disk is these in order. */
typedef struct {
  uint64_t length;
  ImExtentKind kind; /* FILE, without a file; ZERO; or DAMAGED */
} FixtureRun;

/* A map that begins at FAILS_AT or beyond fails with EIO; UINT64_MAX: none does. */
ImBlock *fixture_disk (const FixtureRun *runs, size_t n, uint64_t fails_at);

/* How many maps were asked for. */
unsigned fixture_maps (ImBlock *disk);
