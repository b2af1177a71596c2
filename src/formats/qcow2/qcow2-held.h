/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: what is known of who points at a cluster of the file, whatever its count says.
 *
 * An image may contradict itself: an entry points at the image's own tables, two entries
 * at one cluster, a count of 0 is that of a cluster in use.  So a writer notes what it
 * has seen: all metadata before the first change, an L2 table's entries before the first
 * change that concerns the table, and what is given out since.
 *
 *            hold_sole                    hold_shared
 *     NOT ──────────► SOLE          NOT ────────────► SHARED ─┐ hold_shared
 *                      │ either                         │  ▲──┘
 *                      ▼                                │ hold_sole
 *                   DISPUTED ◄──────────────────────────┘
 *
 * What is held is not given out; what is disputed is never freed either.  Two bits for
 * each cluster, in memory that exists only where it was touched.  No lock of its own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Clusters that are kept track of, 256 MiB at the very most; beyond, 64 TiB of a file
 * with the usual clusters, counts and flags are believed as QEMU believes them. */
#define QCOW2_HELD_MAX (UINT64_C (1) << 30)

typedef enum {
  QCOW2_HELD_NOT,
  QCOW2_HELD_SHARED,   /* by pointers that admit to be several */
  QCOW2_HELD_SOLE,     /* by one that claims to be the only one */
  QCOW2_HELD_DISPUTED, /* … which is not true */
} Qcow2Held;

typedef struct {
  uint8_t *bits;
  size_t size; /* bytes */
} Qcow2HeldMap;

void qcow2_held_clear (Qcow2HeldMap *map);
Qcow2Held qcow2_held_get (const Qcow2HeldMap *map, uint64_t cluster);

/* N clusters from FIRST on are pointed at.  False where that contradicts what is known of
 * one of them, which then is disputed. */
bool qcow2_hold_sole (Qcow2HeldMap *map, uint64_t first, uint64_t n);
bool qcow2_hold_shared (Qcow2HeldMap *map, uint64_t first, uint64_t n);

/* From SHARED to SOLE: no further pointer is to be. */
void qcow2_hold_no_more (Qcow2HeldMap *map, uint64_t cluster);

/* Nothing points there any more; what is disputed stays so. */
void qcow2_held_forget (Qcow2HeldMap *map, uint64_t cluster);
