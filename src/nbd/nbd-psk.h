/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file of pre-shared keys, as psktool writes it: a line "NAME:KEY" for each user, the
 * key in hexadecimal; a name with bytes that do not print is "#" and hexadecimal too. */
#pragma once

#include <glib.h>

typedef struct ImNbdPskKeys ImNbdPskKeys;

/* Takes TEXT of LENGTH bytes apart.  Errors name the line, and show nothing of a key. */
ImNbdPskKeys *im_nbd_psk_parse (const char *text, size_t length, GError **error);
void im_nbd_psk_free (ImNbdPskKeys *keys);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNbdPskKeys, im_nbd_psk_free)

/* The key of the user whose name is the LENGTH bytes at NAME; NULL: there is no such
 * user. */
GBytes *im_nbd_psk_find (const ImNbdPskKeys *keys, const void *name, size_t length);
