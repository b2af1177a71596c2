/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of an image and its partitions, as text and as JSON. */
#pragma once

#include "base/terminal.h"
#include "image/image.h"
#include "partition/partition.h"

/* Every function returns text that the caller frees. */

/* --list, for people; ends with a newline. */
char *im_report_list (const ImImage *image, const ImPartitionTable *table);
/* What follows it on TERMINAL: DISK, which TABLE was read from, drawn to scale, and how
 * much of it is allocated.  Empty where there is nothing to draw, or no room. */
char *im_report_drawing (ImBlock *disk, const ImPartitionTable *table,
                         const ImTerminal *terminal);
/* --list --json: a superset of what `sfdisk --json` prints. */
char *im_report_list_json (const ImImage *image, const ImPartitionTable *table,
                           GError **error);
/* --info, for people. */
char *im_report_info (const ImImage *image);
/* --info --json and info.json: partitions included.  TABLE may be NULL. */
char *im_report_info_json (const ImImage *image, const ImPartitionTable *table,
                           GError **error);

/* What was copied out of an image; strings borrowed. */
typedef struct {
  const char *what;                                 /* "p2" */
  const char *file;                                 /* where it went */
  uint64_t offset, size;                            /* bytes, on the disk */
  int64_t begun, ended;                             /* seconds since 1970 */
  const char *const *digest_names, *const *digests; /* hex; each ended by NULL */
} ImProvenance;

/* The text for FILE.json. */
char *im_report_provenance_json (const ImImage *image, const ImPartitionTable *table,
                                 const ImProvenance *provenance, GError **error);

/* True in a build with json-glib; without it the JSON functions fail and say so. */
bool im_report_has_json (void);
