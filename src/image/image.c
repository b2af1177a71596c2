/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening an image: its file and lock, its format, and the parents that it names. */
#include "image/image.h"
#include "base/error.h"
#include "formats/raw.h"
#include "image/guard.h"
#include "image/opening.h"

#include <errno.h>
#include <stdlib.h>

/* What one image's open shares with those of its parents; lives on the stack of the
 * outermost. */
typedef struct Opening Opening;
struct Opening {
  ImOpenContext context; /* first: what drivers hand back to the callbacks */
  const ImOpenOptions *options;
  const ImNodeOptions *node; /* what is said of this image, or NULL */
  const Opening *child;      /* whose parent this is, or NULL */
  const ImFile *file;
  unsigned depth;
};

/* The lock that FILE needs, if any is to be taken. */
static bool
lock (ImFile *file, const ImOpenOptions *options, GError **error)
{
  if (options->force_share)
    return true;
  if (im_image_lock (file, error))
    return true;
  if (error && g_error_matches (*error, IM_ERROR, IM_ERROR_LOCKED)) {
    g_autofree char *text = (*error)->message;
    (*error)->message = g_strconcat (text, " (-U reads it all the same)", NULL);
  }
  return false;
}

static ImFile *
open_with (const char *path, bool writable, const ImOpenOptions *options, GError **error)
{
  const ImFileMode mode = {
      .writable = writable, .cache = options->cache, .aio = options->aio};
  return im_file_open (path, &mode, error);
}

/* Is ERROR of opening for writing a reason to open for reading instead? */
static bool
may_be_read_only (const GError *error)
{
  return g_error_matches (error, IM_ERRNO, EACCES) ||
         g_error_matches (error, IM_ERRNO, EPERM) ||
         g_error_matches (error, IM_ERRNO, EROFS);
}

/* Nobody may write it, root included: its owner wants it to stay. */
static bool
is_protected (const ImFile *file)
{
  const struct stat *st = im_file_stat (file);
  return S_ISREG (st->st_mode) && !(st->st_mode & (S_IWUSR | S_IWGRP | S_IWOTH));
}

/* For writing where that can be. */
static ImFile *
open_writable (const char *path, const ImOpenOptions *options, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (ImFile) file = open_with (path, true, options, &failure);
  if (file ? is_protected (file) : may_be_read_only (failure))
    return open_with (path, false, options, error);
  if (!file)
    g_propagate_error (error, g_steal_pointer (&failure));
  return g_steal_pointer (&file);
}

static const ImFormat *
choose_format (ImFile *file, const char *name, GError **error)
{
  if (!name)
    return im_image_probe (file, error);
  const ImFormat *format = im_format_by_name (name);
  if (!format)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "format '%s' is not known (-f help lists those that are)", name);
  return format;
}

/* Is FILE one of those that are being opened towards CHILD? */
static bool
is_open_already (const ImFile *file, const Opening *child)
{
  for (const Opening *o = child; o; o = o->child) {
    if (im_file_is_same (file, im_file_stat (o->file)))
      return true;
  }
  return false;
}

static bool
check_loop (const ImFile *file, const Opening *child, GError **error)
{
  if (!is_open_already (file, child))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "the chain of backing files loops: it is its own ancestor");
  return false;
}

static ImBlock *open_parent (const ImOpenContext *context, ImFile *from, const char *name,
                             const char *format, GError **error);
static ImFile *open_further_file (const ImOpenContext *context, ImFile *from,
                                  const char *name, GError **error);

static const ImSecret *
find_key (const ImOpenContext *context, ImFile *file, unsigned attempt, GError **error)
{
  const Opening *opening = (const Opening *)context;
  const ImOpenOptions *options = opening->options;
  return options->find_key (options->find_key_data, im_file_path (file),
                            opening->node ? opening->node->key_secret : NULL, attempt,
                            error);
}

/* What is said of a parent of OPENING's image, or of the image where that is NULL. */
static const ImNodeOptions *
node_below (const Opening *opening, const ImOpenOptions *options)
{
  if (!opening)
    return options->node;
  return opening->node ? opening->node->backing : NULL;
}

/* Passes on what NODE says to an image of FORMAT. */
static bool
apply_node (ImOpenContext *context, const ImNodeOptions *node, const ImFormat *format,
            GError **error)
{
  if (!node)
    return true;
  context->raw_offset = node->offset;
  context->raw_size = node->size;
  context->encrypt_format = node->encrypt_format;
  if ((node->offset == 0 && node->size == 0) || format == &im_format_raw)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "offset and size are for raw, and this is %s", format->name);
  return false;
}

