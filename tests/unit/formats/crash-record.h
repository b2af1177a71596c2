/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What was done to some files, and when: every change that the file leaf makes of them,
 * at its submission and at its completion.  Any engine and any number of threads. */
#pragma once

#include "block/file-internal.h"

/* Not completed; not durable; never. */
#define CRASH_NEVER SIZE_MAX

typedef struct {
  ImFileChangeKind kind;
  unsigned file; /* which of the record's */
  uint64_t offset, length;
  uint8_t *bytes;              /* of a WRITE */
  bool durable;                /* of a WRITE: by itself, once completed */
  bool failed;                 /* the program was told so; it may be there all the same */
  size_t submitted, completed; /* moments: each submission and completion is one */
} CrashChange;

typedef struct {
  const char *const *names; /* of the files, within any folder; NULL-ended */
  const char *folder;       /* theirs */
  unsigned fail_every;      /* after so many changes some fail, none where 0 */
  int fail_with;
} CrashRecordOptions;

typedef struct CrashRecord CrashRecord;

/* Records from now on, one record at a time.  Changes of a file that is not NAMED stop
 * the test: parents are never written. */
CrashRecord *crash_record_start (const CrashRecordOptions *options);
/* All files are closed by now. */
void crash_record_stop (CrashRecord *record);
void crash_record_free (CrashRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (CrashRecord, crash_record_free)

/* The moment that comes next; what happens from now on happens then or later. */
size_t crash_record_now (CrashRecord *record);

/* The same, and a moment by itself: who asks for one later gets a later one, though
 * nothing was done to a file meanwhile. */
size_t crash_record_tick (CrashRecord *record);

/* Failures that were injected; stops injecting. */
unsigned crash_record_stop_failing (CrashRecord *record);

/* Once stopped: the changes in the order of their submission. */
const CrashChange *crash_record_changes (const CrashRecord *record, size_t *ret_n);
