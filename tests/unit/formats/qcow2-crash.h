/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A qcow2 image of the rig as something to crash: judged by qemu-img, its snapshot and
 * the marks in its header besides. */
#pragma once

#include "crash-run.h"
#include "qcow2-rig.h"

typedef struct {
  CrashSubject subject; /* first */
  Rig rig;
  unsigned table_budget;   /* clusters of L2 tables kept in memory; 0: the usual */
  size_t device_len;       /* not 0: it lies on a device of that size, full of rubbish */
  bool has_bitmap;         /* which this program does not keep up */
  unsigned repaired;       /* crashed images that qemu-img had to repair */
  unsigned refcount_moves; /* crashed images whose refcount table is elsewhere */
  uint64_t refcount_at;
} Qcow2Crash;

void qcow2_crash_make (Qcow2Crash *crash, const RigShape *shape,
                       const ImResources *resources);
void qcow2_crash_clear (Qcow2Crash *crash);
