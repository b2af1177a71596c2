/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims in the order of their coming.  A claim counts the earlier ones in its way, and
 * whoever drops one counts down those behind it; nobody overtakes, so nobody starves. */
#include "block/claims.h"

#include <glib.h>

struct ImClaims {
  pthread_mutex_t mutex; /* guards the list and all claims in it */
  ImClaim *oldest, *newest;
};

ImClaims *
im_claims_new (void)
{
  ImClaims *claims = g_new0 (ImClaims, 1);
  pthread_mutex_init (&claims->mutex, NULL);
  return claims;
}

void
im_claims_free (ImClaims *claims)
{
  if (!claims)
    return;
  pthread_mutex_destroy (&claims->mutex);
  g_free (claims);
}

static bool
conflicts (const ImClaim *a, const ImClaim *b)
{
  return (a->exclusive || b->exclusive) && a->first <= b->last && b->first <= a->last;
}

/* Counts the claims in CLAIM's way. */
static void
prepare_locked (const ImClaims *claims, ImClaim *claim, uint64_t first, uint64_t last,
                bool exclusive)
{
  *claim = (ImClaim){.first = first, .last = last, .exclusive = exclusive};
  for (const ImClaim *c = claims->oldest; c; c = c->newer)
    claim->blockers += conflicts (c, claim);
}

static void
list_locked (ImClaims *claims, ImClaim *claim)
{
  pthread_cond_init (&claim->free, NULL);
  claim->older = claims->newest;
  *(claims->newest ? &claims->newest->newer : &claims->oldest) = claim;
  claims->newest = claim;
}

void
im_claim_take (ImClaims *claims, ImClaim *claim, uint64_t first, uint64_t last,
               bool exclusive)
{
  pthread_mutex_lock (&claims->mutex);
  prepare_locked (claims, claim, first, last, exclusive);
  list_locked (claims, claim);
  while (claim->blockers > 0)
    pthread_cond_wait (&claim->free, &claims->mutex);
  pthread_mutex_unlock (&claims->mutex);
}

bool
im_claim_try (ImClaims *claims, ImClaim *claim, uint64_t first, uint64_t last,
              bool exclusive)
{
  pthread_mutex_lock (&claims->mutex);
  prepare_locked (claims, claim, first, last, exclusive);
  bool free = claim->blockers == 0;
  if (free)
    list_locked (claims, claim);
  pthread_mutex_unlock (&claims->mutex);
  return free;
}

void
im_claim_drop (ImClaims *claims, ImClaim *claim)
{
  pthread_mutex_lock (&claims->mutex);
  *(claim->older ? &claim->older->newer : &claims->oldest) = claim->newer;
  *(claim->newer ? &claim->newer->older : &claims->newest) = claim->older;
  for (ImClaim *c = claim->newer; c; c = c->newer)
    if (conflicts (claim, c) && --c->blockers == 0)
      pthread_cond_signal (&c->free);
  pthread_mutex_unlock (&claims->mutex);
  pthread_cond_destroy (&claim->free);
}
