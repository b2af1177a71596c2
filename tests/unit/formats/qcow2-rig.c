/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images made and judged by qemu-img. */
#include "qcow2-rig.h"
#include "base/bytes.h"
#include "base/error.h"
#include "block/file-internal.h"
#include "formats/qcow2/qcow2.h"
#include "formats/raw.h"
#include <glib/gstdio.h>

bool
rig_has_qemu_img (void)
{
  g_autofree char *path = g_find_program_in_path ("qemu-img");

  if (!path)
    g_test_skip ("qemu-img is not installed");
  return path != NULL;
}

/* Runs a command; its words are separated by single spaces.  The exit status. */
static int
run (char **ret_output, const char *format, ...)
{
  g_auto (GStrv) argv = NULL;
  g_autofree char *line = NULL, *out = NULL, *err = NULL;
  g_autoptr (GError) error = NULL;
  int status;
  va_list args;

  va_start (args, format);
  line = g_strdup_vprintf (format, args);
  va_end (args);
  argv = g_strsplit (line, " ", -1);
  /* Ours are closed at exec.  So GLib need not fork, which takes a sanitizer's process
   * long. */
  g_spawn_sync (NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_LEAVE_DESCRIPTORS_OPEN,
                NULL, NULL, &out, &err, &status, &error);
  g_assert_no_error (error);
  status = WIFEXITED (status) ? WEXITSTATUS (status) : 255;
  if (ret_output)
    *ret_output = g_strconcat (out, err, NULL);
  else if (status != 0)
    g_error ("%s: %d: %s%s", line, status, out, err);
  return status;
}

static ImBlock *
open_parent (const ImOpenContext *context, ImFile *from, const char *name,
             const char *format, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (im_file_path (from));
  g_autofree char *path =
      g_path_is_absolute (name) ? g_strdup (name) : g_build_filename (folder, name, NULL);
  g_autoptr (ImFile) file = im_file_open_read_only (path, error);

  return file ? im_format_raw.open (file, context, error) : NULL;
}

static ImFile *
open_file (const ImOpenContext *context, ImFile *from, const char *name, GError **error)
{
  const Rig *rig = (const Rig *)context;
  /* Beside the image, also where that is a copy elsewhere. */
  g_autofree char *folder = g_path_get_dirname (im_file_path (from));
  g_autofree char *base = g_path_get_basename (name);
  g_autofree char *path = g_build_filename (folder, base, NULL);

  if (im_file_is_writable (from))
    return im_file_open_writable (path, rig->cache, error);
  return im_file_open_read_only (path, error);
}

char *
rig_describe (const RigShape *s)
{
  return g_strdup_printf (
      "v%u cluster %u refcounts %u%s%s%s%s%s%s%s%s%s", s->version, 1u << s->cluster_bits,
      s->refcount_bits, s->extended ? " extended" : "",
      s->data == RIG_DATA_FILE_RAW ? " raw data file"
      : s->data == RIG_DATA_FILE   ? " data file"
                                   : "",
      s->parent ? " parent" : "", s->filled ? " filled" : "",
      s->compressed ? " compressed" : "", s->snapshot ? " snapshot" : "",
      s->preallocated ? " preallocated" : "", s->lazy ? " lazy" : "",
      s->dirty ? " dirty" : "");
}

bool
rig_write (Rig *rig, const void *buf, size_t len, uint64_t offset, ImWriteFlags flags,
           GError **error)
{
  bool tries = flags == 0 && (offset / 512 + len) % 2 == 0;

  return (tries && im_block_pwrite_nowait (rig->block, buf, len, offset)) ||
         im_block_pwrite (rig->block, buf, len, offset, flags, error);
}

void
rig_fill (uint8_t *bytes, size_t len, GRand *rand)
{
  /* Compressible, so that compressed clusters are. */
  uint32_t value = g_rand_int (rand);

  for (size_t i = 0; i < len; i += 64)
    memset (bytes + i, (uint8_t)(value >> (i / 64 % 4 * 8)) ^ (uint8_t)(i / 256),
            im_min (64, len - i));
}

static void
save (const char *path, const uint8_t *bytes, size_t len)
{
  g_autoptr (GError) error = NULL;

  g_file_set_contents (path, (const char *)bytes, (gssize)len, &error);
  g_assert_no_error (error);
}

