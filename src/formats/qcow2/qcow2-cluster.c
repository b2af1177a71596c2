/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the entries of L2 tables in memory, as writers see and set them. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-writer.h"
#include <inttypes.h>

Qcow2Use
qcow2_entry_use (const Qcow2Image *image, const Qcow2Table *t, uint64_t i,
                 const char **ret_reason)
{
  Qcow2Geometry g = image->geometry;
  uint64_t entry = qcow2_entry_at (t, i);
  Qcow2Cluster cluster;
  bool own = entry & QCOW2_ENTRY_COPIED;

  if (qcow2_table_refuses (t, i)) {
    *ret_reason = "what it points at is in use otherwise, or past the end of the file";
    return QCOW2_USE_BAD;
  }
  g.file_size = g.data_size = im_file_size (image->file);
  qcow2_l2_decode (&g, &entry, 0, 0, &cluster);
  switch (cluster.kind) {
  case QCOW2_UNALLOCATED:
    return QCOW2_USE_EMPTY;
  case QCOW2_ZERO:
    if (qcow2_entry_host (entry) == 0)
      return QCOW2_USE_EMPTY;
    return own ? QCOW2_USE_PREALLOCATED : QCOW2_USE_FOREIGN;
  case QCOW2_DATA:
    return own ? QCOW2_USE_OWN : QCOW2_USE_FOREIGN;
  case QCOW2_COMPRESSED:
    return QCOW2_USE_FOREIGN;
  case QCOW2_BAD:
    break;
  }
  *ret_reason = cluster.reason;
  return QCOW2_USE_BAD;
}

void
qcow2_entry_set_bad (const Qcow2Table *t, uint64_t i, const char *reason, GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "table entry at 0x%" PRIx64 " is 0x%" PRIx64 ": %s", t->at + i * 8,
               qcow2_entry_at (t, i), reason);
}

/* What ENTRY held is not needed any more. */
static void
remove_locked (Qcow2Image *image, uint64_t entry, bool punch)
{
  Qcow2Writer *w = image->writer;
  uint64_t size = qcow2_cluster_size (image), at = qcow2_entry_host (entry),
           end = at + size;

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

void
qcow2_entry_set_locked (Qcow2Image *image, Qcow2Table *t, uint64_t i, uint64_t entry,
                        bool punch)
{
  uint64_t old = qcow2_entry_at (t, i);

  if (old == entry)
    return;
  atomic_store (&t->words[i], entry);
  qcow2_dirty_locked (&t->state, image->writer->dirty_tables, t, (size_t)i * 8, 8);
  if ((old & QCOW2_ENTRY_COMPRESSED) ||
      qcow2_entry_host (old) != qcow2_entry_host (entry))
    remove_locked (image, old, punch);
}
