/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of damaged ranges. */
#include "block/damage.h"
#include "base/bytes.h"

#include <pthread.h>

struct ImDamage {
  ImDamageFound found; /* const, as is data */
  void *data;
  pthread_mutex_t mutex; /* guards all below; covers no call */
  GArray *ranges;        /* of ImDamageRange: in order, none touching the next */
  uint64_t unlisted;
  unsigned told;
};

static void
clear_range (gpointer data)
{
  g_free (((ImDamageRange *)data)->reason);
}

static GArray *
new_ranges (void)
{
  GArray *ranges = g_array_new (FALSE, FALSE, sizeof (ImDamageRange));
  g_array_set_clear_func (ranges, clear_range);
  return ranges;
}

ImDamage *
im_damage_new (ImDamageFound found, void *data)
{
  ImDamage *damage = g_new0 (ImDamage, 1);
  damage->found = found;
  damage->data = data;
  damage->ranges = new_ranges ();
  pthread_mutex_init (&damage->mutex, NULL);
  return damage;
}

void
im_damage_free (ImDamage *damage)
{
  if (!damage)
    return;
  pthread_mutex_destroy (&damage->mutex);
  g_array_unref (damage->ranges);
  g_free (damage);
}

static ImDamageRange *
range_at (GArray *ranges, guint i)
{
  return &g_array_index (ranges, ImDamageRange, i);
}

static uint64_t
end_of (const ImDamageRange *range)
{
  return range->offset + range->length;
}

/* The first range that ends behind OFFSET; as many as there are where none does. */
static guint
find (GArray *ranges, uint64_t offset)
{
  guint low = 0, high = ranges->len;
  while (low < high) {
    guint middle = low + (high - low) / 2;
    if (end_of (range_at (ranges, middle)) > offset)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/* Puts in [OFFSET, END), which no range has any of, before range I. */
static void
insert_locked (ImDamage *damage, guint i, uint64_t offset, uint64_t end,
               const char *reason)
{
  GArray *ranges = damage->ranges;
  ImDamageRange *before = i > 0 ? range_at (ranges, i - 1) : NULL;
  ImDamageRange *behind = i < ranges->len ? range_at (ranges, i) : NULL;
  bool joins_before = before && end_of (before) == offset;
  bool joins_behind = behind && behind->offset == end;
  if (joins_before) {
    before->length = (joins_behind ? end_of (behind) : end) - before->offset;
    if (joins_behind)
      g_array_remove_index (ranges, i);
  } else if (joins_behind) {
    behind->length = end_of (behind) - offset;
    behind->offset = offset;
  } else if (ranges->len < IM_DAMAGE_MAX) {
    ImDamageRange range = {offset, end - offset, g_strdup (reason)};
    g_array_insert_val (ranges, i, range);
  } else {
    damage->unlisted += end - offset;
  }
}

/* Puts in the first part of [*OFFSET, END) that is new, and moves *OFFSET behind it.
 * *RET_TELL: it is to be told of; *RET_LAST: as the last one.  False: nothing is new. */
static bool
add_step_locked (ImDamage *damage, uint64_t *offset, uint64_t end, const char *reason,
                 uint64_t *ret_from, bool *ret_tell, bool *ret_last)
{
  GArray *ranges = damage->ranges;
  guint i = find (ranges, *offset);
  if (i < ranges->len && range_at (ranges, i)->offset <= *offset)
    *offset = end_of (range_at (ranges, i++));
  if (*offset >= end)
    return false;
  *ret_from = *offset;
  *offset = i < ranges->len ? im_min (end, range_at (ranges, i)->offset) : end;
  insert_locked (damage, i, *ret_from, *offset, reason);
  *ret_tell = damage->told < IM_DAMAGE_MAX;
  *ret_last = damage->told == IM_DAMAGE_MAX;
  damage->told += damage->told <= IM_DAMAGE_MAX;
  return true;
}

void
im_damage_add (ImDamage *damage, uint64_t offset, uint64_t length, const char *reason)
{
  uint64_t end = offset + length, from;
  bool more = true, tell, last;
  while (more) {
    pthread_mutex_lock (&damage->mutex);
    more = add_step_locked (damage, &offset, end, reason, &from, &tell, &last);
    pthread_mutex_unlock (&damage->mutex);
    if (more && damage->found && (tell || last))
      damage->found (damage->data, from, offset - from, last ? NULL : reason);
  }
}

GArray *
im_damage_list (ImDamage *damage, uint64_t offset, uint64_t length,
                uint64_t *ret_unlisted)
{
  GArray *list = new_ranges ();
  uint64_t end = offset + length;
  pthread_mutex_lock (&damage->mutex);
  for (guint i = find (damage->ranges, offset); i < damage->ranges->len; i++) {
    const ImDamageRange *range = range_at (damage->ranges, i);
    if (range->offset >= end)
      break;
    uint64_t from = im_max (range->offset, offset);
    ImDamageRange copy = {from, im_min (end_of (range), end) - from,
                          g_strdup (range->reason)};
    g_array_append_val (list, copy);
  }
  *ret_unlisted = damage->unlisted;
  pthread_mutex_unlock (&damage->mutex);
  return list;
}