/* Pieces of data in expected, the rest the parent's or zeros. */
static void
make_contents (Rig *rig, GRand *rand, const char *base)
{
  const RigShape *s = &rig->shape;
  uint64_t parent_size = s->size * 2 / 3 / 512 * 512, piece = UINT64_C (3)
                                                              << s->cluster_bits;

  rig->expected = g_malloc0 (s->size);
  if (s->parent) {
    rig_fill (rig->expected, parent_size, rand);
    save (base, rig->expected, parent_size);
  }
  for (uint64_t at = 0; s->filled && at < s->size; at += piece)
    if (g_rand_boolean (rand))
      rig_fill (rig->expected + at, im_min (piece, s->size - at), rand);
  rig->original = g_memdup2 (rig->expected, s->size);
}

/* As QEMU may leave an image with lazy refcounts: its counts are not worth a thing. */
static void
make_dirty (const char *path)
{
  g_autofree char *bytes = NULL;
  gsize len;
  uint64_t table, block, size;

  g_assert_true (g_file_get_contents (path, &bytes, &len, NULL));
  bytes[79] |= 1;
  table = im_get_be64 (bytes + 48);
  size = UINT64_C (1) << im_get_be32 (bytes + 20);
  for (uint64_t i = 0; i < size / 8; i++) {
    block = im_get_be64 (bytes + table + i * 8);
    if (block != 0)
      memset (bytes + block, 0, size);
  }
  save (path, (uint8_t *)bytes, len);
}

/* What -o wants to hear. */
static char *
make_options (const Rig *rig)
{
  const RigShape *s = &rig->shape;
  GString *options = g_string_new (NULL);

  g_string_printf (options, "cluster_size=%u,refcount_bits=%u,compat=%s",
                   1u << s->cluster_bits, s->refcount_bits,
                   s->version == 2 ? "0.10" : "1.1");
  if (s->extended)
    g_string_append (options, ",extended_l2=on");
  if (s->data != RIG_DATA_INSIDE)
    g_string_append_printf (options, ",data_file=%s", rig->data_path);
  if (s->data == RIG_DATA_FILE_RAW)
    g_string_append (options, ",data_file_raw=on");
  if (s->lazy)
    g_string_append (options, ",lazy_refcounts=on");
  return g_string_free (options, FALSE);
}

void
rig_make (Rig *rig, const RigShape *shape, const ImResources *resources)
{
  g_autofree char *base = NULL, *raw = NULL, *options = NULL, *backing = NULL;
  GRand *rand = g_rand_new_with_seed (shape->cluster_bits * 1000 + shape->refcount_bits);

  *rig = (Rig){.shape = *shape, .shared = *resources};
  rig->context = (ImOpenContext){
      .shared = &rig->shared, .open_parent = open_parent, .open_file = open_file};
  /* In memory where that can be: qemu-img syncs more than a test needs. */
  rig->folder = g_mkdtemp (g_strdup ("/dev/shm/imgmount-XXXXXX"));
  if (!rig->folder)
    rig->folder = g_dir_make_tmp ("imgmount-XXXXXX", NULL);
  rig->path = g_build_filename (rig->folder, "image.qcow2", NULL);
  base = g_build_filename (rig->folder, "base.raw", NULL);
  raw = g_build_filename (rig->folder, "full.raw", NULL);
  make_contents (rig, rand, base);
  if (shape->data != RIG_DATA_INSIDE)
    rig->data_path = g_build_filename (rig->folder, "image.data", NULL);
  options = make_options (rig);
  backing = shape->parent
                ? g_strdup_printf (" -F raw -%c base.raw", shape->filled ? 'B' : 'b')
                : g_strdup ("");
  save (raw, rig->expected, shape->size);
  /* One stream at a time: several at once at times leave QEMU with counts that are wrong.
   */
  if (shape->filled)
    run (NULL, "qemu-img convert -q -t unsafe%s -f raw -O qcow2 -o %s%s %s %s",
         shape->compressed ? " -c -m 1" : "", options, backing, raw, rig->path);
  else
    run (NULL, "qemu-img create -q -f qcow2 -o %s%s%s %s %" G_GUINT64_FORMAT, options,
         shape->preallocated ? ",preallocation=metadata" : "", backing, rig->path,
         shape->size);
  if (shape->snapshot)
    run (NULL, "qemu-img snapshot -q -c one %s", rig->path);
  if (shape->dirty)
    make_dirty (rig->path);
  g_rand_free (rand);
}

void
rig_add_bitmap (Rig *rig)
{
  run (NULL, "qemu-img bitmap --add %s changes", rig->path);
}

