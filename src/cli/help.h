/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What --help prints, from the table of options. */
#pragma once

#include <glib.h>

/* Several lines; the caller frees them. */
char *im_help_text (void);
