/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: random changes against the same changes of a buffer, with qemu-img as witness.
 */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2.h"
#include "qcow2-rig.h"
#include <errno.h>
#include <pthread.h>

static const ImResources *
resources (void)
{
  static ImResources shared;

  if (!shared.tables) {
    shared.pool = im_pool_new (2);
    shared.tables = im_table_cache_new (1 << 20);
    shared.chunks = im_chunk_engine_new (4 << 20, shared.pool);
  }
  return &shared;
}

/* A range of the disk: mostly small, at times whole clusters, at times many. */
static void
choose_range (const RigShape *s, GRand *rand, uint64_t *ret_offset, uint64_t *ret_len)
{
  uint64_t cluster = UINT64_C (1) << s->cluster_bits;
  uint64_t offset = (uint64_t)(g_rand_double (rand) * (double)s->size);
  uint64_t len =
      1 + (uint64_t)(g_rand_double (rand) * (double)im_min (4 * cluster, 600000));

  switch (g_rand_int_range (rand, 0, s->extended ? 5 : 4)) {
  case 0:
    offset = offset / cluster * cluster;
    len = im_div_up (len, cluster) * cluster;
    break;
  case 1:
    offset = offset / 512 * 512;
    len = im_div_up (len % 8192, 512) * 512;
    break;
  case 4:
    offset = offset / (cluster / 32) * (cluster / 32);
    len = im_div_up (len % (2 * cluster), cluster / 32) * (cluster / 32);
    break;
  default:
    break;
  }
  *ret_offset = offset;
  *ret_len = im_max (1, im_min (len, s->size - offset));
}

/* After a discard the range reads as before or as zeros, cluster by cluster. */
static void
follow_discard (Rig *rig, uint64_t offset, uint64_t len)
{
  g_autofree uint8_t *bytes = g_malloc (len);
  g_autoptr (GError) error = NULL;

  im_block_pread (rig->block, bytes, len, offset, &error);
  g_assert_no_error (error);
  bool same = memcmp (bytes, rig->expected + offset, len) == 0;
  for (uint64_t i = 0; !same && i < len; i++)
    g_assert_true (bytes[i] == 0 || bytes[i] == rig->expected[offset + i]);
  memcpy (rig->expected + offset, bytes, len);
}

static void
change (Rig *rig, GRand *rand)
{
  uint64_t offset, len;
  g_autoptr (GError) error = NULL;
  unsigned kind = (unsigned)g_rand_int_range (rand, 0, 100);
  ImWriteFlags flags = kind % 2 ? IM_WRITE_MAY_UNMAP : 0;

  choose_range (&rig->shape, rand, &offset, &len);
  if (kind < 60) {
    rig_fill (rig->expected + offset, len, rand);
    rig_write (rig, rig->expected + offset, len, offset, kind == 7 ? IM_WRITE_FUA : 0,
               &error);
  } else if (kind < 80) {
    memset (rig->expected + offset, 0, len);
    im_block_write_zeroes (rig->block, offset, len, flags, &error);
  } else if (kind < 93) {
    im_block_discard (rig->block, offset, len, &error);
    if (!error)
      follow_discard (rig, offset, len);
  } else {
    im_block_flush (rig->block, &error);
  }
  g_assert_no_error (error);
}

static void
change_at_random (Rig *rig, unsigned times, unsigned seed)
{
  GRand *rand = g_rand_new_with_seed (seed);

  for (unsigned i = 0; i < times; i++) {
    change (rig, rand);
    if (i % 50 == 0)
      rig_compare (rig);
  }
  rig_compare (rig);
  g_rand_free (rand);
}

static uint64_t
disk_size (unsigned cluster_bits)
{
  /* Not a whole number of clusters. */
  return im_max (UINT64_C (3) << 20, UINT64_C (12) << cluster_bits) + 1536;
}

static void
run_shape (const RigShape *shape, unsigned times)
{
  Rig rig;
  g_autofree char *what = rig_describe (shape);

  g_test_message ("%s", what);
  rig_make (&rig, shape, resources ());
  rig_open (&rig, IM_CACHE_UNSAFE);
  rig_compare (&rig);
  change_at_random (&rig, times, 1);
  rig_verify (&rig);
  /* Once more, on what the first round left. */
  rig_open (&rig, IM_CACHE_UNSAFE);
  change_at_random (&rig, times / 2, 2);
  rig_verify (&rig);
  rig_clear (&rig);
}

