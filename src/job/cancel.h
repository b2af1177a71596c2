/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work that another thread can call off. */
#pragma once

#include "base/error.h"
#include <stdatomic.h>
#include <stdbool.h>

/* False, with an error, once CANCEL is set; NULL never is. */
static inline bool
im_check_cancelled (const atomic_bool *cancel, GError **error)
{
  if (!cancel || !atomic_load (cancel))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "interrupted");
  return false;
}
