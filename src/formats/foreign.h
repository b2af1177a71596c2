/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Formats that are recognised but not read: so no such image is ever taken for raw, whose
 * bytes would be wrong without a word. */
#pragma once

#include "formats/format.h"

/* Its open always fails, and names the format.  Not for -f. */
extern const ImFormat im_format_foreign;
