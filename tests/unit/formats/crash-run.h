/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether an image survives crashes: guests work on it while its changes are recorded;
 * for many moments of that the files are rebuilt and looked at; some of these are written
 * on and crashed again.
 *
 *   record ──► rebuild ──► check, by others ──► read ──► oracle ──► write on, record ─┐
 *                ▲                                                                    │
 *                └────────────────────────────────────────────────────────────────────┘
 */
#pragma once

#include "crash-guest.h"

/* What is crashed.  An image is one or several files of one folder, under fixed names, so
 * that it can be copied to another. */
typedef struct {
  const char *const *names;   /* of the files that may change, NULL-ended */
  const char *const *parents; /* of those that never do, likewise */
  const char *folder;         /* where all are; copies go to folders in it */
  uint32_t unit;              /* the format's */
  void *data;                 /* for the callbacks */
  /* Opens what is in FOLDER; *ret_block may refuse to be written.  Stops the test where
   * that fails. */
  void (*open) (void *data, const char *folder, ImCacheMode cache, bool writable,
                ImBlock **ret_block);
  void (*close) (void *data);
  /* Is what is in FOLDER sound, by its own structure?  FOUND is what its disk reads as,
   * and may be checked further.  It may be repaired where the format allows that.
   * Otherwise *ret_why tells. */
  bool (*check) (void *data, const char *folder, const CrashBytes *found, char **ret_why);
} CrashSubject;

/* How it is crashed. */
typedef struct {
  unsigned threads, steps; /* the guests' */
  unsigned crashes;        /* images that are rebuilt from the first record */
  unsigned again;          /* one of so many is written on; none where 0 */
  unsigned fail_every;     /* changes that fail while the guests work; 0: none */
  int fail_with;
  ImCacheMode cache;
  uint32_t seed;
  /* Instead of random work: a script. */
  void (*script) (CrashGuests *guests);
} CrashPlan;

/* How many images were rebuilt; stops at the first that did not survive, which then sets
 * *ret_harm, and says so in the test's log. */
unsigned crash_run (const CrashSubject *subject, const CrashPlan *plan, char **ret_harm);

/* As many of the images that a run of everyday USUALLY makes as IMGMOUNT_TEST_CRASHES
 * says; that many times more. */
unsigned crash_wanted (unsigned usually);

/* Of N of anything, those that IMGMOUNT_TEST_SAMPLE leaves: one of so many, at least one.
 */
unsigned crash_sampled (unsigned n);

/* IMGMOUNT_TEST_SEED plus N: other random work, on another day. */
uint32_t crash_seed (uint32_t n);

/* Runs PLAN and stops the test where there is harm. */
void crash_expect_none (const CrashSubject *subject, const CrashPlan *plan);
