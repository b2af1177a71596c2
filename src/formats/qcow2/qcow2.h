/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qcow2 driver, as the table of formats sees it. */
#pragma once

#include "formats/format.h"

extern const ImFormat im_format_qcow2;
