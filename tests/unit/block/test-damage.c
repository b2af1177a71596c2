/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of damage: merged, in order, each byte told once, bounded. */
#include "block/damage.h"

#include <string.h>

enum { BYTES = 4096 };

/* What was told, byte by byte. */
typedef struct {
  unsigned told[BYTES];
  unsigned calls, ends;
} Told;

static void
found (void *data, uint64_t offset, uint64_t length, const char *reason)
{
  Told *told = data;
  told->calls++;
  told->ends += reason == NULL;
  for (uint64_t i = offset; i < offset + length && i < BYTES; i++)
    told->told[i]++;
}

#define assert_range(list, i, from, n, why)                                              \
  do {                                                                                   \
    const ImDamageRange *range = &g_array_index (list, ImDamageRange, i);                \
    g_assert_cmpuint (range->offset, ==, from);                                          \
    g_assert_cmpuint (range->length, ==, n);                                             \
    g_assert_cmpstr (range->reason, ==, why);                                            \
  } while (0)

static void
test_merges (void)
{
  uint64_t unlisted;
  g_autoptr (ImDamage) damage = im_damage_new (NULL, NULL);
  im_damage_add (damage, 100, 10, "first");
  im_damage_add (damage, 300, 10, "second");
  im_damage_add (damage, 0, 10, "third");
  im_damage_add (damage, 110, 10, "behind");
  im_damage_add (damage, 290, 10, "before");
  im_damage_add (damage, 105, 5, "again");
  g_autoptr (GArray) list = im_damage_list (damage, 0, UINT64_MAX, &unlisted);
  g_assert_cmpuint (list->len, ==, 3);
  assert_range (list, 0, 0, 10, "third");
  assert_range (list, 1, 100, 20, "first");
  assert_range (list, 2, 290, 20, "second");
  im_damage_add (damage, 5, 300, "across");
  g_autoptr (GArray) one = im_damage_list (damage, 0, UINT64_MAX, &unlisted);
  g_assert_cmpuint (one->len, ==, 1);
  assert_range (one, 0, 0, 310, "third");
  g_assert_cmpuint (unlisted, ==, 0);
}

static void
test_part_of_it (void)
{
  uint64_t unlisted;
  g_autoptr (ImDamage) damage = im_damage_new (NULL, NULL);
  im_damage_add (damage, 100, 100, "a");
  im_damage_add (damage, 300, 100, "b");
  im_damage_add (damage, 500, 100, "c");
  g_autoptr (GArray) list = im_damage_list (damage, 150, 200, &unlisted);
  g_assert_cmpuint (list->len, ==, 2);
  assert_range (list, 0, 150, 50, "a");
  assert_range (list, 1, 300, 50, "b");
  g_autoptr (GArray) none = im_damage_list (damage, 200, 100, &unlisted);
  g_assert_cmpuint (none->len, ==, 0);
}

/* Against a map of bytes. */
static void
test_each_byte_is_told_once (void)
{
  Told told = {0};
  bool bad[BYTES] = {false};
  uint64_t unlisted;
  g_autoptr (ImDamage) damage = im_damage_new (found, &told);
  for (int round = 0; round < 300; round++) {
    int from = g_test_rand_int_range (0, BYTES), n = g_test_rand_int_range (1, 40);
    n = MIN (n, BYTES - from);
    im_damage_add (damage, (uint64_t)from, (uint64_t)n, "x");
    memset (bad + from, true, (size_t)n);
    if (round % 50 != 0)
      continue;
    g_autoptr (GArray) list = im_damage_list (damage, 0, BYTES, &unlisted);
    unsigned at = 0;
    for (guint i = 0; i < list->len; i++) {
      const ImDamageRange *range = &g_array_index (list, ImDamageRange, i);
      g_assert_true (i == 0 || range->offset > at);
      for (; at < range->offset; at++)
        g_assert_false (bad[at]);
      for (; at < range->offset + range->length; at++)
        g_assert_true (bad[at]);
    }
  }
  for (int i = 0; i < BYTES; i++)
    g_assert_cmpuint (told.told[i], ==, bad[i]);
}

static void
test_it_is_bounded (void)
{
  Told told = {0};
  uint64_t unlisted;
  g_autoptr (ImDamage) damage = im_damage_new (found, &told);
  for (uint64_t i = 0; i < IM_DAMAGE_MAX + 100; i++)
    im_damage_add (damage, BYTES + 16 * i, 8, "x");
  g_autoptr (GArray) list = im_damage_list (damage, 0, UINT64_MAX, &unlisted);
  g_assert_cmpuint (list->len, ==, IM_DAMAGE_MAX);
  g_assert_cmpuint (unlisted, ==, 100 * 8);
  g_assert_cmpuint (told.calls, ==, IM_DAMAGE_MAX + 1);
  g_assert_cmpuint (told.ends, ==, 1);
  /* What adjoins a listed range still finds a place. */
  im_damage_add (damage, BYTES + 8, 8, "x");
  g_autoptr (GArray) after = im_damage_list (damage, 0, UINT64_MAX, &unlisted);
  g_assert_cmpuint (after->len, ==, IM_DAMAGE_MAX - 1);
  g_assert_cmpuint (unlisted, ==, 100 * 8);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/damage/merges", test_merges);
  g_test_add_func ("/block/damage/part-of-it", test_part_of_it);
  g_test_add_func ("/block/damage/each-byte-is-told-once", test_each_byte_is_told_once);
  g_test_add_func ("/block/damage/it-is-bounded", test_it_is_bounded);
  return g_test_run ();
}
