/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The secrets of --object, and those that are asked for on the terminal. */
#pragma once

#include "base/secret.h"
#include "cli/object.h"
#include <stdbool.h>

typedef struct ImKeyring ImKeyring;

/* Reads the secrets among OBJECTS, of ImObject. */
ImKeyring *im_keyring_new (const GPtrArray *objects, GError **error);
void im_keyring_free (ImKeyring *keyring);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImKeyring, im_keyring_free)

/* ImFindKey for a keyring as its data: the secret ID, or where that is NULL the only one,
 * or where there is none what the user answers, three times. */
const ImSecret *im_keyring_find (void *keyring, const char *path, const char *id,
                                 unsigned attempt, GError **error);

/* Reads one secret. */
ImSecret *im_keyring_load (const ImObject *object, GError **error);
