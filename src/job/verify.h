/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checking what an image and its partition table say twice. */
#pragma once

#include "image/image.h"
#include "partition/partition.h"

typedef struct {
  uint64_t errors, leaks; /* leaks: clusters, or what the format allocates by */
} ImVerified;

/* Calls PRINT (DATA, line) for each problem, up to a number, and for what was left out.
 * False: it could not be checked. */
bool im_verify (const ImImage *image, const ImPartitionTable *table,
                void (*print) (void *data, const char *line), void *data,
                ImVerified *ret_verified, GError **error);
