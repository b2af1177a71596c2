/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each thread has its own, and keeps it. */
#include "base/scratch.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { SIZE = 100000 };

static GPrivate first = IM_SCRATCH_INIT, second = IM_SCRATCH_INIT;

static bool
holds (const uint8_t *memory, uint8_t byte)
{
  return memory[0] == byte && memcmp (memory, memory + 1, SIZE - 1) == 0;
}

static void *
use_other (void *mine)
{
  uint8_t *memory = im_scratch (&first, SIZE);
  g_assert_true (memory != mine);
  memset (memory, 3, SIZE);
  return NULL;
}

static void
test_one_for_each_thread_and_purpose (void)
{
  uint8_t *a = im_scratch (&first, SIZE), *b = im_scratch (&second, SIZE);
  g_assert_cmpuint ((uintptr_t)a % 4096, ==, 0);
  g_assert_cmpuint ((uintptr_t)b % 4096, ==, 0);
  memset (a, 1, SIZE);
  memset (b, 2, SIZE);
  g_thread_join (g_thread_new ("other", use_other, a));
  g_assert_true (im_scratch (&first, SIZE) == a);
  g_assert_true (im_scratch (&second, SIZE) == b);
  g_assert_true (holds (a, 1));
  g_assert_true (holds (b, 2));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/base/scratch/one-for-each-thread-and-purpose",
                   test_one_for_each_thread_and_purpose);
  return g_test_run ();
}