/* Every STEPth kind, or with -m slow every one.  IMGMOUNT_TEST_SAMPLE: one of so many,
 * and another one for another shape. */
static void
run_kinds (RigShape shape, unsigned step, unsigned times)
{
  const char *sample = g_getenv ("IMGMOUNT_TEST_SAMPLE");
  step = g_test_slow () ? 1 : step * (sample ? (unsigned)MAX (atoi (sample), 1) : 1);
  shape.size = disk_size (shape.cluster_bits);
  unsigned first = sample ? shape.cluster_bits % MIN (step, 10) : 0;
  for (unsigned kind = first; kind < 10; kind += step) {
    shape.parent = kind & 1;
    shape.filled = kind >= 2 && kind < 8;
    shape.compressed = kind == 4 || kind == 5 || kind == 8;
    shape.snapshot = kind >= 6 && kind < 8;
    shape.preallocated = kind >= 8;
    if (kind == 8)
      shape.filled = shape.snapshot = true, shape.preallocated = false;
    if (kind == 9)
      shape.parent = false;
    if (shape.snapshot && shape.refcount_bits == 1)
      continue;
    if (shape.compressed && shape.refcount_bits < (shape.snapshot ? 8 : 2))
      continue; /* several streams share a cluster */
    run_shape (&shape, times);
  }
}

static void
test_cluster_sizes (void)
{
  static const unsigned bits[] = {9, 10, 12, 16, 18, 21};

  if (!rig_has_qemu_img ())
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (bits); i++)
    run_kinds ((RigShape){.version = 3, .cluster_bits = bits[i], .refcount_bits = 16},
               i % 2 ? 3 : 1, bits[i] > 16 ? 60 : 120);
}

static void
test_refcount_widths (void)
{
  if (!rig_has_qemu_img ())
    return;
  for (unsigned i = 0; i <= 6; i++)
    run_kinds ((RigShape){.version = 3,
                          .cluster_bits = i % 2 ? 12 : 9,
                          .refcount_bits = 1u << i},
               i % 2 ? 2 : 3, 100);
}

static void
test_version_2 (void)
{
  if (!rig_has_qemu_img ())
    return;
  run_kinds ((RigShape){.version = 2, .cluster_bits = 9, .refcount_bits = 16}, 1, 100);
  run_kinds ((RigShape){.version = 2, .cluster_bits = 16, .refcount_bits = 16}, 3, 100);
}

static void
test_lazy_and_dirty (void)
{
  static const unsigned bits[] = {9, 9, 12, 16};

  if (!rig_has_qemu_img ())
    return;
  for (unsigned i = 0; i < G_N_ELEMENTS (bits); i++)
    run_kinds ((RigShape){.version = 3,
                          .cluster_bits = bits[i],
                          .refcount_bits = 16,
                          .lazy = i % 2 == 0,
                          .dirty = i % 2 == 1},
               3, 100);
}

/* Kinds of the newest features that meet in one image. */
static const RigShape mixtures[] = {
    {.extended = true, .lazy = true, .filled = true, .parent = true},
    {.extended = true, .dirty = true, .filled = true, .parent = true},
    {.extended = true, .dirty = true, .filled = true, .compressed = true},
    {.extended = true, .data = RIG_DATA_FILE, .lazy = true, .filled = true},
    {.extended = true, .data = RIG_DATA_FILE, .dirty = true, .parent = true},
    {.data = RIG_DATA_FILE_RAW, .dirty = true, .filled = true},
    {.data = RIG_DATA_FILE_RAW, .lazy = true},
};

static void
test_mixtures (void)
{
  if (!rig_has_qemu_img ())
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (mixtures); i++) {
    RigShape shape = mixtures[i];

    shape.version = 3;
    shape.cluster_bits = shape.extended ? 14 : 12;
    shape.refcount_bits = 16;
    shape.size = disk_size (shape.cluster_bits);
    run_shape (&shape, 100);
  }
}

