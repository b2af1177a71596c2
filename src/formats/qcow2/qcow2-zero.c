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

/* A change of whole subclusters' bits. */
typedef struct {
  bool zero;           /* they are to read as zeros; otherwise they may */
  bool may_unmap;      /* clusters that are left empty are given back */
  uint64_t first, end; /* subclusters of the disk, all of which the caller has claimed */
} Change;

static unsigned
subcluster_bits (const Qcow2Image *image)
{
  return image->geometry.subcluster_bits;
}

/* Subclusters of a cluster, as a power of two. */
static unsigned
shift_of (const Qcow2Image *image)
{
  return image->geometry.cluster_bits - image->geometry.subcluster_bits;
}

/* Can entries say that something reads as zeros? */
static bool
has_zero_bits (const Qcow2Image *image)
{
  return image->geometry.zero_flag || image->geometry.entry_words == 2;
}

/* Which subclusters of CLUSTER are to change. */
static uint32_t
mask_of (const Qcow2Image *image, const Change *change, uint64_t cluster)
{
  uint64_t start = cluster << shift_of (image), n = UINT64_C (1) << shift_of (image);

  return qcow2_subclusters (im_max (change->first, start) - start,
                            im_min (change->end - start, n));
}

/* Which subclusters of ENTRY, of the cluster at GUEST, are to have the bit for zeros once
 * those in MASK have changed. */
static uint32_t
zeros_after (const Qcow2Image *image, const Change *change, uint64_t guest,
             const Qcow2Entry *entry, uint32_t mask)
{
  bool bare = lacks_parent (&image->block, guest);

  if (!has_zero_bits (image))
    return 0;
  if (change->zero)
    return entry->zero | (bare ? entry->allocated & mask : mask);
  return bare ? entry->zero & ~mask : entry->zero | (entry->allocated & mask);
}

/* Changes ENTRY, of the cluster at GUEST, which is not BAD; false where it stays. */
static bool
change_entry (const Qcow2Image *image, const Change *change, uint64_t guest,
              uint32_t mask, Qcow2Entry *entry)
{
  uint32_t all = qcow2_all_subclusters (&image->geometry);
  bool kept = entry->use == QCOW2_USE_OWN && !change->may_unmap;

  if (entry->compressed && mask != all)
    return false;
  if (!change->zero && (entry->use == QCOW2_USE_EMPTY ||
                        (!has_zero_bits (image) && !lacks_parent (&image->block, guest))))
    return false;
  entry->zero = zeros_after (image, change, guest, entry, mask);
  entry->allocated &= ~mask;
  if (entry->allocated == 0 && !kept)
    entry->use = QCOW2_USE_EMPTY;
  return true;
}

/* Changes the entries of N clusters from CLUSTER on, all of table T. */
static bool
change_entries (Qcow2Image *image, const Change *change, Qcow2Table *t, uint64_t cluster,
                uint64_t n, GError **error)
{
  Qcow2Writer *w = image->writer;
  bool ok = true;

  pthread_mutex_lock (&w->mutex);
  for (uint64_t c = cluster; c < cluster + n && ok; c++) {
    uint64_t i = c % qcow2_table_entries (image);
    Qcow2Entry entry = qcow2_entry_get (image, t, i);

    if (entry.use == QCOW2_USE_BAD) {
      if (change->zero)
        qcow2_entry_set_bad (image, t, i, &entry, error);
      ok = !change->zero;
    } else if (change_entry (image, change, c << image->geometry.cluster_bits,
                             mask_of (image, change, c), &entry)) {
      qcow2_entry_set_locked (image, t, i, &entry, change->may_unmap);
    }
  }
  pthread_mutex_unlock (&w->mutex);
  return ok;
}