/* Opens FILE as FORMAT; its parents through callbacks that lead back here. */
static ImBlock *
open_disk (ImFile *file, const ImFormat *format, const ImOpenOptions *options,
           const ImResources *shared, const Opening *child, GError **error)
{
  Opening opening = {
      .context = {.shared = shared,
                  .open_parent = open_parent,
                  .open_file = open_further_file,
                  .find_key = options->find_key ? find_key : NULL},
      .options = options,
      .node = node_below (child, options),
      .child = child,
      .file = file,
      .depth = child ? child->depth + 1 : 0,
  };
  if (opening.depth > IM_IMAGE_MAX_DEPTH) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "the chain of backing files is longer than %d", IM_IMAGE_MAX_DEPTH);
    return NULL;
  }
  if (!child) {
    opening.context.snapshot_id = options->snapshot_id;
    opening.context.snapshot_name = options->snapshot_name;
    opening.context.snapshot_any = options->snapshot_any;
    if ((options->snapshot_id || options->snapshot_name || options->snapshot_any) &&
        !format->has_snapshots) {
      g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                   "the %s format has no internal snapshots", format->name);
      return NULL;
    }
  }
  if (!apply_node (&opening.context, opening.node, format, error))
    return NULL;
  ImBlock *disk = format->open (file, &opening.context, error);
  if (disk)
    im_block_set_file (disk, file);
  return disk;
}

/* A further file that is to be written must not be the image itself. */
static bool
check_other (const ImFile *file, const Opening *opening, GError **error)
{
  if (!is_open_already (file, opening))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "the image and the data file that it names are the same file");
  return false;
}

/* Is PATH, with all links resolved, below the folder that --backing names? */
static bool
check_under (const char *path, const char *folder, GError **error)
{
  g_autofree char *real_path = realpath (path, NULL);
  g_autofree char *real_folder = realpath (folder, NULL);
  size_t n = real_folder ? strlen (real_folder) : 0;
  if (n == 1)
    n = 0; /* "/" */
  if (real_path && real_folder && strncmp (real_path, real_folder, n) == 0 &&
      real_path[n] == '/')
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "is not below %s, which --backing demands", folder);
  return false;
}

/* May FROM have a file at PATH opened?  With --backing=none it is a data file, without
 * which there is no disk: then one beside the image. */
static bool
check_allowed (const ImOpenOptions *options, ImFile *from, const char *path,
               GError **error)
{
  if (options->backing == IM_BACKING_FOLLOW)
    return true;
  if (options->backing == IM_BACKING_UNDER)
    return check_under (path, options->backing_dir, error);
  g_autofree char *real = realpath (im_file_path (from), NULL);
  g_autofree char *folder = g_path_get_dirname (real ? real : im_file_path (from));
  return check_under (path, folder, error);
}

/* The file that FROM calls NAME; only ever read unless WRITABLE. */
static ImFile *
open_named (const Opening *opening, ImFile *from, const char *name, bool writable,
            GError **error)
{
  const ImOpenOptions *options = opening->options;
  g_autofree char *path = im_image_resolve_name (from, name);
  g_autoptr (ImFile) file = NULL;
  bool ok = check_allowed (options, from, path, error);
  if (ok)
    file = writable ? open_writable (path, options, error)
                    : open_with (path, false, options, error);
  ok = file && (!im_file_is_writable (file) || check_other (file, opening, error)) &&
       lock (file, options, error);
  if (!ok)
    g_prefix_error (error, "%s: ", path);
  return ok ? g_steal_pointer (&file) : NULL;
}

static ImBlock *
open_parent (const ImOpenContext *context, ImFile *from, const char *name,
             const char *format_name, GError **error)
{
  const Opening *opening = (const Opening *)context;
  const ImNodeOptions *node = node_below (opening, opening->options);
  if (opening->options->backing == IM_BACKING_NONE)
    return NULL;
  name = node && node->filename ? node->filename : name;
  format_name = node && node->driver ? node->driver : format_name;
  g_autoptr (ImFile) file = open_named (opening, from, name, false, error);
  if (!file) {
    g_prefix_error (error, "backing file ");
    return NULL;
  }
  const ImFormat *format =
      check_loop (file, opening, error) ? choose_format (file, format_name, error) : NULL;
  ImBlock *disk =
      format ? open_disk (file, format, opening->options, context->shared, opening, error)
             : NULL;
  if (!disk)
    g_prefix_error (error, "backing file %s: ", im_file_path (file));
  return disk;
}

