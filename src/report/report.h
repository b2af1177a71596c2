/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of an image and its partitions, as text and as JSON. */
#pragma once

#include "base/served.h"
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
/* All that --info and info.json tell of; borrowed. */
typedef struct {
  const ImImage *image;
  const ImPartitionTable *table; /* may be NULL */
  const ImBlock *disk;           /* what is handed out: the image's, or a slice of it */
  uint64_t disk_offset;          /* of its first byte, on the image's disk */
  const char *read_only_because; /* NULL: it is writable */
  ImDamage *damage;              /* of disk; NULL: nobody looks for any */
} ImReport;

/* --info, for people. */
char *im_report_info (const ImReport *report);
/* --info --json and info.json: partitions included. */
char *im_report_info_json (const ImReport *report, GError **error);

/* What was copied out of an image; strings borrowed. */
typedef struct {
  const char *what;                                 /* "p2" */
  const char *file;                                 /* where it went */
  uint64_t offset, size;                            /* bytes, on the disk */
  int64_t begun, ended;                             /* seconds since 1970 */
  const char *const *digest_names, *const *digests; /* hex; each ended by NULL */
} ImProvenance;

/* The text for FILE.json. */
char *im_report_provenance_json (const ImReport *report, const ImProvenance *provenance,
                                 GError **error);

/* --status, for people: of ImServed; "" where there are none. */
char *im_report_status (const GPtrArray *mounts, const GPtrArray *devices);
/* --status --json. */
char *im_report_status_json (const GPtrArray *mounts, const GPtrArray *devices,
                             GError **error);

/* True in a build with jansson; without it the JSON functions fail and say so. */
bool im_report_has_json (void);
