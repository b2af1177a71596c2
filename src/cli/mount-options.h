/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -o of the mount form: mount(8)'s options, FUSE's and our own in one list. */
#pragma once

#include "cli/options.h"

/* Moves our own options of options->mount_options (ro, offset=, partition=, format=, …)
 * into their fields, drops those that are meant for mount(8) and others, and leaves there
 * what FUSE is to be given.  A word that nobody knows is IM_ERROR_USAGE. */
bool im_mount_options_apply (ImOptions *options, GError **error);
