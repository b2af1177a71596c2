/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the entries of L2 tables in memory, as writers see and set them. */
#include "base/error.h"
#include "formats/qcow2/qcow2-writer.h"
#include <inttypes.h>

Qcow2Entry
qcow2_entry_get (const Qcow2Image *image, const Qcow2Table *t, uint64_t i)
{
  Qcow2Geometry g = image->geometry;
  uint64_t words[2], guest = ((t->index << g.l2_bits) + i) << g.cluster_bits;

  if (qcow2_table_refuses (t, i))
    return (Qcow2Entry){
        .use = QCOW2_USE_BAD,
        .reason = "what it points at is in use otherwise, or past the end of the file"};
  g.file_size = im_file_size (image->file);
  g.data_size = im_file_size (image->data);
  qcow2_table_read (t, g.entry_words, i * g.entry_words, g.entry_words, words);
  return qcow2_entry_parse (&g, words, guest);
}

void
qcow2_entry_set_bad (const Qcow2Image *image, const Qcow2Table *t, uint64_t i,
                     const Qcow2Entry *entry, GError **error)
{
  uint64_t word = i * image->geometry.entry_words;

  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "table entry at 0x%" PRIx64 " is 0x%" PRIx64 ": %s", t->at + word * 8,
               (uint64_t)t->words[word], entry->reason);
}

void
qcow2_entry_set_locked (Qcow2Image *image, Qcow2Table *t, uint64_t i,
                        const Qcow2Entry *entry, bool punch)
{
  Qcow2Writer *w = image->writer;
  unsigned n = image->geometry.entry_words;
  Qcow2Entry old = qcow2_entry_get (image, t, i);
  bool held = old.use == QCOW2_USE_OWN || old.use == QCOW2_USE_FOREIGN;
  uint64_t before[2], words[2];

  qcow2_entry_build (&image->geometry, entry, words);
  qcow2_table_read (t, n, i * n, n, before);
  if (memcmp (before, words, n * sizeof *words) == 0)
    return;
  qcow2_table_write_locked (t, i * n, n, words);
  qcow2_dirty_locked (&t->state, w->dirty_tables, t, (size_t)i * n * 8, n * 8);
  /* The place in a data file stays this cluster's, whatever its entry says. */
  if (!held || image->geometry.external)
    return;
  if (old.compressed || entry->use == QCOW2_USE_EMPTY || entry->at != old.at)
    im_quarantine_add (&w->quarantine, old.at, old.length, punch && !old.compressed);
}
