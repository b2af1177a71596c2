/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Steps of opening a file that images, their parents and overlays share.  Internal to the
 * layer. */
#pragma once

#include "formats/format.h"

/* Locks FILE as QEMU does: for reading consistent data, and for writing where FILE can,
 * while nobody else writes.  Lasts as long as FILE is open. */
bool im_image_lock (ImFile *file, GError **error);

/* The format whose signature FILE has. */
const ImFormat *im_image_probe (ImFile *file, GError **error);

/* The path that the image FROM means by NAME.  Caller frees. */
char *im_image_resolve_name (ImFile *from, const char *name);
