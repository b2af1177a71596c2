/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: writing, as reserve and link for the write engine. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-writer.h"
#include <errno.h>

#define EXTEND_STEP UINT64_C (1048576) /* the file grows by so much at least */

/* How many of N entries from I on are used as the first is, and in neighbouring clusters
 * where they have any. */
static uint64_t
similar_locked (const Qcow2Image *image, const Qcow2Table *t, uint64_t i, uint64_t n)
{
  const char *reason;
  Qcow2Use use = qcow2_entry_use (image, t, i, &reason);
  bool placed = use == QCOW2_USE_OWN || use == QCOW2_USE_PREALLOCATED;
  uint64_t k = 1;

  for (; k < n; k++) {
    uint64_t entry = qcow2_entry_at (t, i + k);
    Qcow2Use other = qcow2_entry_use (image, t, i + k, &reason);
    bool other_placed = other == QCOW2_USE_OWN || other == QCOW2_USE_PREALLOCATED;

    if (other == QCOW2_USE_BAD || placed != other_placed)
      break;
    if (placed && (other != use ||
                   qcow2_entry_host (entry) != qcow2_entry_host (qcow2_entry_at (t, i)) +
                                                   k * qcow2_cluster_size (image)))
      break;
  }
  return k;
}

/* reserve, with the table pinned and the mutex held. */
static bool
reserve_locked (Qcow2Image *image, Qcow2Table *t, uint64_t i, uint64_t n,
                ImReservation *ret, GError **error)
{
  const char *reason = NULL;
  Qcow2Use use = qcow2_entry_use (image, t, i, &reason);

  if (use == QCOW2_USE_BAD) {
    qcow2_entry_set_bad (t, i, reason, error);
    return false;
  }
  n = similar_locked (image, t, i, n);
  if (use == QCOW2_USE_OWN || use == QCOW2_USE_PREALLOCATED) {
    ret->own = use == QCOW2_USE_OWN;
    ret->at = qcow2_entry_host (qcow2_entry_at (t, i));
  } else if (!qcow2_allocate_locked (image, n, &ret->at, &n, &ret->zeroed, error)) {
    return false;
  }
  ret->length = n << image->geometry.cluster_bits;
  return true;
}

/* Lengthens the file for a reservation, by more than that so that it is seldom done. */
static bool
extend_for (Qcow2Image *image, const ImReservation *r, GError **error)
{
  uint64_t end = r->at + r->length;

  if (end <= im_file_size (image->file))
    return true;
  if (im_file_has_holes (image->file))
    end = im_div_up (end, EXTEND_STEP) * EXTEND_STEP;
  return im_file_extend (image->file, end, error);
}

static void
qcow2_cancel (ImBlock *block, const ImReservation *r)
{
  Qcow2Image *image = (Qcow2Image *)block;
  Qcow2Writer *w = image->writer;
  uint64_t guest = r->guest >> image->geometry.cluster_bits;
  Qcow2Table *t;

  /* A preallocated cluster stays where it is.  Where that cannot be told, the reservation
   * is leaked rather than freed. */
  t = qcow2_table_pin (image, guest / qcow2_table_entries (image), NULL);
  pthread_mutex_lock (&w->mutex);
  if (t &&
      qcow2_entry_host (qcow2_entry_at (t, guest % qcow2_table_entries (image))) != r->at)
    im_quarantine_add (&w->quarantine, r->at, r->length, false);
  pthread_mutex_unlock (&w->mutex);
  if (t)
    qcow2_table_unpin (image, t);
  im_commit_soon (w->commit);
}

static bool
qcow2_reserve (ImBlock *block, uint64_t guest, uint64_t length, ImReservation *ret,
               GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  Qcow2Writer *w = image->writer;
  uint64_t cluster = guest >> image->geometry.cluster_bits;
  uint64_t i = cluster % qcow2_table_entries (image);
  uint64_t n =
      im_min (length >> image->geometry.cluster_bits, qcow2_table_entries (image) - i);
  Qcow2Table *t = qcow2_table_pin (image, cluster / qcow2_table_entries (image), error);
  bool ok;

  if (!t)
    return false;
  *ret = (ImReservation){.guest = guest, .file = image->data};
  pthread_mutex_lock (&w->mutex);
  ok = reserve_locked (image, t, i, n, ret, error);
  pthread_mutex_unlock (&w->mutex);
  qcow2_table_unpin (image, t);
  if (ok && !extend_for (image, ret, error)) {
    if (!ret->own)
      qcow2_cancel (block, ret);
    ok = false;
  }
  return ok;
}

static bool
qcow2_link (ImBlock *block, const ImReservation *r, GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  Qcow2Writer *w = image->writer;
  unsigned bits = image->geometry.cluster_bits;
  uint64_t cluster = r->guest >> bits, i = cluster % qcow2_table_entries (image);
  Qcow2Table *t = qcow2_table_pin (image, cluster / qcow2_table_entries (image), error);
  bool full;

  if (!t)
    return false;
  pthread_mutex_lock (&w->mutex);
  for (uint64_t k = 0; k < r->length >> bits; k++)
    qcow2_entry_set_locked (image, t, i + k, (r->at + (k << bits)) | QCOW2_ENTRY_COPIED,
                            false);
  full = w->quarantine.bytes > QCOW2_QUARANTINE_MAX;
  t->pins--;
  pthread_mutex_unlock (&w->mutex);
  full ? im_commit_start (w->commit) : im_commit_soon (w->commit);
  return true;
}

ImWriteFormat
qcow2_write_format (const Qcow2Image *image)
{
  return (ImWriteFormat){.unit = (uint32_t)qcow2_cluster_size (image),
                         .piece = (uint32_t)qcow2_cluster_size (image),
                         .reserve = qcow2_reserve,
                         .link = qcow2_link,
                         .cancel = qcow2_cancel};
}

bool
qcow2_settle (Qcow2Image *image, ImWriteFlags flags, GError **error)
{
  if (!(flags & IM_WRITE_FUA) && im_file_cache (image->file) != IM_CACHE_WRITETHROUGH)
    return true;
  return im_commit_now (image->writer->commit, error);
}

bool
qcow2_wins_space (Qcow2Image *image, const GError *failure)
{
  Qcow2Writer *w = image->writer;
  uint64_t bytes;

  if (!g_error_matches (failure, IM_ERRNO, ENOSPC))
    return false;
  pthread_mutex_lock (&w->mutex);
  bytes = w->quarantine.bytes;
  pthread_mutex_unlock (&w->mutex);
  return bytes > 0 && im_commit_now (w->commit, NULL);
}

bool
qcow2_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
              ImWriteFlags flags, GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  ImWriteFormat format = qcow2_write_format (image);
  ImClaims *claims = image->writer->claims;
  g_autoptr (GError) failure = NULL;

  if (!qcow2_writer_mark (image, error))
    return false;
  if (!im_engine_write (block, &format, claims, buf, len, offset, &failure)) {
    if (!qcow2_wins_space (image, failure)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return false;
    }
    if (!im_engine_write (block, &format, claims, buf, len, offset, error))
      return false;
  }
  return qcow2_settle (image, flags, error);
}

bool
qcow2_flush (ImBlock *block, GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;

  if (!atomic_load (&image->writer->changed))
    return true;
  return im_commit_now (image->writer->commit, error);
}
