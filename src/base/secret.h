/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Passphrases and keys in memory: never swapped out or dumped where the system allows
 * that, and wiped when they go. */
#pragma once

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint8_t *bytes; /* followed by a zero that does not count */
  size_t length;
} ImSecret;

/* Larger ones are mistakes: cryptsetup takes no key file beyond this either. */
#define IM_SECRET_MAX (8u << 20)

/* LENGTH bytes, a copy of BYTES, or zeros where that is NULL. */
ImSecret *im_secret_new (const void *bytes, size_t length);
void im_secret_free (ImSecret *secret);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImSecret, im_secret_free)

/* All that PATH holds, to its last byte; a pipe will do. */
ImSecret *im_secret_read_file (const char *path, GError **error);

/* What SECRET, as base64, stands for; blanks and line ends in it are skipped. */
ImSecret *im_secret_decode_base64 (const ImSecret *secret, GError **error);

/* Asks on the terminal of this process, without showing what is typed.  PROMPT is made
 * printable.  IM_ERROR_UNSUPPORTED where there is no terminal. */
ImSecret *im_secret_ask (const char *prompt, GError **error);
