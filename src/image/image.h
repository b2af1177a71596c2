/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a path to a disk: file, lock, probe, format, parents. */
#pragma once

#include "base/secret.h"
#include "formats/format.h"

typedef enum {
  IM_BACKING_FOLLOW, /* open the parents that images name */
  IM_BACKING_NONE,   /* read every image as if it had none; data files from its folder */
  IM_BACKING_UNDER,  /* only parents below a folder */
} ImBackingPolicy;

/* What is said of one image of a chain beyond what it says itself; NULL and 0: nothing.
 */
typedef struct ImNodeOptions ImNodeOptions;
struct ImNodeOptions {
  char *filename, *driver;
  uint64_t offset, size;  /* raw: a part of the file; size 0: the rest */
  char *encrypt_format;   /* "luks", "aes" */
  char *key_secret;       /* the id of its secret */
  ImNodeOptions *backing; /* of its parent */
};

void im_node_options_free (ImNodeOptions *node);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNodeOptions, im_node_options_free)

/* The passphrase of the image at PATH: the secret named ID, or the caller's choice where
 * that is NULL; borrowed.  ATTEMPT as with ImOpenContext's find_key. */
typedef const ImSecret *(*ImFindKey) (void *data, const char *path, const char *id,
                                      unsigned attempt, GError **error);

typedef struct {
  const char *format; /* -f; NULL: probe */
  const char *snapshot_id, *snapshot_name, *snapshot_any;
  ImBackingPolicy backing;
  const char *backing_dir; /* IM_BACKING_UNDER */
  bool force_share;        /* -U: take no locks, mind nobody's */
  bool writable;           /* open for writing where that can be done at all */
  ImCacheMode cache;       /* of all files; parents are only read */
  ImAio aio;
  const ImNodeOptions *node; /* more on the image and its parents, or NULL; its filename
                              * and driver are not looked at, those of parents are */
  ImFindKey find_key;        /* NULL: encrypted images cannot be opened */
  void *find_key_data;
} ImOpenOptions;

/* One opened image: what its path led to. */
typedef struct {
  char *path; /* as the user gave it */
  ImFile *file;
  const ImFormat *format; /* what it turned out to be */
  bool probed;            /* found by probing, not by -f */
  ImBlock
      *disk; /* an overlay's, where there is one; the image's own is its parent then */
  char *read_only_because; /* wanted writable, and is not: why; else NULL */
} ImImage;

/* Parents deeper than this are taken for a loop that hides behind links. */
#define IM_IMAGE_MAX_DEPTH 64

ImImage *im_image_open (const char *path, const ImOpenOptions *options,
                        const ImResources *shared, GError **error);
void im_image_free (ImImage *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImImage, im_image_free)

/* What of IMAGE would change if what ST describes were written: "the image itself", "a
 * parent of the image" and the like, static text; NULL: nothing. */
const char *im_image_part (const ImImage *image, const struct stat *st);

/* From now on writes go to a qcow2 overlay above IMAGE, which was opened for reading: the
 * file PATH, which is made, or continued where it is there already and its parent is
 * IMAGE, as IMAGE was opened; or a file without a name in TMPDIR or /var/tmp, where PATH
 * is NULL.  MODE, a writable one, is PATH's; what has no name is never synced. */
bool im_image_add_overlay (ImImage *image, const char *path, const ImFileMode *mode,
                           const ImResources *shared, GError **error);

/* The pool, the table cache and the chunk cache, made together; to be made after any
 * fork and freed after the last image. */
ImResources *im_resources_new (uint64_t metadata_cache, uint64_t chunk_cache);
void im_resources_free (ImResources *shared);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImResources, im_resources_free)
