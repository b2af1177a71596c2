/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --image-opts: an image as KEY=VALUE,…, in QEMU's words. */
#pragma once

#include "image/image.h"

/* What TEXT says; the keys that are known are in the man page, any other is
 * IM_ERROR_USAGE.  *RET_READ_ONLY where it says read-only=on. */
ImNodeOptions *im_image_opts_parse (const char *text, bool *ret_read_only,
                                    GError **error);
