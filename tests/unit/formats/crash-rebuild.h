/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a machine that loses power leaves of a file whose changes were recorded.
 *
 * A sync, of that very file, covers what was completed before it was submitted, once it
 * is completed itself; a durable write covers its own bytes.  Beyond that
 *   - each sector of 512 bytes holds any one of the versions that it has had since, on
 * its own: a version is what the page cache had, all earlier changes included
 *   - what failed happened or not
 *   - holes and zeros that are no write, and cuts of the file, happened or not
 *   - the size lies anywhere between the durable one and the latest. */
#pragma once

#include "crash-record.h"

enum { CRASH_SECTOR = 512 };

typedef struct {
  uint8_t *bytes;
  size_t len;
} CrashBytes;

void crash_bytes_clear (CrashBytes *bytes);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (CrashBytes, crash_bytes_clear)

/* File number FILE, which was BEFORE, as a crash before MOMENT may have left it; RAND
 * chooses among all that is possible.  RAND is NULL: all that was submitted is there. */
void crash_rebuild (const CrashRecord *record, unsigned file, const CrashBytes *before,
                    size_t moment, GRand *rand, CrashBytes *ret);