static bool
change_subclusters (Qcow2Image *image, const Change *change, GError **error)
{
  uint64_t per_table = qcow2_table_entries (image);
  uint64_t cluster = change->first >> shift_of (image);
  uint64_t end = im_div_up (change->end, UINT64_C (1) << shift_of (image));
  bool ok = true;

  for (uint64_t now; cluster < end && ok; cluster += now) {
    uint64_t index = cluster / per_table;
    uint64_t guest = cluster << image->geometry.cluster_bits;
    Qcow2Table *t;

    now = im_min (end - cluster, per_table - cluster % per_table);
    if (qcow2_l1_entry (image, index) == 0 &&
        (!change->zero || lacks_parent (&image->block, guest)))
      continue;
    t = qcow2_table_pin (image, index, error);
    ok = t && change_entries (image, change, t, cluster, now, error);
    if (t)
      qcow2_table_unpin (image, t);
  }
  im_commit_soon (image->writer->commit);
  return ok && (!image->geometry.external || !change->may_unmap ||
                qcow2_data_punch (image, change->first << subcluster_bits (image),
                                  change->end << subcluster_bits (image), error));
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

/* The whole subclusters within a range; the disk's last cluster counts as whole. */
static void
whole_subclusters (const Qcow2Image *image, uint64_t offset, uint64_t length,
                   Change *change)
{
  uint64_t size = UINT64_C (1) << subcluster_bits (image), end = offset + length;

  change->first = im_div_up (offset, size);
  change->end = end == image->block.size
                    ? im_div_up (end, qcow2_cluster_size (image)) << shift_of (image)
                    : end / size;
  if (change->first << subcluster_bits (image) >= end)
    change->end = change->first;
}

static bool
is_compressed (ImBlock *block, uint64_t cluster)
{
  ImExtent extent;
  size_t n;

  return im_block_map (block, cluster << ((Qcow2Image *)block)->geometry.cluster_bits, 1,
                       IM_MAP_WHERE, &extent, 1, &n, NULL) &&
         extent.kind == IM_EXTENT_CHUNK && extent.depth == 0;
}

/* Takes parts of compressed clusters out: those have no bits for subclusters. */
static void
leave_compressed (ImBlock *block, Change *change)
{
  unsigned shift = shift_of ((Qcow2Image *)block);
  uint64_t mask = (UINT64_C (1) << shift) - 1;

  if ((change->first & mask) && is_compressed (block, change->first >> shift))
    change->first = im_min (change->end, (change->first | mask) + 1);
  if ((change->end & mask) && change->end > change->first &&
      is_compressed (block, change->end >> shift))
    change->end = im_max (change->first, change->end & ~mask);
}

/* Can ranges be made to read as zeros by their entries? */
static bool
has_zero_entries (const Qcow2Image *image, ImWriteFlags flags)
{
  return has_zero_bits (image) || (!image->block.parent && flags & IM_WRITE_MAY_UNMAP);
}

static bool
zero_claimed (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
              GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  Change change = {.zero = true, .may_unmap = flags & IM_WRITE_MAY_UNMAP};
  uint64_t start, end, stop = offset + length;

  whole_subclusters (image, offset, length, &change);
  leave_compressed (block, &change);
  if (change.first == change.end || !has_zero_entries (image, flags))
    return write_zeros_out (block, offset, length, error);
  start = change.first << subcluster_bits (image);
  end = change.end << subcluster_bits (image);
  return write_zeros_out (block, offset, start - offset, error) &&
         change_subclusters (image, &change, error) &&
         (end >= stop || write_zeros_out (block, end, stop - end, error));
}

static bool
discard_claimed (Qcow2Image *image, uint64_t offset, uint64_t length, GError **error)
{
  Change change = {.may_unmap = true};

  whole_subclusters (image, offset, length, &change);
  return change.first == change.end || change_subclusters (image, &change, error);
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
  if (image->raw_data)
    ok = request->discard ? qcow2_raw_discard (image, offset, length, error)
                          : qcow2_raw_zero (image, offset, length, request->flags, error);
  else
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

  if ((flags & IM_WRITE_FAST) && !by_entries && !image->raw_data) {
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
  Change change = {.may_unmap = true};

  whole_subclusters (image, offset, length, &change);
  if (!image->raw_data && change.first == change.end)
    return true;
  return qcow2_writer_mark (image, error) &&
         in_steps (image, &request, offset, length, error) &&
         qcow2_settle (image, 0, error);
}
