/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Claims: who may be in a range at the same time, and who goes first. */
#include "block/claims.h"

#include <glib.h>
#include <stdatomic.h>
#include <time.h>

enum { THREADS = 8, UNITS = 16, ROUNDS = 2000 };

static ImClaims *claims;

/* By unit, while claims are held: writers, sharers; and a plain word that exclusive
 * holders change, for ThreadSanitizer to judge. */
static atomic_int exclusive[UNITS], sharing[UNITS];
static uint64_t plain[UNITS];

static void
use_units (uint64_t first, uint64_t last, bool alone)
{
  for (uint64_t u = first; u <= last; u++) {
    int others = atomic_fetch_add (alone ? &exclusive[u] : &sharing[u], 1);
    g_assert_true (!alone || others == 0);
    g_assert_cmpint (atomic_load (alone ? &sharing[u] : &exclusive[u]), ==, 0);
    if (alone)
      plain[u]++;
  }
  for (uint64_t u = first; u <= last; u++)
    atomic_fetch_sub (alone ? &exclusive[u] : &sharing[u], 1);
}

static void *
work (void *data)
{
  GRand *rand = g_rand_new_with_seed (GPOINTER_TO_UINT (data));
  for (unsigned i = 0; i < ROUNDS; i++) {
    uint64_t first = (uint64_t)g_rand_int_range (rand, 0, UNITS);
    uint64_t last = (uint64_t)g_rand_int_range (rand, (gint32)first, UNITS);
    bool alone = g_rand_boolean (rand);
    ImClaim claim;
    if (i % 2 == 0 || !im_claim_try (claims, &claim, first, last, alone))
      im_claim_take (claims, &claim, first, last, alone);
    use_units (first, last, alone);
    im_claim_drop (claims, &claim);
  }
  g_rand_free (rand);
  return NULL;
}

static void
test_exclusion (void)
{
  pthread_t threads[THREADS];
  claims = im_claims_new ();
  for (unsigned i = 0; i < THREADS; i++)
    pthread_create (&threads[i], NULL, work, GUINT_TO_POINTER (i));
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join (threads[i], NULL);
  im_claims_free (claims);
}

static void
test_no_conflict_no_wait (void)
{
  ImClaim a, b, c, d;
  claims = im_claims_new ();
  im_claim_take (claims, &a, 0, 4, false);
  im_claim_take (claims, &b, 3, 9, false);
  im_claim_take (claims, &c, 10, 10, true);
  im_claim_take (claims, &d, 11, UINT64_MAX, true);
  im_claim_drop (claims, &b);
  im_claim_drop (claims, &a);
  im_claim_drop (claims, &d);
  im_claim_drop (claims, &c);
  im_claims_free (claims);
}

static void
test_try (void)
{
  ImClaim a, b, c;
  claims = im_claims_new ();
  g_assert_true (im_claim_try (claims, &a, 0, 4, false));
  g_assert_true (im_claim_try (claims, &b, 4, 9, false));
  g_assert_false (im_claim_try (claims, &c, 9, 10, true));
  im_claim_drop (claims, &b);
  g_assert_true (im_claim_try (claims, &c, 9, 10, true));
  g_assert_false (im_claim_try (claims, &b, 10, 10, false));
  im_claim_drop (claims, &c);
  im_claim_drop (claims, &a);
  im_claims_free (claims);
}

static atomic_int order;

typedef struct {
  bool alone;
  int got;
} Comer;

static void *
come (void *data)
{
  Comer *comer = data;
  ImClaim claim;
  im_claim_take (claims, &claim, 0, 0, comer->alone);
  comer->got = atomic_fetch_add (&order, 1);
  im_claim_drop (claims, &claim);
  return NULL;
}

/* A shared claim that comes after an exclusive one waits, though only shared ones are
 * held: or writers would starve. */
static void
test_first_come_first_served (void)
{
  Comer alone = {.alone = true}, later = {0};
  pthread_t a, b;
  ImClaim held;
  struct timespec nap = {.tv_nsec = 50000000};
  claims = im_claims_new ();
  im_claim_take (claims, &held, 0, 0, false);
  pthread_create (&a, NULL, come, &alone);
  nanosleep (&nap, NULL);
  pthread_create (&b, NULL, come, &later);
  nanosleep (&nap, NULL);
  g_assert_cmpint (atomic_load (&order), ==, 0);
  im_claim_drop (claims, &held);
  pthread_join (a, NULL);
  pthread_join (b, NULL);
  g_assert_cmpint (alone.got, ==, 0);
  g_assert_cmpint (later.got, ==, 1);
  im_claims_free (claims);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/claims/exclusion", test_exclusion);
  g_test_add_func ("/block/claims/no-conflict-no-wait", test_no_conflict_no_wait);
  g_test_add_func ("/block/claims/try-takes-or-leaves", test_try);
  g_test_add_func ("/block/claims/first-come-first-served", test_first_come_first_served);
  return g_test_run ();
}
