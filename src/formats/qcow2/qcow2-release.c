/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: what quarantine gives back becomes free: punched, then counted less. */
#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "formats/qcow2/qcow2-writer.h"

enum { RELEASED_AT_ONCE = 4096 }; /* clusters, under one hold of the mutex */

/* How many of the N clusters from AT on are alike: to be freed altogether, or counted
 * less, or (*ret_kept) left alone, since something else points there. */
static bool
alike_locked (Qcow2Image *image, uint64_t at, uint64_t n, uint64_t *ret_n, bool *ret_last,
              bool *ret_kept, GError **error)
{
  unsigned bits = image->geometry.cluster_bits;

  for (*ret_n = 0; *ret_n < n; ++*ret_n) {
    uint64_t cluster = (at >> bits) + *ret_n, count = 0;
    bool kept = qcow2_held_get (&image->writer->held, cluster) == QCOW2_HELD_DISPUTED;

    if (!kept && !qcow2_count_locked (image, cluster << bits, &count, error))
      return false;
    if (*ret_n == 0) {
      *ret_kept = kept;
      *ret_last = count == 1;
    } else if (kept != *ret_kept || (count == 1) != *ret_last) {
      break;
    }
  }
  return true;
}

/* Up to N clusters from AT on; *ret_n: how many were done.  Punched before the count is
 * lowered: once that is done, anybody may be given them. */
static bool
release_some (Qcow2Image *image, uint64_t at, uint64_t n, bool punch, uint64_t *ret_n,
              GError **error)
{
  Qcow2Writer *w = image->writer;
  unsigned bits = image->geometry.cluster_bits;
  bool last = false, kept = false, ok;

  pthread_mutex_lock (&w->mutex);
  ok = alike_locked (image, at, n, ret_n, &last, &kept, error);
  pthread_mutex_unlock (&w->mutex);
  if (ok && !kept && last && punch)
    im_file_discard (image->file, at, *ret_n << bits, NULL);
  pthread_mutex_lock (&w->mutex);
  for (uint64_t i = 0; ok && !kept && i < *ret_n; i++)
    ok = qcow2_lower_locked (image, at + (i << bits), error);
  pthread_mutex_unlock (&w->mutex);
  return ok;
}

/* A host range that is free but for its count. */
static void
release_range (Qcow2Image *image, const ImQuarantined *range)
{
  uint64_t n = range->length >> image->geometry.cluster_bits, now = 0;
  g_autoptr (GError) error = NULL;
  bool ok = true;

  for (uint64_t done = 0; done < n && ok; done += now)
    ok = release_some (image, range->at + (done << image->geometry.cluster_bits),
                       im_min (n - done, RELEASED_AT_ONCE), range->punch, &now, &error);
  if (!ok) /* a leak, no more */
    im_log_warning ("%s: cannot free clusters: %s", im_file_path (image->file),
                    error->message);
}

void
qcow2_release (Qcow2Image *image, bool all)
{
  Qcow2Writer *w = image->writer;
  GArray *ranges;
  bool keep;

  pthread_mutex_lock (&w->mutex);
  ranges = im_quarantine_take (&w->quarantine, all);
  keep = w->distrusted || w->uncounted;
  pthread_mutex_unlock (&w->mutex);
  for (guint i = 0; i < ranges->len && !keep; i++)
    release_range (image, &g_array_index (ranges, ImQuarantined, i));
  if (ranges->len > 0 && !keep)
    im_commit_soon (w->commit);
  g_array_unref (ranges);
}
