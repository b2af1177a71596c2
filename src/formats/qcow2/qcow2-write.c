/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: writing, as reserve and link for the write engine. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-writer.h"
#include <errno.h>

#define EXTEND_STEP UINT64_C (1048576) /* the file grows by so much at least */

/* A range of pieces of one table's clusters. */
typedef struct {
  Qcow2Image *image;
  Qcow2Table *table;
  uint64_t guest, length;
} Range;

static unsigned
cluster_bits (const Range *r)
{
  return r->image->geometry.cluster_bits;
}

/* The entry of the cluster at GUEST. */
static uint64_t
index_of (const Range *r, uint64_t guest)
{
  return (guest >> cluster_bits (r)) % qcow2_table_entries (r->image);
}

static Qcow2Entry
entry_of (const Range *r, uint64_t guest)
{
  return qcow2_entry_get (r->image, r->table, index_of (r, guest));
}

static uint64_t
within_cluster (const Range *r, uint64_t guest)
{
  return guest & (qcow2_cluster_size (r->image) - 1);
}

static bool
is_allocated (const Range *r, const Qcow2Entry *entry, uint64_t guest)
{
  return entry->allocated >>
             (within_cluster (r, guest) >> r->image->geometry.subcluster_bits) &
         1;
}

/* In clusters that are the image's own: as far as they are neighbours, and all that is
 * wanted of them is allocated, or none of it. */
static void
reserve_own (const Range *r, const Qcow2Entry *first, ImReservation *ret)
{
  uint64_t piece = UINT64_C (1) << r->image->geometry.subcluster_bits;
  uint64_t guest = r->guest + piece, end = r->guest + r->length;
  Qcow2Entry entry = *first;

  ret->own = is_allocated (r, first, r->guest);
  for (; guest < end; guest += piece) {
    if (within_cluster (r, guest) == 0) {
      Qcow2Entry next = entry_of (r, guest);

      if (next.use != QCOW2_USE_OWN || next.at != entry.at + entry.length)
        break;
      entry = next;
    }
    if (is_allocated (r, &entry, guest) != ret->own)
      break;
  }
  ret->at = first->at + within_cluster (r, r->guest);
  ret->length = guest - r->guest;
}

/* How many clusters from the first on have no place of their own. */
static uint64_t
count_homeless (const Range *r)
{
  uint64_t n =
      im_div_up (within_cluster (r, r->guest) + r->length, qcow2_cluster_size (r->image));
  uint64_t k = 1;

  for (; k < n; k++) {
    Qcow2Entry entry = entry_of (r, r->guest + (k << cluster_bits (r)));

    if (entry.use == QCOW2_USE_BAD || entry.use == QCOW2_USE_OWN)
      break;
  }
  return k;
}

/* Lengthens *RET, which begins in the cluster of FIRST, so that nothing stays behind in
 * clusters that are left. */
static void
take_along (const Range *r, const Qcow2Entry *first, ImReservation *ret)
{
  unsigned bits = r->image->geometry.subcluster_bits;
  uint64_t start = ret->guest, end = ret->guest + ret->length, cluster;
  Qcow2Entry last = entry_of (r, end - 1);

  if (first->allocated) {
    cluster = start - within_cluster (r, start);
    start = im_min (
        start, cluster + ((uint64_t)(unsigned)__builtin_ctz (first->allocated) << bits));
  }
  if (last.allocated) {
    cluster = end - 1 - within_cluster (r, end - 1);
    end =
        im_max (end, cluster + ((uint64_t)(32 - (unsigned)__builtin_clz (last.allocated))
                                << bits));
  }
  ret->at -= ret->guest - start;
  ret->guest = start;
  ret->length = end - start;
}

/* In clusters that are found for it. */
static bool
reserve_new_locked (const Range *r, const Qcow2Entry *first, ImReservation *ret,
                    GError **error)
{
  uint64_t n = count_homeless (r), within = within_cluster (r, r->guest);

  if (r->image->geometry.external)
    ret->at = r->guest - within;
  else if (!qcow2_allocate_locked (r->image, n, &ret->at, &n, &ret->zeroed, error))
    return false;
  ret->at += within;
  ret->length = im_min (r->length, (n << cluster_bits (r)) - within);
  take_along (r, first, ret);
  return true;
}