/* Data files count as parents for --backing: the image names them likewise. */
static ImFile *
open_further_file (const ImOpenContext *context, ImFile *from, const char *name,
                   GError **error)
{
  return open_named ((const Opening *)context, from, name, im_file_is_writable (from),
                     error);
}

/* The image's file for writing; NULL with image->read_only_because set where it can only
 * be read, NULL with an error otherwise. */
static ImFile *
open_for_writing (ImImage *image, const ImOpenOptions *options, GError **error)
{
  g_autoptr (GError) failure = NULL;
  g_autoptr (ImFile) file = open_with (image->path, true, options, &failure);
  if (!file) {
    if (may_be_read_only (failure))
      image->read_only_because = g_strdup ("it cannot be opened for writing");
    else
      g_propagate_error (error, g_steal_pointer (&failure));
    return NULL;
  }
  image->format = choose_format (file, options->format, error);
  if (!image->format)
    return NULL;
  if (is_protected (file))
    image->read_only_because = g_strdup ("nobody has write permission on it");
  else if (!image->format->writable)
    image->read_only_because =
        g_strdup_printf ("this version does not write %s", image->format->name);
  return image->read_only_because ? NULL : g_steal_pointer (&file);
}

/* Opens and locks the image's own file, and finds its format. */
static bool
open_own_file (ImImage *image, const ImOpenOptions *options, GError **error)
{
  if (options->writable) {
    image->file = open_for_writing (image, options, error);
    if (!image->file && !image->read_only_because)
      return false;
  }
  if (!image->file)
    image->file = open_with (image->path, false, options, error);
  if (!image->file || !lock (image->file, options, error))
    return false;
  /* Also where it was found before: the name may lead elsewhere by now. */
  image->format = choose_format (image->file, options->format, error);
  return image->format != NULL;
}

/* The image, once; whether it is writable is then to be seen. */
static ImImage *
open_once (const char *path, const ImOpenOptions *options, const ImResources *shared,
           GError **error)
{
  g_autoptr (ImImage) image = g_new0 (ImImage, 1);
  image->path = g_strdup (path);
  image->probed = options->format == NULL;
  if (!open_own_file (image, options, error))
    return NULL;
  image->disk = open_disk (image->file, image->format, options, shared, NULL, error);
  if (!image->disk)
    return NULL;
  if (image->probed && image->format == &im_format_raw)
    im_block_set_guard (image->disk, &im_image_guard_raw);
  return g_steal_pointer (&image);
}

/* The image for reading alone, though writing was asked for. */
static ImImage *
open_read_only (const char *path, const ImOpenOptions *options, const char *because,
                const ImResources *shared, GError **error)
{
  ImOpenOptions reading = *options;
  reading.writable = false;
  ImImage *image = open_once (path, &reading, shared, error);
  if (image)
    image->read_only_because = g_strdup (because);
  return image;
}

void
im_node_options_free (ImNodeOptions *node)
{
  while (node) {
    ImNodeOptions *backing = node->backing;
    g_free (node->filename);
    g_free (node->driver);
    g_free (node->encrypt_format);
    g_free (node->key_secret);
    g_free (node);
    node = backing;
  }
}

ImImage *
im_image_open (const char *path, const ImOpenOptions *options, const ImResources *shared,
               GError **error)
{
  /* Without locks nobody would know of us: two writers would ruin the image. */
  if (options->writable && options->force_share)
    return open_read_only (path, options, "-U takes no lock", shared, error);
  g_autoptr (ImImage) image = open_once (path, options, shared, error);
  if (!image || !im_file_is_writable (image->file) || image->disk->writable)
    return g_steal_pointer (&image);
  /* The format can be written, this image not: nothing of it stays open for writing. */
  g_autofree char *because = g_strdup (image->disk->read_only_because);
  g_clear_pointer (&image, im_image_free);
  return open_read_only (path, options, because, shared, error);
}

void
im_image_free (ImImage *image)
{
  if (!image)
    return;
  im_block_unref (image->disk);
  im_file_unref (image->file);
  g_free (image->read_only_because);
  g_free (image->path);
  g_free (image);
}
