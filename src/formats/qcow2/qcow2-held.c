/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: two bits for each cluster of the file. */
#include "formats/qcow2/qcow2-held.h"
#include "base/bytes.h"
#include <sys/mman.h>

#define STEP ((size_t)65536) /* bytes, of address space alone */

/* Makes room for CLUSTER; false where it is beyond what is kept track of. */
static bool
reach (Qcow2HeldMap *map, uint64_t cluster)
{
  size_t size = im_max (STEP, map->size);
  void *bits;

  if (cluster >= QCOW2_HELD_MAX)
    return false;
  if (cluster / 4 < map->size)
    return true;
  while (size <= cluster / 4)
    size *= 2;
  bits = map->bits ? mremap (map->bits, map->size, size, MREMAP_MAYMOVE)
                   : mmap (NULL, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bits == MAP_FAILED)
    return false;
  map->bits = bits;
  map->size = size;
  return true;
}

void
qcow2_held_clear (Qcow2HeldMap *map)
{
  if (map->bits)
    munmap (map->bits, map->size);
  *map = (Qcow2HeldMap){0};
}

Qcow2Held
qcow2_held_get (const Qcow2HeldMap *map, uint64_t cluster)
{
  if (cluster / 4 >= map->size)
    return QCOW2_HELD_NOT;
  return (Qcow2Held)(map->bits[cluster / 4] >> cluster % 4 * 2 & 3);
}

static void
set (Qcow2HeldMap *map, uint64_t cluster, Qcow2Held held)
{
  unsigned shift = (unsigned)(cluster % 4 * 2);
  uint8_t *byte;

  if (!reach (map, cluster))
    return;
  byte = &map->bits[cluster / 4];
  *byte = (uint8_t)((*byte & ~(3u << shift)) | (unsigned)held << shift);
}

bool
qcow2_hold_sole (Qcow2HeldMap *map, uint64_t first, uint64_t n)
{
  bool agreed = true;

  for (uint64_t i = 0; i < n; i++) {
    bool is_free = qcow2_held_get (map, first + i) == QCOW2_HELD_NOT;

    set (map, first + i, is_free ? QCOW2_HELD_SOLE : QCOW2_HELD_DISPUTED);
    agreed = agreed && is_free;
  }
  return agreed;
}

bool
qcow2_hold_shared (Qcow2HeldMap *map, uint64_t first, uint64_t n)
{
  bool agreed = true;

  for (uint64_t i = 0; i < n; i++) {
    bool is_claimed = qcow2_held_get (map, first + i) >= QCOW2_HELD_SOLE;

    set (map, first + i, is_claimed ? QCOW2_HELD_DISPUTED : QCOW2_HELD_SHARED);
    agreed = agreed && !is_claimed;
  }
  return agreed;
}

void
qcow2_hold_no_more (Qcow2HeldMap *map, uint64_t cluster)
{
  if (qcow2_held_get (map, cluster) == QCOW2_HELD_SHARED)
    set (map, cluster, QCOW2_HELD_SOLE);
}

void
qcow2_held_forget (Qcow2HeldMap *map, uint64_t cluster)
{
  Qcow2Held held = qcow2_held_get (map, cluster);

  if (held == QCOW2_HELD_SHARED || held == QCOW2_HELD_SOLE)
    set (map, cluster, QCOW2_HELD_NOT);
}
