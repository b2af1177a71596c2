/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What keeps a guess of raw true.  Internal to the layer. */
#pragma once

#include "block/block.h"

/* For a disk that was taken for raw because it carries no signature: a
 * change after which probing would find one is refused (EPERM).  Else whoever can write
 * to the disk could make the next open of it read any file that it names. */
extern const ImWriteGuard im_image_guard_raw;
