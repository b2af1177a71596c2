/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The damage that reads of one disk have come across: ranges in order, neighbours merged,
 * bounded.  A list knows nothing of blocks; block/block.h says who adds to it. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct ImDamage ImDamage;

/* As many ranges are listed, and as many finds told: some 200 KiB, and a log that can be
 * read.  What lies beyond is counted. */
#define IM_DAMAGE_MAX 1024u

typedef struct {
  uint64_t offset, length; /* bytes of the disk */
  char *reason;            /* of several that were merged, the one found first */
} ImDamageRange;

/* Told of each byte of damage once, in as few ranges as it is found in; any thread.
 * REASON NULL: there is more, which is not told any more. */
typedef void (*ImDamageFound) (void *data, uint64_t offset, uint64_t length,
                               const char *reason);

/* FOUND may be NULL. */
ImDamage *im_damage_new (ImDamageFound found, void *data);
void im_damage_free (ImDamage *damage);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImDamage, im_damage_free)

/* [OFFSET, OFFSET + LENGTH) is damaged; any thread, and again and again. */
void im_damage_add (ImDamage *damage, uint64_t offset, uint64_t length,
                    const char *reason);

/* What was found within [OFFSET, OFFSET + LENGTH), cut to it: of ImDamageRange, in order.
 * *RET_UNLISTED: bytes of the whole disk that found no room in the list, each counted as
 * often as it was read.  Caller frees. */
GArray *im_damage_list (ImDamage *damage, uint64_t offset, uint64_t length,
                        uint64_t *ret_unlisted);