/* reserve, with the table pinned and the mutex held. */
static bool
reserve_locked (const Range *r, ImReservation *ret, GError **error)
{
  Qcow2Entry first = entry_of (r, r->guest);

  if (first.use == QCOW2_USE_BAD) {
    qcow2_entry_set_bad (r->image, r->table, index_of (r, r->guest), &first, error);
    return false;
  }
  if (first.use != QCOW2_USE_OWN)
    return reserve_new_locked (r, &first, ret, error);
  reserve_own (r, &first, ret);
  return true;
}

/* Lengthens the file for a reservation, by more than that so that it is seldom done; a
 * data file is as long as the disk. */
static bool
extend_for (Qcow2Image *image, const ImReservation *r, GError **error)
{
  uint64_t end = im_div_up (r->at + r->length, qcow2_cluster_size (image)) *
                 qcow2_cluster_size (image);

  if (image->geometry.external)
    return im_file_extend (image->data, qcow2_data_end (image), error);
  if (end <= im_file_size (image->file))
    return true;
  if (im_file_has_holes (image->file))
    end = im_div_up (end, EXTEND_STEP) * EXTEND_STEP;
  return im_file_extend (image->file, end, error);
}

static void
qcow2_cancel (ImBlock *block, const ImReservation *reservation)
{
  Qcow2Image *image = (Qcow2Image *)block;
  Qcow2Writer *w = image->writer;
  Range r = {.image = image, .guest = reservation->guest, .length = reservation->length};
  uint64_t within = within_cluster (&r, r.guest), at = reservation->at - within;
  uint64_t n = im_div_up (within + r.length, qcow2_cluster_size (image));

  if (image->geometry.external)
    return;
  /* A preallocated cluster stays where it is.  Where that cannot be told, the reservation
   * is leaked rather than freed. */
  r.table = qcow2_table_pin (
      image, (r.guest >> cluster_bits (&r)) / qcow2_table_entries (image), NULL);
  if (!r.table)
    return;
  pthread_mutex_lock (&w->mutex);
  Qcow2Entry first = entry_of (&r, r.guest);
  if (first.use != QCOW2_USE_OWN || first.at != at)
    im_quarantine_add (&w->quarantine, at, n << cluster_bits (&r), false);
  pthread_mutex_unlock (&w->mutex);
  qcow2_table_unpin (image, r.table);
  im_commit_soon (w->commit);
}

static bool
qcow2_reserve (ImBlock *block, uint64_t guest, uint64_t length, ImReservation *ret,
               GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  Qcow2Writer *w = image->writer;
  unsigned shift = image->geometry.cluster_bits + image->geometry.l2_bits;
  uint64_t rest = (((guest >> shift) + 1) << shift) - guest;
  Range r = {.image = image, .guest = guest, .length = im_min (length, rest)};
  bool ok;

  r.table = qcow2_table_pin (image, guest >> shift, error);
  if (!r.table)
    return false;
  *ret = (ImReservation){.guest = guest, .file = image->data};
  pthread_mutex_lock (&w->mutex);
  ok = reserve_locked (&r, ret, error);
  pthread_mutex_unlock (&w->mutex);
  qcow2_table_unpin (image, r.table);
  if (ok && image->geometry.external)
    ret->length = im_min (ret->length, qcow2_data_end (image) - ret->guest);
  ret->crypt = image->crypt;
  ret->crypt_at = qcow2_crypt_at (image, ret->guest, ret->at);
  if (ok && !extend_for (image, ret, error)) {
    if (!ret->own)
      qcow2_cancel (block, ret);
    ok = false;
  }
  return ok;
}

