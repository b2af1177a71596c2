/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims on ranges of a disk's units, first come first served.  Who only overwrites what
 * is there shares; who allocates, links, zeroes or discards has its range to itself.
 * Readers claim nothing. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct ImClaims ImClaims;
typedef struct ImClaim ImClaim;

/* On the stack of whoever holds it; the fields are the claims'. */
struct ImClaim {
  uint64_t first, last; /* units, both included */
  bool exclusive;
  unsigned blockers; /* earlier claims that it waits for */
  pthread_cond_t free;
  ImClaim *older, *newer;
};

ImClaims *im_claims_new (void);
void im_claims_free (ImClaims *claims); /* none is held */

/* Waits until no earlier claim that overlaps stands against it. */
void im_claim_take (ImClaims *claims, ImClaim *claim, uint64_t first, uint64_t last,
                    bool exclusive);
/* The same where nothing stands against it; false otherwise, with nothing taken. */
bool im_claim_try (ImClaims *claims, ImClaim *claim, uint64_t first, uint64_t last,
                   bool exclusive);
void im_claim_drop (ImClaims *claims, ImClaim *claim);
