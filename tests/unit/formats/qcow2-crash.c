/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2 images as something to crash. */
#include "qcow2-crash.h"
#include "base/bytes.h"
#include "formats/qcow2/qcow2-writer.h"
#include "formats/qcow2/qcow2.h"

static const char *const names[] = {"image.qcow2", NULL};
static const char *const with_data[] = {"image.qcow2", "image.data", NULL};
static const char *const with_parent[] = {"base.raw", NULL};
static const char *const without_parent[] = {NULL};

static void
open_in (Qcow2Crash *crash, const char *folder, ImCacheMode cache, bool writable,
         const char *snapshot)
{
  g_autofree char *path = g_build_filename (folder, names[0], NULL);
  g_autoptr (GError) error = NULL;
  Rig *rig = &crash->rig;

  rig->file = writable ? im_file_open_writable (path, cache, &error)
                       : im_file_open_read_only (path, &error);
  g_assert_no_error (error);
  if (crash->device_len > 0)
    rig->file->st.st_mode = (rig->file->st.st_mode & ~(mode_t)S_IFMT) | S_IFBLK;
  rig->context.snapshot_any = snapshot;
  rig->cache = cache;
  rig->block = im_format_qcow2.open (rig->file, &rig->context, &error);
  g_assert_no_error (error);
  rig->block->policy.pass_discards = true;
}

static void
crash_open (void *data, const char *folder, ImCacheMode cache, bool writable,
            ImBlock **ret_block)
{
  Qcow2Crash *crash = data;
  Rig *rig = &crash->rig;

  open_in (crash, folder, cache, writable, NULL);
  *ret_block = rig->block;
  if (im_block_is_writable (rig->block) && crash->table_budget > 0)
    ((Qcow2Image *)rig->block)->writer->table_budget = (uint64_t)crash->table_budget
                                                       << rig->shape.cluster_bits;
}

static void
crash_close (void *data)
{
  rig_close (&((Qcow2Crash *)data)->rig);
}

/* What a snapshot holds never changes. */
static bool
keeps_snapshot (Qcow2Crash *crash, const char *folder)
{
  g_autofree uint8_t *bytes = g_malloc (crash->rig.shape.size);

  if (!crash->rig.shape.snapshot)
    return true;
  open_in (crash, folder, IM_CACHE_WRITEBACK, false, "one");
  bool ok = im_block_pread (crash->rig.block, bytes, crash->rig.shape.size, 0, NULL);
  rig_close (&crash->rig);
  return ok && memcmp (bytes, crash->rig.original, crash->rig.shape.size) == 0;
}

/* Errors first: leaks are many. */
static char *
sort_output (const char *output)
{
  g_auto (GStrv) lines = g_strsplit (output, "\n", -1);
  GString *sorted = g_string_new (NULL);

  for (int errors = 1; errors >= 0; errors--)
    for (char **line = lines; *line; line++)
      if (g_str_has_prefix (*line, "ERROR") == errors)
        g_string_append_printf (sorted, "%s\n", *line);
  return g_string_free (sorted, FALSE);
}

/* Is that image dirty of which the one at PATH, in a folder of its folder, is a copy? */
static bool
was_dirty (const char *path)
{
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *above = g_path_get_dirname (folder);
  g_autofree char *original = g_build_filename (above, names[0], NULL);

  return rig_is_dirty (original);
}

/* Errors are allowed where the header says that there may be some, if they can be mended;
 * leaks are always.  An image found dirty stays so. */
static bool
is_sound (Qcow2Crash *crash, const char *path, char **ret_why)
{
  g_autofree char *output = NULL, *repaired = NULL;
  bool dirty = rig_is_dirty (path);
  int status = rig_check (path, &output);

  if (crash->rig.shape.dirty && !dirty && was_dirty (path)) {
    *ret_why = g_strdup ("the dirty mark is gone");
    return false;
  }
  if (status == 0 || status == 3)
    return true;
  if (status == 2 && dirty && rig_repair (path, &repaired) == 0 &&
      rig_check (path, NULL) == 0) {
    crash->repaired++;
    return true;
  }
  g_autofree char *sorted = sort_output (output);
  *ret_why = g_strdup_printf ("qemu-img check says %d: %.400s %.400s", status, sorted,
                              repaired ? repaired : "");
  return false;
}

