/* SPDX-License-Identifier: GPL-2.0-or-later */
/* raw: the file's bytes are the disk's. */
#pragma once

#include "formats/format.h"

extern const ImFormat im_format_raw;
