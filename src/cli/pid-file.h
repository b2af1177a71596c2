/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --pid-file: a file with this process's number, for as long as it serves. */
#pragma once

#include <glib.h>

typedef struct ImPidFile ImPidFile;

/* Makes or takes over the file PATH and locks it; IM_ERROR_LOCKED where another server
 * has it.  Returns NULL on failure. */
ImPidFile *im_pid_file_new (const char *path, GError **error);

/* Removes it, where PATH is still this file. */
void im_pid_file_free (ImPidFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImPidFile, im_pid_file_free)
