/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A good qcow2 image to poke at, made here and not by another program, and a way to open
 * it without the layer above.
 *
 *   cluster (512 bytes)
 *   0 header, extensions, backing name    6 second data cluster
 *   1 refcount table                      7 compressed data, from byte 3 on
 *   2 refcount block                      8 third data cluster
 *   3 L1 table                            9 snapshot table
 *   4 L2 table of the first 32 KiB       10 the snapshot's L1 table (no entries)
 *   5 first data cluster                 11 bitmap directory
 *
 *   the disk: 0 data 5 | 1 data 6 | 2 zero | 3 unallocated | 4 compressed | 5 data 8 |
 *             up to 32 KiB unallocated | 3 × 32 KiB without an L2 table */
#pragma once

#include "formats/format.h"

#define SAMPLE_CLUSTER  512u
#define SAMPLE_CLUSTERS 12u
#define SAMPLE_SIZE     (SAMPLE_CLUSTERS * SAMPLE_CLUSTER)
#define SAMPLE_DISK     131072u
#define SAMPLE_AT(n)    ((n)*SAMPLE_CLUSTER)
#define SAMPLE_L2(n)    (SAMPLE_AT (4) + (n)*8u)
#define SAMPLE_BACKING  480u /* where the parent's name is, when there is one */

/* The bytes of the image; SAMPLE_SIZE of them, caller frees. */
uint8_t *sample_new (void);

/* Appends a header extension behind those that are there. */
void sample_add_extension (uint8_t *image, uint32_t type, const void *data, uint32_t len);

/* Names a parent. */
void sample_set_backing (uint8_t *image, const char *name);

/* An image opened from bytes, and what its driver asked for. */
typedef struct {
  ImOpenContext context; /* first: the callbacks find the rest by it */
  ImResources shared;
  ImFile *file;
  ImBlock *block; /* NULL where it was refused */
  GError *error;
  char *parent_name, *parent_format, *file_name; /* as the driver asked */
  const uint8_t *other;                          /* bytes of a data file, or NULL */
  size_t other_len;
} Opened;

/* Set the context's snapshot fields before. */
void sample_open (Opened *opened, const uint8_t *bytes, size_t len);
/* The same for a file that is there already; takes its reference. */
void sample_open_file (Opened *opened, ImFile *file);
void sample_close (Opened *opened);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Opened, sample_close)

/* A file of SIZE bytes that has no name: BYTES, and a hole for the rest. */
ImFile *sample_file (const uint8_t *bytes, size_t len, size_t size);

/* Opens IMAGE and expects a refusal with CODE whose text has PART. */
void sample_assert_refused (const uint8_t *image, gint code, const char *part);