/* The subclusters of the cluster at CLUSTER that lie in a range, the last one whole. */
static uint32_t
subclusters_in (const Qcow2Image *image, uint64_t cluster, uint64_t guest, uint64_t end)
{
  unsigned bits = image->geometry.subcluster_bits;
  uint64_t stop = im_min (end - cluster, qcow2_cluster_size (image));
  uint64_t first = guest > cluster ? (guest - cluster) >> bits : 0;

  return qcow2_subclusters (first, im_div_up (stop, UINT64_C (1) << bits));
}

/* The bits of the range of R in the entries of its clusters, at AT. */
static void
link_locked (const Range *r, uint64_t at)
{
  uint64_t guest = r->guest - within_cluster (r, r->guest), end = r->guest + r->length;

  at -= r->guest - guest;
  for (; guest < end; guest += qcow2_cluster_size (r->image)) {
    Qcow2Entry entry = entry_of (r, guest);
    uint32_t mask = subclusters_in (r->image, guest, r->guest, end);

    if (entry.use != QCOW2_USE_OWN)
      entry.allocated = 0; /* they were taken along */
    entry.allocated |= mask;
    entry.zero &= ~mask;
    entry.use = QCOW2_USE_OWN;
    entry.at = at;
    qcow2_entry_set_locked (r->image, r->table, index_of (r, guest), &entry, false);
    at += qcow2_cluster_size (r->image);
  }
}

static bool
qcow2_link (ImBlock *block, const ImReservation *reservation, GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  Qcow2Writer *w = image->writer;
  Range r = {.image = image, .guest = reservation->guest, .length = reservation->length};
  bool full;

  r.table = qcow2_table_pin (
      image, (r.guest >> cluster_bits (&r)) / qcow2_table_entries (image), error);
  if (!r.table)
    return false;
  pthread_mutex_lock (&w->mutex);
  link_locked (&r, reservation->at);
  full = w->quarantine.bytes > QCOW2_QUARANTINE_MAX;
  r.table->pins--;
  pthread_mutex_unlock (&w->mutex);
  full ? im_commit_start (w->commit) : im_commit_soon (w->commit);
  return true;
}

/* The table, or the first of two, as is most often the case. */
static bool
qcow2_is_warm (ImBlock *block, uint64_t guest, uint64_t length)
{
  Qcow2Image *image = (Qcow2Image *)block;
  uint64_t cluster = guest >> image->geometry.cluster_bits;

  return qcow2_table_in_memory (image, cluster / qcow2_table_entries (image)) != NULL;
}

ImWriteFormat
qcow2_write_format (const Qcow2Image *image)
{
  return (ImWriteFormat){.unit = (uint32_t)qcow2_cluster_size (image),
                         .piece = UINT32_C (1) << image->geometry.subcluster_bits,
                         .reserve = qcow2_reserve,
                         .link = qcow2_link,
                         .is_warm = qcow2_is_warm,
                         .cancel = qcow2_cancel};
}

bool
qcow2_settle (Qcow2Image *image, ImWriteFlags flags, GError **error)
{
  if (!(flags & IM_WRITE_FUA) && !im_file_writes_through (image->file))
    return true;
  return im_commit_now (image->writer->commit, error);
}

bool
qcow2_wins_space (Qcow2Image *image, const GError *failure)
{
  Qcow2Writer *w = image->writer;
  uint64_t bytes;

  if (!g_error_matches (failure, IM_ERRNO, ENOSPC) &&
      !g_error_matches (failure, IM_ERRNO, EDQUOT))
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
qcow2_pwrite_nowait (ImBlock *block, const void *buf, size_t len, uint64_t offset)
{
  Qcow2Image *image = (Qcow2Image *)block;
  ImWriteFormat format = qcow2_write_format (image);

  return !image->crypt &&
         atomic_load_explicit (&image->writer->marked, memory_order_acquire) &&
         im_file_writes_to_memory (image->data) && qcow2_writer_mark (image, NULL) &&
         im_engine_write_nowait (block, &format, image->writer->claims, buf, len, offset);
}

bool
qcow2_flush (ImBlock *block, GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;

  if (!atomic_load (&image->writer->changed))
    return true;
  return im_commit_now (image->writer->commit, error);
}
