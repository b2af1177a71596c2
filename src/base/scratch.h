/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that a thread has for one purpose from its first use to its end.  For buffers
 * that are too large for _Thread_local, which every thread would fill with zeros when it
 * starts, be it ever so short-lived. */
#pragma once

#include <glib.h>

/* Each purpose has a static one of these. */
#define IM_SCRATCH_INIT G_PRIVATE_INIT (g_aligned_free)

/* The calling thread's memory for PURPOSE: SIZE bytes, the same size in every call, at a
 * page boundary, not set.  NULL is not among the answers. */
void *im_scratch (GPrivate *purpose, size_t size);
