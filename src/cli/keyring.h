/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The secrets of --object, and those that are asked for on the terminal. */
#pragma once

#include "base/secret.h"
#include <stdbool.h>

typedef struct ImKeyring ImKeyring;

/* Reads the secrets of N values of --object.  A secret that stands in a value itself is
 * made unreadable there, so that it does not stay in the list of processes. */
ImKeyring *im_keyring_new (char *const *objects, size_t n, GError **error);
void im_keyring_free (ImKeyring *keyring);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImKeyring, im_keyring_free)

/* ImFindKey for a keyring as its data: the secret ID, or where that is NULL the only one,
 * or where there is none what the user answers, three times. */
const ImSecret *im_keyring_find (void *keyring, const char *path, const char *id,
                                 unsigned attempt, GError **error);
