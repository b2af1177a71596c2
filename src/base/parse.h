/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers as people write them on a command line. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* A number in base 0 (0x…, 0…, decimal).  No sign, no blanks, no rubbish after it,
 * at most MAX.  WHAT names it in the error: "--offset: …". */
bool im_parse_number (const char *text, const char *what, uint64_t max,
                      uint64_t *ret_value, GError **error);

/* The same with an optional suffix K, M, G, T, P, E (powers of 1024, either case). */
bool im_parse_size (const char *text, const char *what, uint64_t *ret_value,
                    GError **error);

/* "20 GiB", "19.5 GiB", "512 bytes": three digits at most.  Caller frees. */
char *im_format_size (uint64_t bytes);
