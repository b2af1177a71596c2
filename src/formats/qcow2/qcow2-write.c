/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: writing, as reserve and link for the write engine, and zeroing and discarding,
 * which are changes of entries alone. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/write-engine.h"
#include "formats/qcow2/qcow2-writer.h"
#include <errno.h>
#include <inttypes.h>

enum { ZEROS = 65536 };                /* bytes of zeros written at once */
#define EXTEND_STEP UINT64_C (1048576) /* the file grows by so much at least */

/* What an entry means to a writer. */
typedef enum {
  ENTRY_EMPTY,        /* nothing of its own: the parent's, zeros */
  ENTRY_OWN,          /* a cluster that may be overwritten */
  ENTRY_PREALLOCATED, /* the same, which reads as zeros */
  ENTRY_FOREIGN,      /* a cluster that is shared, or a compressed one */
  ENTRY_BAD,
} EntryUse;

static uint64_t
host_of (uint64_t entry)
{
  return entry & QCOW2_ENTRY_OFFSET_MASK;
}

static EntryUse
use_of (const Qcow2Image *image, uint64_t entry, const char **ret_reason)
{
  Qcow2Geometry g = image->geometry;
  Qcow2Cluster cluster;
  bool own = entry & QCOW2_ENTRY_COPIED;

  g.file_size = g.data_size = im_file_size (image->file);
  qcow2_l2_decode (&g, &entry, 0, 0, &cluster);
  switch (cluster.kind) {
  case QCOW2_UNALLOCATED:
    return ENTRY_EMPTY;
  case QCOW2_ZERO:
    if (host_of (entry) == 0)
      return ENTRY_EMPTY;
    return own ? ENTRY_PREALLOCATED : ENTRY_FOREIGN;
  case QCOW2_DATA:
    return own ? ENTRY_OWN : ENTRY_FOREIGN;
  case QCOW2_COMPRESSED:
    return ENTRY_FOREIGN;
  case QCOW2_BAD:
    break;
  }
  *ret_reason = cluster.reason;
  return ENTRY_BAD;
}

static uint64_t
table_entries (const Qcow2Image *image)
{
  return UINT64_C (1) << image->geometry.l2_bits;
}

static uint64_t
entry_at (const Qcow2Table *t, uint64_t i)
{
  return atomic_load_explicit (&t->words[i], memory_order_relaxed);
}

static void
set_bad (const Qcow2Table *t, uint64_t i, const char *reason, GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "table entry at 0x%" PRIx64 " is 0x%" PRIx64 ": %s", t->at + i * 8,
               entry_at (t, i), reason);
}

/* What ENTRY held is not needed any more. */
static void
remove_locked (Qcow2Image *image, uint64_t entry, bool punch)
{
  Qcow2Writer *w = image->writer;
  uint64_t size = qcow2_cluster_size (image), at = host_of (entry), end = at + size;

  if (entry & QCOW2_ENTRY_COMPRESSED) {
    Qcow2Geometry g = image->geometry;
    Qcow2Cluster cluster;

    g.file_size = UINT64_MAX;
    qcow2_l2_decode (&g, &entry, 0, 0, &cluster);
    at = cluster.at / size * size;
    end = im_div_up (cluster.at + cluster.stored, size) * size;
    punch = false;
  } else if (at == 0) {
    return;
  }
  im_quarantine_add (&w->quarantine, at, end - at, punch);
}

/* Replaces entry I; what it held goes unless it is in ENTRY too. */
static void
set_entry_locked (Qcow2Image *image, Qcow2Table *t, uint64_t i, uint64_t entry,
                  bool punch)
{
  uint64_t old = entry_at (t, i);

  if (old == entry)
    return;
  atomic_store (&t->words[i], entry);
  qcow2_dirty_locked (&t->state, image->writer->dirty_tables, t, (size_t)i * 8, 8);
  if ((old & QCOW2_ENTRY_COMPRESSED) || host_of (old) != host_of (entry))
    remove_locked (image, old, punch);
}

/* How many of N entries from I on are used as the first is, and in neighbouring clusters
 * where they have any. */
