/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds out how much of each file is allocated, on a thread of its own, once somebody has
 * asked. */
#pragma once

#include "fuse/tree.h"

typedef struct ImFuseMeasure ImFuseMeasure;

/* NULL: no thread could be made. */
ImFuseMeasure *im_fuse_measure_new (void);
/* Ends soon, whatever is left to do. */
void im_fuse_measure_free (ImFuseMeasure *measure);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImFuseMeasure, im_fuse_measure_free)

/* Has NODE, a block that outlives MEASURE, measured if that has not been done since it
 * was last written to; never without a pause.  Any thread; never waits. */
void im_fuse_measure_want (ImFuseMeasure *measure, ImNode *node);
