/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: making an image writable, and closing it so that nothing is left undone. */
#include "formats/qcow2/qcow2-writer.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"

const char *
qcow2_unwritable (const Qcow2Image *image)
{
  uint64_t features = image->header.incompatible;

  if (image->snapshot)
    return "a snapshot of it is shown";
  if (features & QCOW2_INCOMPATIBLE_CORRUPT)
    return "it is marked corrupt (qemu-img check -r all may repair it)";
  if (!im_file_is_writable (image->data))
    return "its data file cannot be opened for writing";
  /* A snapshot could not keep what it has, since all of them share one data file. */
  if (features & QCOW2_INCOMPATIBLE_DATA_FILE && image->header.snapshot_count > 0)
    return "it has snapshots beside an external data file";
  return NULL;
}

static bool
load_refcount_table (Qcow2Image *image, GError **error)
{
  Qcow2Writer *w = image->writer;
  size_t bytes = (size_t)image->header.refcount_clusters << image->geometry.cluster_bits;
  g_autofree uint8_t *table = g_try_malloc (bytes);

  w->refcounts = g_try_new0 (uint64_t, bytes / 8);
  w->blocks = g_try_new0 (Qcow2Counts *, bytes / 8);
  if (!table || !w->refcounts || !w->blocks) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "no memory for a refcount table of %zu bytes", bytes);
    return false;
  }
  w->refcount_at = image->header.refcount_offset;
  w->refcount_entries = bytes / 8;
  if (!im_file_pread (image->file, table, bytes, w->refcount_at, error))
    return false;
  for (uint64_t i = 0; i < w->refcount_entries; i++)
    w->refcounts[i] = im_get_be64 (table + i * 8);
  return true;
}

/* The counts, or where they are not to be believed, none. */
static bool
load_counts (Qcow2Image *image, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t words;

  w->uncounted = (image->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY) != 0;
  if (w->uncounted) {
    w->cursor = im_div_up (w->first_size, qcow2_cluster_size (image));
    im_log_warning ("%s: it was not closed, and its reference counts may be wrong: new "
                    "data goes behind its end, and nothing is freed (qemu-img check -r "
                    "all repairs it)",
                    im_file_path (image->file));
  } else if (!load_refcount_table (image, error)) {
    return false;
  }
  words = w->refcount_entries / 64 / 64 + 1;
  w->refcount_dirty = g_new0 (uint64_t, words);
  w->refcount_writing = g_new0 (uint64_t, words);
  return true;
}

static void
writer_free (Qcow2Writer *w)
{
  im_commit_free (w->commit);
  im_claims_free (w->claims);
  qcow2_tables_free (w);
  qcow2_held_clear (&w->held);
  g_clear_error (&w->refusal);
  g_array_unref (w->loading);
  pthread_cond_destroy (&w->loaded);
  g_free (w->l1_state);
  for (uint64_t i = 0; w->blocks && i < w->refcount_entries; i++)
    g_free (w->blocks[i]);
  g_free (w->blocks);
  g_free (w->refcounts);
  g_free (w->refcount_dirty);
  g_free (w->refcount_writing);
  g_free (w->l1_dirty);
  g_free (w->l1_writing);
  g_ptr_array_unref (w->dirty_tables);
  g_ptr_array_unref (w->dirty_blocks);
  im_quarantine_clear (&w->quarantine);
  pthread_mutex_destroy (&w->mutex);
  g_free (w);
}

/* Where the file was never written; a device may have anything anywhere. */
static uint64_t
first_zero_cluster (const Qcow2Image *image)
{
  if (!im_file_has_holes (image->file))
    return UINT64_MAX;
  return im_div_up (im_file_size (image->file), qcow2_cluster_size (image));
}

uint64_t
qcow2_kept_autoclear (const Qcow2Image *image)
{
  return image->raw_data ? QCOW2_AUTOCLEAR_DATA_FILE_RAW : 0;
}

/* A parent shows through where the data file has no bytes of its own, and encrypted bytes
 * are not the disk's: with either the promise of a raw file does not hold anyway. */
static bool
is_raw (const Qcow2Image *image)
{
  return image->geometry.external && !image->backing_name && !image->crypt &&
         (image->header.autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW);
}