void
rig_open_path (Rig *rig, const char *path, ImCacheMode cache, bool writable)
{
  g_autoptr (GError) error = NULL;

  rig->cache = cache;
  rig->file = writable ? im_file_open_writable (path, cache, &error)
                       : im_file_open_read_only (path, &error);
  g_assert_no_error (error);
  rig->block = im_format_qcow2.open (rig->file, &rig->context, &error);
  g_assert_no_error (error);
  g_assert_true (rig->block->writable == writable);
  rig->block->policy.pass_discards = true;
}

void
rig_open (Rig *rig, ImCacheMode cache)
{
  rig_open_path (rig, rig->path, cache, true);
}

void
rig_close (Rig *rig)
{
  g_clear_pointer (&rig->block, im_block_unref);
  /* Read-ahead may be the last to hold the block, and then is who closes the image. */
  while (rig->file && atomic_load (&rig->file->references) > 1)
    g_usleep (1000);
  g_clear_pointer (&rig->file, im_file_unref);
}

void
rig_clear (Rig *rig)
{
  rig_close (rig);
  run (NULL, "rm -rf %s", rig->folder);
  g_free (rig->folder);
  g_free (rig->path);
  g_free (rig->data_path);
  g_free (rig->expected);
  g_free (rig->original);
}

int
rig_check (const char *path, char **ret_output)
{
  return run (ret_output, "qemu-img check -q -f qcow2 %s", path);
}

int
rig_repair (const char *path, char **ret_output)
{
  return run (ret_output, "qemu-img check -q -r all -f qcow2 %s", path);
}

bool
rig_is_dirty (const char *path)
{
  g_autofree char *bytes = NULL;
  gsize len;

  g_assert_true (g_file_get_contents (path, &bytes, &len, NULL));
  return bytes[7] >= 3 && (bytes[79] & 1);
}

static void
compare_converted (Rig *rig, const char *options, const uint8_t *expected)
{
  g_autofree char *raw = g_build_filename (rig->folder, "out.raw", NULL);
  g_autofree char *bytes = NULL;
  gsize len;

  run (NULL, "qemu-img convert -q -t unsafe -f qcow2 -O raw%s %s %s", options, rig->path,
       raw);
  g_assert_true (g_file_get_contents (raw, &bytes, &len, NULL));
  g_assert_cmpuint (len, ==, rig->shape.size);
  g_assert_true (memcmp (bytes, expected, len) == 0);
}

/* May be longer, by a part of a cluster that the disk does not have. */
static void
compare_raw_data (const Rig *rig)
{
  g_autofree char *bytes = NULL;
  gsize len;

  g_assert_true (g_file_get_contents (rig->data_path, &bytes, &len, NULL));
  g_assert_cmpuint (len, >=, rig->shape.size);
  g_assert_true (memcmp (bytes, rig->expected, rig->shape.size) == 0);
  for (gsize i = rig->shape.size; i < len; i++)
    g_assert_cmpint (bytes[i], ==, 0);
}

void
rig_verify (Rig *rig)
{
  g_autofree char *output = NULL, *what = rig_describe (&rig->shape);
  int status;

  rig_close (rig);
  g_assert_true (rig_is_dirty (rig->path) == rig->shape.dirty);
  status =
      rig->shape.dirty ? rig_repair (rig->path, &output) : rig_check (rig->path, &output);
  if (status != 0)
    g_error ("%s: qemu-img check says %d: %s", what, status, output);
  rig->shape.dirty = false; /* repaired */
  compare_converted (rig, "", rig->expected);
  if (rig->shape.snapshot)
    compare_converted (rig, " -l one", rig->original);
  if (rig->shape.data == RIG_DATA_FILE_RAW)
    compare_raw_data (rig);
}

void
rig_compare (Rig *rig)
{
  g_autofree uint8_t *bytes = g_malloc (rig->shape.size);
  g_autoptr (GError) error = NULL;

  im_block_pread (rig->block, bytes, rig->shape.size, 0, &error);
  g_assert_no_error (error);
  /* Sanitizers make each look at a byte of it dear. */
  bool same = memcmp (bytes, rig->expected, rig->shape.size) == 0;
  for (uint64_t i = 0; !same && i < rig->shape.size; i++)
    if (bytes[i] != rig->expected[i])
      g_error ("byte %" G_GUINT64_FORMAT " is 0x%02x, not 0x%02x", i, bytes[i],
               rig->expected[i]);
}
