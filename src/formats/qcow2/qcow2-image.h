/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An open qcow2 image, as the files of the driver share it.  Apart from `beneath`, and in
 * a writable image `l1`, it does not change once open, so no lock is needed; what writing
 * changes is the writer's (qcow2-writer.h). */
#pragma once

#include "formats/format.h"
#include "formats/qcow2/qcow2-layout.h"
#include <stdatomic.h>

/* Are holes of the file beneath allocated clusters worth a look? */
typedef enum {
  QCOW2_BENEATH_UNKNOWN,
  QCOW2_BENEATH_NO,
  QCOW2_BENEATH_YES,
} Qcow2Beneath;

typedef struct {
  ImBlock block; /* first, so that a pointer to it is one to the image */
  ImFile *file;  /* the image's own: tables and compressed clusters */
  ImFile *data;  /* standard clusters: FILE, or the external data file */
  bool raw_data; /* DATA is the disk byte for byte, and stays so when it is written */
  Qcow2Header header;
  Qcow2Extensions extensions;
  Qcow2Geometry geometry;
  char *backing_name;      /* as the image has it, or NULL */
  Qcow2Snapshot *snapshot; /* the one that is shown, or NULL: the active state */
  const ImCodec *codec;    /* of compressed clusters */
  ImTransform *crypt;      /* of standard clusters, or NULL */
  atomic_ullong *l1;       /* host order; what lies past it is unallocated */
  uint64_t l1_entries;
  uint64_t l1_offset;         /* in FILE, for naming bad entries */
  atomic_int beneath;         /* Qcow2Beneath; found at the first question */
  struct Qcow2Writer *writer; /* NULL: read-only */
} Qcow2Image;

/* ImBlockOps */
bool qcow2_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
                ImExtent *extents, size_t n, size_t *ret_n, GError **error);
GVariant *qcow2_describe (ImBlock *block);
ImFile *qcow2_further_file (ImBlock *block, unsigned i);
bool qcow2_looks_beneath (ImBlock *block);
bool qcow2_check (ImBlock *block, const ImCheckSink *sink, GError **error);

ImBitmap *qcow2_open_bitmap (ImBlock *block, const char *name, GError **error);

/* ImFormat.create */
bool qcow2_create (ImFile *file, const ImNewImage *new_image, GError **error);

/* A position on the disk, and its place in the data file, as image->crypt counts. */
static inline uint64_t
qcow2_crypt_at (const Qcow2Image *image, uint64_t guest, uint64_t at)
{
  return image->header.crypt_method == QCOW2_CRYPT_LUKS ? at : guest;
}

/* Finds image->crypt where the image is encrypted, which takes a passphrase. */
bool qcow2_crypt_open (Qcow2Image *image, const ImOpenContext *context, GError **error);
const char *qcow2_crypt_name (const Qcow2Header *header);

/* What a file name that stands in an image means: NAME, or what follows "file:".  Fails
 * for whatever QEMU would take for something other than a file.  WHAT names it. */
char *qcow2_name_resolve (const char *what, const char *name, GError **error);

/* All snapshots, as a GPtrArray of Qcow2Snapshot, in the table's order. */
GPtrArray *qcow2_snapshots_read (ImFile *file, const Qcow2Header *header, GError **error);

/* The one that the context asks for; *ret_snapshot is NULL where it asks for none. */
bool qcow2_snapshot_choose (ImFile *file, const Qcow2Header *header,
                            const ImOpenContext *context, Qcow2Snapshot **ret_snapshot,
                            GError **error);

/* The directory of bitmaps, as a GPtrArray of Qcow2Bitmap; the image has one. */
GPtrArray *qcow2_bitmaps_read (Qcow2Image *image, GError **error);