/* With subclusters; beside each other, and each alone. */
static void
test_extended_entries (void)
{
  static const unsigned bits[] = {14, 16, 21};

  if (!rig_has_qemu_img ())
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (bits); i++)
    run_kinds (
        (RigShape){
            .version = 3, .cluster_bits = bits[i], .refcount_bits = 16, .extended = true},
        bits[i] == 16 ? 1 : 3, bits[i] > 16 ? 60 : 150);
}

static void
test_data_files (void)
{
  static const unsigned bits[] = {9, 14, 16, 21};

  if (!rig_has_qemu_img ())
    return;
  for (size_t i = 0; i < G_N_ELEMENTS (bits); i++)
    for (unsigned kind = 0; kind < 16; kind++) {
      RigShape shape = {.version = 3,
                        .cluster_bits = bits[i],
                        .refcount_bits = 16,
                        .extended = (kind & 1) && bits[i] >= 14,
                        .data = RIG_DATA_FILE + (kind >> 3),
                        .filled = kind & 2,
                        .size = disk_size (bits[i])};

      shape.parent = (kind & 4) && shape.data == RIG_DATA_FILE;
      shape.preallocated = (kind & 4) && !shape.parent && !shape.filled;
      if ((!(kind & 1) || bits[i] >= 14) && (g_test_slow () || (kind + i) % 2 == 0))
        run_shape (&shape, bits[i] > 16 ? 50 : 100);
    }
}

/* Opens IMAGE, whose byte of incompatible features is FEATURES, for writing. */
static void
check_reason (Rig *rig, uint8_t features, const char *part)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImFile) file = im_file_open_writable (rig->path, IM_CACHE_UNSAFE, &error);
  g_autoptr (ImBlock) block = NULL;

  g_assert_no_error (error);
  g_assert_true (im_file_pwrite (file, &features, 1, 79, false, NULL));
  block = im_format_qcow2.open (file, &rig->context, &error);
  g_assert_no_error (error);
  g_assert_true (block->writable == (part == NULL));
  if (part)
    g_assert_nonnull (strstr (block->read_only_because, part));
}

static void
test_unwritable_says_why (void)
{
  Rig rig;

  if (!rig_has_qemu_img ())
    return;
  rig_make (
      &rig,
      &(RigShape){.version = 3, .cluster_bits = 16, .refcount_bits = 16, .size = 1 << 20},
      resources ());
  check_reason (&rig, 0, NULL);
  check_reason (&rig, 1, NULL); /* dirty: a warning, no reason */
  check_reason (&rig, 2, "marked corrupt");
  rig_clear (&rig);
}

/* Opening, reading, flushing and closing change no byte of the file. */
static void
test_untouched_stays_untouched (void)
{
  g_autofree char *before = NULL, *after = NULL;
  gsize before_len, after_len;
  Rig rig;

  if (!rig_has_qemu_img ())
    return;
  rig_make (&rig,
            &(RigShape){.version = 3,
                        .cluster_bits = 12,
                        .refcount_bits = 16,
                        .size = 1 << 20,
                        .filled = true},
            resources ());
  g_assert_true (g_file_get_contents (rig.path, &before, &before_len, NULL));
  rig_open (&rig, IM_CACHE_WRITEBACK);
  rig_compare (&rig);
  g_assert_true (im_block_flush (rig.block, NULL));
  rig_close (&rig);
  g_assert_true (g_file_get_contents (rig.path, &after, &after_len, NULL));
  g_assert_cmpmem (before, before_len, after, after_len);
  rig_clear (&rig);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/formats/qcow2/write/unwritable-says-why", test_unwritable_says_why);
  g_test_add_func ("/formats/qcow2/write/untouched-stays-untouched",
                   test_untouched_stays_untouched);
  g_test_add_func ("/formats/qcow2/write/every-cluster-size", test_cluster_sizes);
  g_test_add_func ("/formats/qcow2/write/every-refcount-width", test_refcount_widths);
  g_test_add_func ("/formats/qcow2/write/extended-entries", test_extended_entries);
  g_test_add_func ("/formats/qcow2/write/data-files", test_data_files);
  g_test_add_func ("/formats/qcow2/write/version-2", test_version_2);
  g_test_add_func ("/formats/qcow2/write/lazy-and-dirty", test_lazy_and_dirty);
  g_test_add_func ("/formats/qcow2/write/mixtures", test_mixtures);
  return g_test_run ();
}
