/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Digests of what passes by. */
#pragma once

#include "job/ring.h"

typedef struct ImDigest ImDigest;

/* The names that im_digest_new takes, in the order in which they are printed, ended by
 * NULL. */
const char *const *im_digest_names (void);

/* NULL: no digest of that name. */
ImDigest *im_digest_new (const char *name);
void im_digest_free (ImDigest *digest);

const char *im_digest_name (const ImDigest *digest);

/* An ImRingConsumer's.  Never fails. */
bool im_digest_consume (void *digest, const ImRingPiece *piece, GError **error);

/* Lower-case hex of all that was consumed; owned by DIGEST, which takes no more. */
const char *im_digest_text (ImDigest *digest);
