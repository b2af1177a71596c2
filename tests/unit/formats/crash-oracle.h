/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What each sector of the guest's disk may hold after a crash: the value of the last
 * write that a flush covered, or of any write submitted later.  A discard allows zeros
 * besides and promises nothing, whether flushed or not. */
#pragma once

#include "crash-rebuild.h"

/* The contents that a guest writes, by number; 0 is zeros. */
void crash_fill (uint8_t *bytes, uint64_t number);

typedef struct CrashOracle CrashOracle;

/* A disk that reads as ORIGINAL. */
CrashOracle *crash_oracle_new (const CrashBytes *original);
void crash_oracle_free (CrashOracle *oracle);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (CrashOracle, crash_oracle_free)

typedef struct {
  uint64_t first,
      n; /* sectors; of two changes that meet, one ends before the other begins */
  uint64_t number; /* the first sector's contents, the next one's is one more; or 0 */
  bool discard;
} CrashWrite;

/* WRITE is about to be submitted, at MOMENT.  A name for it. */
size_t crash_oracle_submit (CrashOracle *oracle, const CrashWrite *write, size_t moment);
/* It was answered; DURABLE: that says that it is on the medium. */
void crash_oracle_complete (CrashOracle *oracle, size_t write, size_t moment,
                            bool durable);
/* A flush submitted at BEGAN was answered. */
void crash_oracle_flush (CrashOracle *oracle, size_t began, size_t moment);

/* May the disk read as FOUND after a crash before MOMENT?  Otherwise *ret_why tells. */
bool crash_oracle_allows (CrashOracle *oracle, const CrashBytes *found, size_t moment,
                          char **ret_why);
