/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a LUKS header and a passphrase to the transform of the disk; used by the luks
 * format and by qcow2. */
#pragma once

#include "formats/format.h"
#include "formats/luks-layout.h"

/* Where a LUKS header is: SIZE bytes at AT of FILE, key material included. */
typedef struct {
  ImFile *file;
  uint64_t at, size;
} LuksArea;

/* Reads and checks the header; also that this build can do what it asks for. */
bool luks_header_read (const LuksArea *area, LuksHeader *ret_header, GError **error);

/* Asks CONTEXT for a passphrase and tries it in every slot; asks again while CONTEXT has
 * more to offer.  NULL: none was right, or something else is wrong. */
ImTransform *luks_unlock (const LuksArea *area, const LuksHeader *header,
                          const ImOpenContext *context, GError **error);

/* The passphrase for the image in FILE, attempt ATTEMPT; borrowed.  NULL without an
 * error: there is no further one. */
const ImSecret *luks_find_key (const ImOpenContext *context, ImFile *file,
                               unsigned attempt, GError **error);

/* Adds what HEADER tells to FACTS, an a{sv}. */
void luks_describe (const LuksHeader *header, GVariantBuilder *facts);
