/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One function for each form of the command.  Each says what goes wrong itself and
 * returns the exit status. */
#pragma once

#include "cli/options.h"

int im_form_mount (const ImOptions *options);
int im_form_nbd (const ImOptions *options);
int im_form_list (const ImOptions *options);
int im_form_info (const ImOptions *options);
int im_form_extract (const ImOptions *options);
int im_form_verify (const ImOptions *options);
int im_form_status (const ImOptions *options);
int im_form_unmount (const ImOptions *options);

/* Prints "imgmount: IMAGE: " and ERROR's text; returns EXIT_FAILURE. */
int im_form_fail (const char *image, const GError *error);

/* Prints all of TEXT to standard output.  Returns the exit status: a full disk or a
 * closed pipe is a failure, and said. */
int im_form_print (const char *text);

/* For forms that serve: says in one line that an image which was not asked for read-only
 * is served so, and why. */
void im_form_say_read_only (const ImImage *image);
