/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which options of the NBD form go together, as far as that hangs on their being given.
 */
#pragma once

#include "cli/option-table.h"

/* True where NAME, a long name without its dashes, is among USED: of ImOptionEntry. */
bool im_option_is_used (const GPtrArray *used, const char *name);

/* Errors are IM_ERROR_USAGE, one sentence for the first rule that is broken. */
bool im_option_rules_check (const GPtrArray *used, GError **error);
