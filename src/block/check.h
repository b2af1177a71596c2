/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one check of ranges that every call passes.  Internal to the layer. */
#pragma once

#include "block/block.h"

/* IM_ERROR_RANGE unless [OFFSET, OFFSET + LENGTH) lies in the disk. */
bool im_block_check_range (const ImBlock *block, uint64_t offset, uint64_t length,
                           GError **error);
