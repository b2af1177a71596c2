/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: zeroing and discarding, which are changes of entries but for the edges. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-writer.h"
#include <errno.h>

enum { ZEROS = 65536 }; /* bytes of zeros written at once */

/* What is changed under one claim: entries, or bytes where zeros are written out. */
#define STEP_ENTRIES UINT64_C (4096)
#define STEP_BYTES   (UINT64_C (4) << 20)

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
               uint64_t entry, Qcow2Use use)
{
  bool bare = lacks_parent (&image->block, guest), v3 = image->geometry.zero_flag;

  if (!change->zero)
    return use == QCOW2_USE_EMPTY ? entry : bare ? 0 : v3 ? QCOW2_ENTRY_ZERO : entry;
  if (use == QCOW2_USE_EMPTY)
    return bare || !v3 ? entry : QCOW2_ENTRY_ZERO;
  if (!v3)
    return 0;
  if (!change->may_unmap && (use == QCOW2_USE_OWN || use == QCOW2_USE_PREALLOCATED))
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
    uint64_t entry = qcow2_entry_at (t, i + k);
    Qcow2Use use = qcow2_entry_use (image, t, i + k, &reason);

    if (use == QCOW2_USE_BAD) {
      if (change->zero)
        qcow2_entry_set_bad (t, i + k, reason, error);
      ok = !change->zero;
      continue;
    }
    entry = changed_entry (image, change, guest + (k << image->geometry.cluster_bits),
                           entry, use);
    qcow2_entry_set_locked (image, t, i + k, entry, change->may_unmap);
  }
  pthread_mutex_unlock (&w->mutex);
  return ok;
}

/* Changes N clusters from CLUSTER on, all of which the caller has claimed. */
static bool
change_clusters (Qcow2Image *image, const Change *change, uint64_t cluster, uint64_t n,
                 GError **error)
{
  uint64_t per_table = qcow2_table_entries (image);
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
  ImWriteFormat format = qcow2_write_format ((Qcow2Image *)block);

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

static bool
discard_claimed (Qcow2Image *image, uint64_t offset, uint64_t length, GError **error)
{
  Change change = {.may_unmap = true};
  uint64_t first, end;

  whole_clusters (image, offset, length, &first, &end);
  return change_clusters (image, &change, first, end - first, error);
}

/* A request for a range of any length. */
typedef struct {
  bool discard; /* otherwise zeros */
  ImWriteFlags flags;
  uint64_t step; /* bytes: a multiple of the cluster size */
} Request;

static bool
claim_and_change (Qcow2Image *image, const Request *request, uint64_t offset,
                  uint64_t length, GError **error)
{
  unsigned bits = image->geometry.cluster_bits;
  ImClaim claim;
  bool ok;

  im_claim_take (image->writer->claims, &claim, offset >> bits,
                 (offset + length - 1) >> bits, true);
  ok = request->discard
           ? discard_claimed (image, offset, length, error)
           : zero_claimed (&image->block, offset, length, request->flags, error);
  im_claim_drop (image->writer->claims, &claim);
  return ok;
}

/* Tries again where the disk is full and quarantine has something to give. */
static bool
one_step (Qcow2Image *image, const Request *request, uint64_t offset, uint64_t length,
          GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (claim_and_change (image, request, offset, length, &failure))
    return true;
  if (qcow2_wins_space (image, failure))
    return claim_and_change (image, request, offset, length, error);
  g_propagate_error (error, g_steal_pointer (&failure));
  return false;
}

/* Who removes more than commits take along waits for one. */
static bool
bound_quarantine (Qcow2Image *image, GError **error)
{
  Qcow2Writer *w = image->writer;
  bool over, full;

  pthread_mutex_lock (&w->mutex);
  full = w->quarantine.bytes > QCOW2_QUARANTINE_MAX;
  over = w->quarantine.bytes > QCOW2_QUARANTINE_WAIT ||
         im_quarantine_ranges (&w->quarantine) > QCOW2_QUARANTINE_RANGES;
  pthread_mutex_unlock (&w->mutex);
  if (over)
    return im_commit_now (w->commit, error);
  if (full)
    im_commit_start (w->commit);
  return true;
}

/* In steps, so that writers elsewhere in a long range need not wait for its end. */
static bool
in_steps (Qcow2Image *image, const Request *request, uint64_t offset, uint64_t length,
          GError **error)
{
  for (uint64_t done = 0, now; done < length; done += now) {
    uint64_t at = offset + done;

    now = im_min (length - done, request->step - at % request->step);
    if (!one_step (image, request, at, now, error) || !bound_quarantine (image, error))
      return false;
  }
  return true;
}

bool
qcow2_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
                    GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  bool by_entries = has_zero_entries (image, flags);
  uint64_t size = qcow2_cluster_size (image);
  Request request = {.flags = flags,
                     .step =
                         by_entries ? STEP_ENTRIES * size : im_max (STEP_BYTES, size)};

  if ((flags & IM_WRITE_FAST) && !by_entries) {
    im_set_errno (error, ENOTSUP, "this image has no entries for zeros");
    return false;
  }
  return qcow2_writer_mark (image, error) &&
         in_steps (image, &request, offset, length, error) &&
         qcow2_settle (image, flags, error);
}

bool
qcow2_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  Request request = {.discard = true, .step = STEP_ENTRIES * qcow2_cluster_size (image)};
  uint64_t first, end;

  whole_clusters (image, offset, length, &first, &end);
  if (first == end)
    return true;
  return qcow2_writer_mark (image, error) &&
         in_steps (image, &request, offset, length, error) &&
         qcow2_settle (image, 0, error);
}
