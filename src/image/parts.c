/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files that an image consists of. */
#include "image/image.h"

static bool
has_further (ImBlock *block, const struct stat *st)
{
  ImFile *file;
  if (!block->ops->further_file)
    return false;
  for (unsigned i = 0; (file = block->ops->further_file (block, i)); i++)
    if (im_file_shares_medium (file, st))
      return true;
  return false;
}

const char *
im_image_part (const ImImage *image, const struct stat *st)
{
  if (im_file_shares_medium (image->file, st))
    return "the image itself";
  for (ImBlock *block = image->disk; block; block = block->parent) {
    if (has_further (block, st))
      return "a data file of the image";
    if (block->file && im_file_shares_medium (block->file, st))
      return im_file_is_writable (block->file) ? "the image's overlay"
                                               : "a parent of the image";
  }
  return NULL;
}
