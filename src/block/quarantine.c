/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Quarantine: three lists through which a removed range goes. */
#include "block/quarantine.h"
#include "block/operation.h"

void
im_quarantine_init (ImQuarantine *q)
{
  q->fresh = g_array_new (FALSE, FALSE, sizeof (ImQuarantined));
  q->sealed = g_array_new (FALSE, FALSE, sizeof (ImQuarantined));
  q->waiting = g_array_new (FALSE, FALSE, sizeof (ImQuarantined));
  q->bytes = 0;
}

void
im_quarantine_clear (ImQuarantine *q)
{
  g_clear_pointer (&q->fresh, g_array_unref);
  g_clear_pointer (&q->sealed, g_array_unref);
  g_clear_pointer (&q->waiting, g_array_unref);
}

void
im_quarantine_add (ImQuarantine *q, uint64_t at, uint64_t length, bool punch)
{
  ImQuarantined range = {
      .at = at, .length = length, .punch = punch, .stamp = im_operation_stamp ()};
  ImQuarantined *last = q->fresh->len > 0
                            ? &g_array_index (q->fresh, ImQuarantined, q->fresh->len - 1)
                            : NULL;
  q->bytes += length;
  if (last && last->punch == punch && last->at + last->length == at) {
    last->length += length;
    last->stamp = range.stamp;
    return;
  }
  g_array_append_val (q->fresh, range);
}

static void
move_all (GArray *from, GArray *to)
{
  if (from->len > 0)
    g_array_append_vals (to, from->data, from->len);
  g_array_set_size (from, 0);
}

void
im_quarantine_seal (ImQuarantine *q)
{
  move_all (q->fresh, q->sealed);
}

void
im_quarantine_settle (ImQuarantine *q, bool durable)
{
  move_all (q->sealed, durable ? q->waiting : q->fresh);
}

size_t
im_quarantine_ranges (const ImQuarantine *q)
{
  return (size_t)q->fresh->len + q->sealed->len + q->waiting->len;
}

GArray *
im_quarantine_take (ImQuarantine *q, bool all)
{
  GArray *taken = g_array_new (FALSE, FALSE, sizeof (ImQuarantined));
  guint kept = 0;
  for (guint i = 0; i < q->waiting->len; i++) {
    ImQuarantined range = g_array_index (q->waiting, ImQuarantined, i);
    if (all || im_operation_passed (range.stamp)) {
      g_array_append_val (taken, range);
      q->bytes -= range.length;
    } else {
      g_array_index (q->waiting, ImQuarantined, kept++) = range;
    }
  }
  g_array_set_size (q->waiting, kept);
  return taken;
}