/* The bit says that the bitmaps are in step with the disk. */
static bool
keeps_marks (const Qcow2Crash *crash, const uint8_t *header, const CrashBytes *found)
{
  return !crash->has_bitmap || !(im_get_be64 (header + QCOW2_AT_AUTOCLEAR) & 1) ||
         memcmp (found->bytes, crash->rig.original, found->len) == 0;
}

/* Is a raw data file the disk, after a crash too?  QEMU gives every cluster of one its
 * entry when it makes it, so that there is nothing to come late. */
static bool
keeps_raw (const Qcow2Crash *crash, const char *folder, const CrashBytes *found)
{
  g_autofree char *path = g_build_filename (folder, with_data[1], NULL);
  g_autofree char *bytes = NULL;
  gsize len;

  if (crash->rig.shape.data != RIG_DATA_FILE_RAW)
    return true;
  return g_file_get_contents (path, &bytes, &len, NULL) && len >= found->len &&
         memcmp (bytes, found->bytes, found->len) == 0;
}

static bool
crash_check (void *data, const char *folder, const CrashBytes *found, char **ret_why)
{
  Qcow2Crash *crash = data;
  g_autofree char *path = g_build_filename (folder, names[0], NULL);
  g_autofree uint8_t *header = NULL;

  g_assert_true (g_file_get_contents (path, (char **)&header, NULL, NULL));
  crash->refcount_moves +=
      im_get_be64 (header + QCOW2_AT_REFCOUNT_TABLE) != crash->refcount_at;
  if (!keeps_marks (crash, header, found)) {
    *ret_why = g_strdup ("bitmaps are said to be right, and are not");
    return false;
  }
  if (!keeps_raw (crash, folder, found)) {
    *ret_why = g_strdup ("the raw data file is not the disk");
    return false;
  }
  if (!is_sound (crash, path, ret_why))
    return false;
  if (!keeps_snapshot (crash, folder)) {
    *ret_why = g_strdup ("the snapshot has changed");
    return false;
  }
  return true;
}

static void
add_rubbish (const char *path, size_t len)
{
  g_autofree char *bytes = NULL;
  gsize had;

  g_assert_true (g_file_get_contents (path, &bytes, &had, NULL));
  g_assert_cmpuint (had, <, len);
  bytes = g_realloc (bytes, len);
  for (size_t i = had; i < len; i++)
    bytes[i] = (char)(0xa5 ^ i);
  g_assert_true (g_file_set_contents (path, bytes, (gssize)len, NULL));
}

void
qcow2_crash_make (Qcow2Crash *crash, const RigShape *shape, const ImResources *resources)
{
  g_autofree uint8_t *bytes = NULL;
  Rig *rig = &crash->rig;

  rig_make (rig, shape, resources);
  if (crash->has_bitmap)
    rig_add_bitmap (rig);
  if (crash->device_len > 0)
    add_rubbish (rig->path, crash->device_len);
  g_assert_true (g_file_get_contents (rig->path, (char **)&bytes, NULL, NULL));
  crash->refcount_at = im_get_be64 (bytes + QCOW2_AT_REFCOUNT_TABLE);
  crash->subject =
      (CrashSubject){.names = shape->data == RIG_DATA_INSIDE ? names : with_data,
                     .parents = shape->parent ? with_parent : without_parent,
                     .folder = rig->folder,
                     .unit = 1u << shape->cluster_bits,
                     .data = crash,
                     .open = crash_open,
                     .close = crash_close,
                     .check = crash_check};
}

void
qcow2_crash_clear (Qcow2Crash *crash)
{
  rig_clear (&crash->rig);
}