static uint64_t
similar_locked (const Qcow2Image *image, const Qcow2Table *t, uint64_t i, uint64_t n)
{
  const char *reason;
  EntryUse use = use_of (image, entry_at (t, i), &reason);
  bool placed = use == ENTRY_OWN || use == ENTRY_PREALLOCATED;
  uint64_t k = 1;

  for (; k < n; k++) {
    uint64_t entry = entry_at (t, i + k);
    EntryUse other = use_of (image, entry, &reason);
    bool other_placed = other == ENTRY_OWN || other == ENTRY_PREALLOCATED;

    if (other == ENTRY_BAD || placed != other_placed)
      break;
    if (placed && (other != use || host_of (entry) != host_of (entry_at (t, i)) +
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
  EntryUse use = use_of (image, entry_at (t, i), &reason);

  if (use == ENTRY_BAD) {
    set_bad (t, i, reason, error);
    return false;
  }
  n = similar_locked (image, t, i, n);
  if (use == ENTRY_OWN || use == ENTRY_PREALLOCATED) {
    ret->own = use == ENTRY_OWN;
    ret->at = host_of (entry_at (t, i));
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
  t = qcow2_table_pin (image, guest / table_entries (image), NULL);
  pthread_mutex_lock (&w->mutex);
  if (t && host_of (entry_at (t, guest % table_entries (image))) != r->at)
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
  uint64_t i = cluster % table_entries (image);
  uint64_t n = im_min (length >> image->geometry.cluster_bits, table_entries (image) - i);
  Qcow2Table *t = qcow2_table_pin (image, cluster / table_entries (image), error);
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
  uint64_t cluster = r->guest >> bits, i = cluster % table_entries (image);
  Qcow2Table *t = qcow2_table_pin (image, cluster / table_entries (image), error);
  bool full;

  if (!t)
    return false;
  pthread_mutex_lock (&w->mutex);
  for (uint64_t k = 0; k < r->length >> bits; k++)
    set_entry_locked (image, t, i + k, (r->at + (k << bits)) | QCOW2_ENTRY_COPIED, false);
  full = w->quarantine.bytes > QCOW2_QUARANTINE_MAX;
  t->pins--;
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

  return qcow2_table_in_memory (image, cluster / table_entries (image)) != NULL;
}

static ImWriteFormat
write_format (const Qcow2Image *image)
{
  return (ImWriteFormat){.unit = (uint32_t)qcow2_cluster_size (image),
                         .reserve = qcow2_reserve,
                         .link = qcow2_link,
                         .is_warm = qcow2_is_warm,
                         .cancel = qcow2_cancel};
}

/* Durable, where FLAGS or the cache mode ask for it. */
static bool
settle (Qcow2Image *image, ImWriteFlags flags, GError **error)
{
  if (!(flags & IM_WRITE_FUA) && !im_file_writes_through (image->file))
    return true;
  return im_commit_now (image->writer->commit, error);
}

/* After FAILURE: is there space to be won by freeing what was removed? */
static bool
wins_space (Qcow2Image *image, const GError *failure)
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
  ImWriteFormat format = write_format (image);
  ImClaims *claims = image->writer->claims;
  g_autoptr (GError) failure = NULL;

  if (!qcow2_writer_mark (image, error))
    return false;
  if (!im_engine_write (block, &format, claims, buf, len, offset, &failure)) {
    if (!wins_space (image, failure)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return false;
    }
    if (!im_engine_write (block, &format, claims, buf, len, offset, error))
      return false;
  }
  return settle (image, flags, error);
}

bool
qcow2_pwrite_nowait (ImBlock *block, const void *buf, size_t len, uint64_t offset)
{
  Qcow2Image *image = (Qcow2Image *)block;
  ImWriteFormat format = write_format (image);

  return atomic_load_explicit (&image->writer->marked, memory_order_acquire) &&
         im_file_writes_to_memory (image->file) && qcow2_writer_mark (image, NULL) &&
         im_engine_write_nowait (block, &format, image->writer->claims, buf, len, offset);
}

/* Does the disk read as zeros there once the entry is gone? */
static bool
lacks_parent (const ImBlock *block, uint64_t guest)
{
  return !block->parent || guest >= block->parent->size;
}

/* A change of whole clusters' entries. */
typedef struct {
  bool zero;      /* they are to read as zeros; otherwise they may */
  bool may_unmap; /* their space is given back */
} Change;

/* What becomes of ENTRY, of the cluster at GUEST. */
static uint64_t
changed_entry (const Qcow2Image *image, const Change *change, uint64_t guest,
               uint64_t entry, EntryUse use)
{
  bool bare = lacks_parent (&image->block, guest), v3 = image->geometry.zero_flag;

  if (!change->zero)
    return use == ENTRY_EMPTY ? entry : bare ? 0 : v3 ? QCOW2_ENTRY_ZERO : entry;
  if (use == ENTRY_EMPTY)
    return bare || !v3 ? entry : QCOW2_ENTRY_ZERO;
  if (!v3)
    return 0;
  if (!change->may_unmap && (use == ENTRY_OWN || use == ENTRY_PREALLOCATED))
    return entry | QCOW2_ENTRY_ZERO;
  return QCOW2_ENTRY_ZERO;
}

/* Changes N entries from I on of table T; GUEST is the first one's cluster. */
static bool
change_entries (Qcow2Image *image, const Change *change, Qcow2Table *t, uint64_t i,
                uint64_t n, uint64_t guest, GError **error)
{
  Qcow2Writer *w = image->writer;
  bool ok = true;

  pthread_mutex_lock (&w->mutex);
  for (uint64_t k = 0; k < n && ok; k++) {
    const char *reason = NULL;
    uint64_t entry = entry_at (t, i + k);
    EntryUse use = use_of (image, entry, &reason);

    if (use == ENTRY_BAD) {
      if (change->zero)
        set_bad (t, i + k, reason, error);
      ok = !change->zero;
      continue;
    }
    entry = changed_entry (image, change, guest + (k << image->geometry.cluster_bits),
                           entry, use);
    set_entry_locked (image, t, i + k, entry, change->may_unmap);
  }
  pthread_mutex_unlock (&w->mutex);
  return ok;
}

/* Changes N clusters from CLUSTER on, all of which the caller has claimed. */
static bool
change_clusters (Qcow2Image *image, const Change *change, uint64_t cluster, uint64_t n,
                 GError **error)
{
  uint64_t per_table = table_entries (image);
  bool ok = true;

  for (uint64_t done = 0, now; done < n && ok; done += now) {
    uint64_t i = (cluster + done) % per_table, index = (cluster + done) / per_table;
    uint64_t guest = (cluster + done) << image->geometry.cluster_bits;
    Qcow2Table *t;

    now = im_min (n - done, per_table - i);
    if (qcow2_l1_entry (image, index) == 0 &&
        (!change->zero || lacks_parent (&image->block, guest)))
      continue;
    t = qcow2_table_pin (image, index, error);
    ok = t && change_entries (image, change, t, i, now, guest, error);
    if (t)
      qcow2_table_unpin (image, t);
  }
  im_commit_soon (image->writer->commit);
  return ok;
}

/* True where [OFFSET, OFFSET + LENGTH) reads as zeros by the tables alone; the caller has
 * claimed it.  *ret_run: for how many bytes the answer holds. */
static bool
is_zero (ImBlock *block, uint64_t offset, uint64_t length, uint64_t *ret_run)
{
  ImExtent extent;
  size_t n;

  *ret_run = length;
  if (!im_block_map (block, offset, length, IM_MAP_WHERE, &extent, 1, &n, NULL))
    return false;
  *ret_run = extent.length;
  return extent.kind == IM_EXTENT_ZERO;
}

/* Writes zeros where there are not any. */
static bool
write_zeros_out (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  static const uint8_t zeros[ZEROS];
  ImWriteFormat format = write_format ((Qcow2Image *)block);

  for (uint64_t done = 0, run; done < length; done += run) {
    if (is_zero (block, offset + done, length - done, &run))
      continue;
    run = im_min (run, ZEROS);
    if (!im_engine_write_claimed (block, &format, zeros, (size_t)run, offset + done,
                                  error))
      return false;
  }
  return true;
}

/* The whole clusters within a range; the disk's last one counts as whole. */
static void
whole_clusters (const Qcow2Image *image, uint64_t offset, uint64_t length,
                uint64_t *ret_first, uint64_t *ret_end)
{
  uint64_t size = qcow2_cluster_size (image), end = offset + length;

  *ret_first = im_div_up (offset, size);
  *ret_end = end == image->block.size ? im_div_up (end, size) : end / size;
  *ret_end = im_max (*ret_end, *ret_first);
}

/* Can clusters be made to read as zeros by their entries? */
static bool
has_zero_entries (const Qcow2Image *image, ImWriteFlags flags)
{
  return image->geometry.zero_flag ||
         (!image->block.parent && flags & IM_WRITE_MAY_UNMAP);
}

static bool
zero_claimed (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
              GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  Change change = {.zero = true, .may_unmap = flags & IM_WRITE_MAY_UNMAP};
  uint64_t first, end, size = qcow2_cluster_size (image), stop = offset + length;

  whole_clusters (image, offset, length, &first, &end);
  if (first == end || !has_zero_entries (image, flags))
    return write_zeros_out (block, offset, length, error);
  return write_zeros_out (block, offset, first * size - offset, error) &&
         change_clusters (image, &change, first, end - first, error) &&
         (end * size >= stop ||
          write_zeros_out (block, end * size, stop - end * size, error));
}

static void
claim_range (Qcow2Image *image, ImClaim *claim, uint64_t offset, uint64_t length)
{
  unsigned bits = image->geometry.cluster_bits;

  im_claim_take (image->writer->claims, claim, offset >> bits,
                 (offset + length - 1) >> bits, true);
}

bool
qcow2_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
                    GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  ImClaim claim;
  bool ok;

  if ((flags & IM_WRITE_FAST) && !has_zero_entries (image, flags)) {
    im_set_errno (error, ENOTSUP, "this image has no entries for zeros");
    return false;
  }
  if (!qcow2_writer_mark (image, error))
    return false;
  claim_range (image, &claim, offset, length);
  ok = zero_claimed (block, offset, length, flags, error);
  im_claim_drop (image->writer->claims, &claim);
  return ok && settle (image, flags, error);
}

bool
qcow2_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  Change change = {.may_unmap = true};
  uint64_t first, end;
  ImClaim claim;
  bool ok;

  whole_clusters (image, offset, length, &first, &end);
  if (first == end)
    return true;
  if (!qcow2_writer_mark (image, error))
    return false;
  claim_range (image, &claim, offset, length);
  ok = change_clusters (image, &change, first, end - first, error);
  im_claim_drop (image->writer->claims, &claim);
  return ok && settle (image, 0, error);
}

bool
qcow2_flush (ImBlock *block, GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;

  if (!atomic_load (&image->writer->changed))
    return true;
  return im_commit_now (image->writer->commit, error);
}
