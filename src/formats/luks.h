/* SPDX-License-Identifier: GPL-2.0-or-later */
/* luks: an encrypted disk behind a LUKS header. */
#pragma once

#include "formats/format.h"

extern const ImFormat im_format_luks;
