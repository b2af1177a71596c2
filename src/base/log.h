/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages for people: to standard error, and to syslog or a file once detached.
 * Every function may be called from any thread. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Each prints one line "imgmount: TEXT"; control characters in it are escaped. */
void im_log_error (const char *format, ...) G_GNUC_PRINTF (1, 2);
void im_log_warning (const char *format, ...) G_GNUC_PRINTF (1, 2);
/* A second line, "hint: TEXT". */
void im_log_hint (const char *format, ...) G_GNUC_PRINTF (1, 2);
/* Only where the verbosity is at least LEVEL (1: -v, 2: -vv, …). */
void im_log_verbose (int level, const char *format, ...) G_GNUC_PRINTF (2, 3);

void im_log_set_verbosity (int level);
int im_log_verbosity (void);

/* Names the log file for later; it is opened here and now, appended to. */
bool im_log_set_file (const char *path, GError **error);

/* From now on to the log file, or to syslog where none was named. */
void im_log_detach (void);
