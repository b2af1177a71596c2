/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From options to an opened image, its table, and what is to be handed out. */
#pragma once

#include "cli/options.h"
#include "export/export.h"
#include "partition/partition.h"
#include "report/report.h"

/* All that one run holds open; freed in the right order. */
typedef struct {
  ImResources *shared;
  ImImage *image;
  ImBlock *disk;           /* what is handed out: the image's, or a slice */
  ImPartitionTable *table; /* of disk */
  ImDamage *damage;        /* what reads of disk have met */
  ImReport report;         /* all this, to be told of */
  ImExportSet *set;        /* NULL until im_pipeline_build_exports */
} ImPipeline;

/* Opens the image and reads its table.  After any fork: it starts threads.  Errors are
 * without the image's path. */
ImPipeline *im_pipeline_open (const ImOptions *options, GError **error);
void im_pipeline_free (ImPipeline *pipeline);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImPipeline, im_pipeline_free)

/* Fills pipeline->set: the disk and its partitions, or -P's partition alone. */
bool im_pipeline_build_exports (ImPipeline *pipeline, const ImOptions *options,
                                GError **error);
