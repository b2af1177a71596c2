/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host ranges that have lost their last pointer, and when they may be used again: once
 * the commit that wrote the removal is durable, and every operation that may still see
 * them has ended.
 *
 *   add ──► fresh ── a commit copies ──► sealed ── it is durable ──► waiting ──► take
 *             ▲                            │           (operations end)
 *             └────────── it failed ───────┘
 *
 * No lock of its own: the owner's allocator mutex guards it. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
  uint64_t at, length;
  bool punch;     /* give the space back */
  uint64_t stamp; /* of the operations that may see it */
} ImQuarantined;

typedef struct {
  GArray *fresh, *sealed, *waiting; /* ImQuarantined */
  uint64_t bytes;                   /* in all three */
} ImQuarantine;

void im_quarantine_init (ImQuarantine *quarantine);
void im_quarantine_clear (ImQuarantine *quarantine);

/* Its last pointer has just been removed.  Neighbours that come one after the other are
 * one range. */
void im_quarantine_add (ImQuarantine *quarantine, uint64_t at, uint64_t length,
                        bool punch);

/* How many there are, which is what quarantine costs in memory. */
size_t im_quarantine_ranges (const ImQuarantine *quarantine);

/* A commit has copied all removals up to here. */
void im_quarantine_seal (ImQuarantine *quarantine);

/* That commit ended. */
void im_quarantine_settle (ImQuarantine *quarantine, bool durable);

/* Takes out what may be used again, as a GArray of ImQuarantined; ALL: no operation is
 * under way on this disk. */
GArray *im_quarantine_take (ImQuarantine *quarantine, bool all);
