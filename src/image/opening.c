/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Locking a file, looking at its signature, and finding what it names. */
#include "image/opening.h"
#include "block/lock.h"

bool
im_image_lock (ImFile *file, GError **error)
{
  if (im_file_fd (file) < 0)
    return true;
  unsigned changes = 1u << IM_LOCK_WRITE | 1u << IM_LOCK_RESIZE;
  unsigned used = 1u << IM_LOCK_READ | (im_file_is_writable (file) ? changes : 0);
  return im_lock_image (im_file_fd (file), used, changes, error);
}

const ImFormat *
im_image_probe (ImFile *file, GError **error)
{
  uint8_t head[IM_PROBE_HEAD], tail[IM_PROBE_TAIL];
  ImProbeInput input;
  if (!im_probe_input_read (&input, file, head, tail, error))
    return NULL;
  return im_format_probe (&input);
}

char *
im_image_resolve_name (ImFile *from, const char *name)
{
  if (g_path_is_absolute (name))
    return g_strdup (name);
  g_autofree char *folder = g_path_get_dirname (im_file_path (from));
  return g_build_filename (folder, name, NULL);
}
