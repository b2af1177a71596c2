/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images made and judged by qemu-img, opened for writing by the driver alone. */
#pragma once

#include "formats/format.h"

/* Where standard clusters lie. */
typedef enum {
  RIG_DATA_INSIDE,
  RIG_DATA_FILE,     /* in an external data file */
  RIG_DATA_FILE_RAW, /* … which is the disk byte for byte */
} RigData;

/* How an image is made. */
typedef struct {
  unsigned cluster_bits, refcount_bits, version;
  bool extended; /* L2 entries */
  RigData data;
  bool parent;     /* shorter than the disk */
  bool filled;     /* some clusters are there already */
  bool compressed; /* … compressed */
  bool snapshot;   /* … and shared with a snapshot */
  bool preallocated;
  bool lazy;  /* refcounts */
  bool dirty; /* marked so, and with refcounts that are all 0 */
  uint64_t size;
} RigShape;

typedef struct {
  ImOpenContext context; /* first */
  ImResources shared;
  char *folder, *path;
  char *data_path; /* NULL: no data file */
  RigShape shape;
  uint8_t *expected; /* what the disk reads as; size bytes */
  uint8_t *original; /* the same when it was made */
  ImCacheMode cache; /* as it was opened */
  ImFile *file;
  ImBlock *block;
} Rig;

/* False where there is no qemu-img; the test was skipped. */
bool rig_has_qemu_img (void);

void rig_make (Rig *rig, const RigShape *shape, const ImResources *resources);
/* A feature that the driver does not keep up: a bitmap of what changes. */
void rig_add_bitmap (Rig *rig);
void rig_open (Rig *rig, ImCacheMode cache);
/* Opens another file, such as a copy, instead. */
void rig_open_path (Rig *rig, const char *path, ImCacheMode cache, bool writable);
void rig_close (Rig *rig);
void rig_clear (Rig *rig);

/* The exit status of qemu-img check: 0, 2 errors, 3 leaks. */
int rig_check (const char *path, char **ret_output);
/* That of qemu-img check -r all; 0: nothing is wrong any more. */
int rig_repair (const char *path, char **ret_output);
/* Does the image say that it is dirty? */
bool rig_is_dirty (const char *path);
/* Closed, checked without errors and leaks, and read by qemu-img as expected; a raw data
 * file is compared as it is. */
void rig_verify (Rig *rig);
void rig_compare (Rig *rig);

char *rig_describe (const RigShape *shape);
/* A write; some are tried without waiting first, as exporters do. */
bool rig_write (Rig *rig, const void *buf, size_t len, uint64_t offset,
                ImWriteFlags flags, GError **error);
/* LEN bytes that look like nothing else. */
void rig_fill (uint8_t *bytes, size_t len, GRand *rand);
