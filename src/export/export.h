/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is handed out, whichever exporter does it: blocks under names, texts rendered when
 * they are opened, and links.  Built by the command line, const afterwards. */
#pragma once

#include "block/bitmap.h"
#include <sys/types.h>
#include <time.h>

typedef enum {
  IM_EXPORT_DISK, /* the whole disk (or the one that -P and --offset put in its place) */
  IM_EXPORT_PARTITION, /* p1, p2, … */
  IM_EXPORT_GAP,       /* gaps/2048-63: what no partition has */
} ImExportKind;

/* One disk or partition. */
typedef struct {
  ImExportKind kind;
  char *name;        /* "disk", "p1"; "gaps/2048-63", in a folder; valid UTF-8 */
  char *description; /* for people; may be NULL */
  ImBlock *block;    /* a reference */
  uint64_t offset;   /* of its first byte on the disk */
} ImExport;

/* A text, such as info.json. */
typedef struct {
  char *name;
  /* Renders it anew; any thread.  Caller frees. */
  char *(*render) (void *data);
  void *data; /* borrowed; outlives the set */
} ImExportText;

/* A symbolic link, such as by-partlabel/root → ../p2. */
typedef struct {
  char *directory; /* "by-partlabel"; one level */
  char *name;      /* a safe file name, unique within its directory */
  char *target;    /* as readlink gives it */
} ImExportLink;

/* A bitmap that is handed out beside the disk. */
typedef struct {
  char *name;
  ImBitmap *bitmap; /* owned; of the disk that the blocks' offsets count in */
} ImExportBitmap;

typedef struct {
  GPtrArray *blocks;      /* of ImExport; the disk first, then partitions by number */
  GPtrArray *texts;       /* of ImExportText */
  GPtrArray *links;       /* of ImExportLink */
  GPtrArray *bitmaps;     /* of ImExportBitmap */
  GHashTable *by_name;    /* name → ImExport, borrowed from blocks */
  GHashTable *link_names; /* the set's own: which links' names are taken */
  struct stat image;      /* owner, mode and times of the image */
  char *image_path;       /* for the mount table and messages */
  bool read_only;
  bool tells_depth; /* clients may learn which image of the chain holds what */
} ImExportSet;

ImExportSet *im_export_set_new (const char *image_path, const struct stat *image);
void im_export_set_free (ImExportSet *set);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImExportSet, im_export_set_free)

/* Each copies its strings and takes a reference of BLOCK. */
void im_export_set_add_block (ImExportSet *set, ImExportKind kind, const char *name,
                              const char *description, ImBlock *block, uint64_t offset);
void im_export_set_add_text (ImExportSet *set, const char *name,
                             char *(*render) (void *data), void *data);
/* NAME may be any bytes: '/', NUL, control and invisible characters, invalid UTF-8, "."
 * and ".." are made into a safe file name, and one that is taken gets a number appended.
 */
void im_export_set_add_link (ImExportSet *set, const char *directory, const char *name,
                             const char *target);

/* Takes BITMAP. */
void im_export_set_add_bitmap (ImExportSet *set, const char *name, ImBitmap *bitmap);

/* By name, or NULL. */
const ImExport *im_export_set_find (const ImExportSet *set, const char *name);
