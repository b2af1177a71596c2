/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that a thread has for one purpose. */
#include "base/scratch.h"

enum { PAGE = 4096 };

void *
im_scratch (GPrivate *purpose, size_t size)
{
  void *memory = g_private_get (purpose);
  if (!memory) {
    memory = g_aligned_alloc (1, size, PAGE);
    g_private_set (purpose, memory);
  }
  return memory;
}