bool
qcow2_writer_open (Qcow2Image *image, GError **error)
{
  Qcow2Writer *w = g_new0 (Qcow2Writer, 1);
  uint64_t l1_words = im_div_up (image->l1_entries, 64) / 64 + 1;

  image->writer = w;
  pthread_mutex_init (&w->mutex, NULL);
  pthread_cond_init (&w->loaded, NULL);
  w->loading = g_array_new (FALSE, FALSE, sizeof (uint64_t));
  w->l1_state = g_malloc0_n (image->l1_entries + 1, sizeof *w->l1_state);
  im_quarantine_init (&w->quarantine);
  w->claims = im_claims_new ();
  w->commit = im_commit_new (&qcow2_commit_ops, image, image->file);
  if (image->geometry.external)
    im_commit_add_file (w->commit, image->data);
  image->raw_data = is_raw (image);
  atomic_init (&w->marked, image->header.autoclear == qcow2_kept_autoclear (image));
  w->tables = g_malloc0_n (image->l1_entries + 1, sizeof *w->tables);
  w->table_budget = QCOW2_TABLES_BUDGET;
  w->l1_dirty = g_new0 (uint64_t, l1_words);
  w->l1_writing = g_new0 (uint64_t, l1_words);
  w->dirty_tables = g_ptr_array_new ();
  w->dirty_blocks = g_ptr_array_new ();
  w->zero_from = first_zero_cluster (image);
  w->first_size = im_file_size (image->file);
  w->lazy = image->header.version >= 3 &&
            (image->header.compatible & QCOW2_COMPATIBLE_LAZY) &&
            !(image->header.incompatible & QCOW2_INCOMPATIBLE_DIRTY);
  return load_counts (image, error);
}

/* All counts are in the file by now. */
static bool
unmark_dirty (Qcow2Image *image, GError **error)
{
  Qcow2Writer *w = image->writer;

  if (!atomic_load (&w->dirty_marked) || w->distrusted)
    return true;
  pthread_mutex_lock (&w->mutex);
  w->clean = true;
  pthread_mutex_unlock (&w->mutex);
  return im_commit_now (w->commit, error);
}

/* Commits, frees what was removed, and commits that. */
static bool
finish (Qcow2Image *image, GError **error)
{
  Qcow2Writer *w = image->writer;
  uint64_t end;

  im_commit_stop (w->commit);
  pthread_mutex_lock (&w->mutex);
  w->closing = true;
  pthread_mutex_unlock (&w->mutex);
  if (!im_commit_now (w->commit, error))
    return false;
  qcow2_release (image, true);
  if (!im_commit_now (w->commit, error) || !unmark_dirty (image, error))
    return false;
  /* The file may have cut its last cluster short, which a write then made whole. */
  end = im_div_up (w->first_size, qcow2_cluster_size (image));
  end = im_max (end, w->used_end) << image->geometry.cluster_bits;
  return im_file_shrink (image->file, end, error);
}

void
qcow2_writer_close (Qcow2Image *image)
{
  Qcow2Writer *w = image->writer;
  g_autoptr (GError) error = NULL;

  if (!w)
    return;
  if (atomic_load (&w->changed) && !im_file_is_temporary (image->file) &&
      !finish (image, &error))
    im_log_warning ("%s: not all changes could be written: %s",
                    im_file_path (image->file), error->message);
  image->writer = NULL;
  writer_free (w);
}

bool
qcow2_loading_begin_locked (Qcow2Writer *w, uint64_t what)
{
  for (guint i = 0; i < w->loading->len; i++)
    if (g_array_index (w->loading, uint64_t, i) == what) {
      pthread_cond_wait (&w->loaded, &w->mutex);
      return false;
    }
  g_array_append_val (w->loading, what);
  return true;
}

void
qcow2_loading_end_locked (Qcow2Writer *w, uint64_t what)
{
  for (guint i = 0; i < w->loading->len; i++)
    if (g_array_index (w->loading, uint64_t, i) == what) {
      g_array_remove_index_fast (w->loading, i);
      break;
    }
  pthread_cond_broadcast (&w->loaded);
}

bool
qcow2_writer_mark (Qcow2Image *image, GError **error)
{
  Qcow2Writer *w = image->writer;

  if (!qcow2_prepare (image, error))
    return false;
  if (!atomic_load_explicit (&w->changed, memory_order_relaxed))
    atomic_store (&w->changed, true);
  return atomic_load_explicit (&w->marked, memory_order_acquire) ||
         im_commit_now (w->commit, error);
}

bool
qcow2_writer_mark_dirty (Qcow2Image *image, GError **error)
{
  Qcow2Writer *w = image->writer;

  if (!w->lazy || atomic_load_explicit (&w->dirty_marked, memory_order_acquire))
    return true;
  atomic_store (&w->dirty_wanted, true);
  return im_commit_now (w->commit, error);
}
