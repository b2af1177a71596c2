/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guests: threads that write, zero, discard and flush one disk at random, each in sectors
 * of its own, and tell the oracle.  Threads meet in clusters and in tables. */
#pragma once

#include "block/block.h"
#include "crash-oracle.h"

typedef struct {
  ImBlock *block;
  CrashRecord *record;
  CrashOracle *oracle;
  bool through;  /* all that is answered is durable */
  uint32_t unit; /* the format's; changes of a few whole ones are common */
  atomic_uint_fast64_t next_number;
} CrashGuests;

/* Works with THREADS, each for STEPS; what fails is to fail where FAILING, and whatever
 * it then left is allowed. */
void crash_guests_work (CrashGuests *guests, unsigned threads, unsigned steps,
                        bool failing, uint32_t seed);

/* One change each, for scripts; false where it failed.  NUMBER: as in CrashWrite. */
bool crash_guest_write (CrashGuests *guests, uint64_t first, uint64_t n,
                        ImWriteFlags flags);
bool crash_guest_zero (CrashGuests *guests, uint64_t first, uint64_t n,
                       ImWriteFlags flags);
bool crash_guest_discard (CrashGuests *guests, uint64_t first, uint64_t n);
bool crash_guest_flush (CrashGuests *guests);
