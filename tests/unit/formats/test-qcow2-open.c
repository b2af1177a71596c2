/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: other files, snapshots, bitmaps and what describe says. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-image.h"
#include "qcow2-sample.h"

#define BACKING_FORMAT 0xe2792acau
#define DATA_FILE      0x44415441u

static void
test_parent (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};

  sample_set_backing (image, "base.img");
  sample_add_extension (image, BACKING_FORMAT, "raw", 3);
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
  g_assert_cmpstr (opened.parent_name, ==, "base.img");
  g_assert_cmpstr (opened.parent_format, ==, "raw");
}

static void
test_parent_format_unknown (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};

  sample_set_backing (image, "file:a:b");
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
  g_assert_cmpstr (opened.parent_name, ==, "a:b");
  g_assert_null (opened.parent_format);
}

static void
test_parent_empty (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};

  sample_set_backing (image, "");
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
  g_assert_null (opened.parent_name);
}

static void
test_parent_too_long (void)
{
  g_autofree uint8_t *image = sample_new ();

  sample_set_backing (image, "x");
  im_put_be32 (image + 16, 1024);
  sample_assert_refused (image, IM_ERROR_LIMIT, "1024 bytes is longer than the limit");
}

static void
test_names (void)
{
  static const struct {
    const char *name, *want, *part;
  } cases[] = {
      {"base.img", "base.img", NULL},
      {"/a/b:c", "/a/b:c", NULL},
      {"./a:b", "./a:b", NULL},
      {"file:base", "base", NULL},
      {"file:/a", "/a", NULL},
      {"file:", NULL, "no name"},
      {"nbd://host/x", NULL, "names the protocol \"nbd\""},
      {"fat:rw:/etc", NULL, "names the protocol \"fat\""},
      {"a:b", NULL, "names the protocol \"a\""},
      {"json:{\"driver\":\"file\"}", NULL, "only file names are followed"},
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_autofree char *name = qcow2_name_resolve ("backing file", cases[i].name, &error);

    g_assert_cmpstr (name, ==, cases[i].want);
    g_assert_true ((error == NULL) == (cases[i].part == NULL));
    if (error)
      g_assert_nonnull (strstr (error->message, cases[i].part));
  }
}

static void
test_data_file (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_autofree uint8_t *data = g_malloc (2048);
  g_auto (Opened) opened = {.other = data, .other_len = 2048};
  g_autoptr (GError) error = NULL;
  char byte;

  memset (data, 'd', 2048);
  sample_add_extension (image, DATA_FILE, "disk.raw", 8);
  im_put_be64 (image + 72, QCOW2_INCOMPATIBLE_DATA_FILE);
  im_put_be64 (image + SAMPLE_L2 (0), UINT64_C (1) << 63);
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
  g_assert_cmpstr (opened.file_name, ==, "disk.raw");
  g_assert_true (im_block_pread (opened.block, &byte, 1, 77, &error));
  g_assert_cmpint (byte, ==, 'd');
  g_assert_false (im_block_pread (opened.block, &byte, 1, 512, NULL));
}

static void
test_data_file_refused (void)
{
  g_autofree uint8_t *image = sample_new ();

  sample_add_extension (image, DATA_FILE, "ssh://h/x", 9);
  im_put_be64 (image + 72, QCOW2_INCOMPATIBLE_DATA_FILE);
  sample_assert_refused (image, IM_ERROR_UNSUPPORTED, "data file \"ssh://h/x\"");
}

static void
test_snapshot (void)
{
  static const struct {
    const char *id, *name, *any;
    bool found;
  } cases[] = {
      {"1", NULL, NULL, true},      {NULL, "first", NULL, true},
      {NULL, NULL, "1", true},      {NULL, NULL, "first", true},
      {"1", "first", NULL, true},   {"1", "other", NULL, false},
      {"first", NULL, NULL, false}, {NULL, "1", NULL, false},
      {NULL, NULL, "", false},
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree uint8_t *image = sample_new ();
    g_auto (Opened) opened = {0};
    char byte = 1;

    opened.context.snapshot_id = cases[i].id;
    opened.context.snapshot_name = cases[i].name;
    opened.context.snapshot_any = cases[i].any;
    sample_open (&opened, image, SAMPLE_SIZE);
    if (!cases[i].found) {
      g_assert_error (opened.error, IM_ERROR, IM_ERROR_NOT_FOUND);
      continue;
    }
    g_assert_no_error (opened.error);
    g_assert_cmpuint (opened.block->size, ==, 65536);
    g_assert_true (im_block_pread (opened.block, &byte, 1, 0, NULL));
    g_assert_cmpint (byte, ==, 0);
  }
}

/* Entries begin at multiples of 8, however long the one before is. */
static void
test_snapshot_second (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {.context = {.snapshot_name = "second"}};
  uint8_t *s = image + SAMPLE_AT (9);

  im_put_be32 (image + 60, 2);
  memcpy (s + 64, s, 56);
  im_put_be16 (s + 64 + 14, 6);
  im_put_be64 (s + 64 + 48, 32768);
  memcpy (s + 64 + 56, "2second", 7);
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
  g_assert_cmpuint (opened.block->size, ==, 32768);
}

/* What one poke of the snapshot table must lead to. */
typedef struct {
  unsigned at, width;
  uint64_t value;
  gint code;
  const char *part;
} SnapshotPoke;

static void
test_snapshot_pokes (void)
{
  static const SnapshotPoke pokes[] = {
      {60, 4, 65537, IM_ERROR_LIMIT, "65537 snapshots"},
      {60, 4, 65536, IM_ERROR_CORRUPT, "snapshot table, entry"},
      {64, 8, SAMPLE_AT (9) + 8, IM_ERROR_CORRUPT, "snapshot table offset 0x1208"},
      {64, 8, UINT64_C (0xfffffffffffffe00), IM_ERROR_CORRUPT, "past the end"},
      {SAMPLE_AT (9), 8, 1, IM_ERROR_CORRUPT, "snapshot: L1 table offset 0x1"},
      {SAMPLE_AT (9), 8, SAMPLE_SIZE, IM_ERROR_CORRUPT, "past the end of the file"},
      {SAMPLE_AT (9) + 8, 4, 1, IM_ERROR_CORRUPT, "too short for a disk of 65536"},
      {SAMPLE_AT (9) + 8, 4, 0xffffffff, IM_ERROR_LIMIT, "4294967295 entries"},
      {SAMPLE_AT (9) + 12, 4, 0xffffffff, IM_ERROR_CORRUPT, "runs past the end"},
      {SAMPLE_AT (9) + 36, 4, 1025, IM_ERROR_LIMIT, "extra data of 1025 bytes"},
      {SAMPLE_AT (9) + 48, 8, UINT64_MAX, IM_ERROR_CORRUPT, "too short for a disk"},
  };

  for (size_t i = 0; i < G_N_ELEMENTS (pokes); i++) {
    const SnapshotPoke *p = &pokes[i];
    g_autofree uint8_t *image = sample_new ();
    g_auto (Opened) opened = {.context = {.snapshot_any = "first"}};

    if (p->width == 8)
      im_put_be64 (image + p->at, p->value);
    else
      im_put_be32 (image + p->at, (uint32_t)p->value);
    sample_open (&opened, image, SAMPLE_SIZE);
    g_assert_error (opened.error, IM_ERROR, p->code);
    if (!strstr (opened.error->message, p->part))
      g_error ("\"%s\" does not say \"%s\"", opened.error->message, p->part);
  }
}

/* Without its own size a snapshot has the disk's, and nothing past its L1 table. */
static void
test_snapshot_old (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {.context = {.snapshot_id = "1"}};
  uint8_t *s = image + SAMPLE_AT (9);

  memmove (s + 40, s + 56, 6);
  im_put_be32 (s + 36, 0);
  im_put_be32 (s + 32, 4711);
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
  g_assert_cmpuint (opened.block->size, ==, SAMPLE_DISK);
}

static GVariant *
lookup (GVariant *facts, const char *key, const char *type)
{
  GVariant *value = g_variant_lookup_value (facts, key, G_VARIANT_TYPE (type));

  if (!value)
    g_error ("no fact %s of type %s", key, type);
  return value;
}

static GVariant *
describe (Opened *opened)
{
  GVariant *facts = opened->block->ops->describe (opened->block);

  g_assert_true (g_variant_is_of_type (facts, G_VARIANT_TYPE_VARDICT));
  return g_variant_ref_sink (facts);
}

static void
assert_text (GVariant *facts, const char *key, const char *want)
{
  g_autoptr (GVariant) value = lookup (facts, key, "s");

  g_assert_cmpstr (g_variant_get_string (value, NULL), ==, want);
}

static void
test_describe (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};
  g_autoptr (GVariant) facts = NULL, snapshots = NULL, bitmaps = NULL, first = NULL,
                       dirty = NULL;
  guint64 size = 0;

  im_put_be64 (image + 72, QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT);
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
  facts = describe (&opened);
  assert_text (facts, "compat", "1.1");
  assert_text (facts, "compression-type", "zlib");
  dirty = lookup (facts, "incompatible-features", "as");
  g_assert_cmpuint (g_variant_n_children (dirty), ==, 2);
  snapshots = lookup (facts, "snapshots", "aa{sv}");
  g_assert_cmpuint (g_variant_n_children (snapshots), ==, 1);
  first = g_variant_get_child_value (snapshots, 0);
  assert_text (first, "name", "first");
  assert_text (first, "date", "2001-09-09T01:46:40Z");
  g_assert_true (g_variant_lookup (first, "virtual-size", "t", &size));
  g_assert_cmpuint (size, ==, 65536);
  bitmaps = lookup (facts, "bitmaps", "aa{sv}");
  g_clear_pointer (&first, g_variant_unref);
  first = g_variant_get_child_value (bitmaps, 0);
  assert_text (first, "name", "dirty");
  g_assert_true (g_variant_lookup (first, "granularity", "t", &size));
  g_assert_cmpuint (size, ==, 65536);
}

/* Broken directories are told, and the disk is read none the less. */
static void
test_describe_damaged (void)
{
  static const struct {
    unsigned at;
    uint64_t value;
    const char *key, *part;
  } cases[] = {
      {60, UINT64_MAX, "snapshots-error", "4294967295 snapshots are beyond the limit"},
      {112, UINT64_C (65536) << 32, "bitmaps-error", "65536 bitmaps are beyond"},
      {120, 1 << 30, "bitmaps-error", "bitmap directory of 1073741824 bytes"},
      {128, SAMPLE_SIZE - 8, "bitmaps-error", "runs past the end of the file"},
      {SAMPLE_AT (11) + 16, UINT64_C (0x0140000500000000), "bitmaps-error", "bits 64"},
      {SAMPLE_AT (11) + 16, UINT64_C (0x0110ffff00000000), "bitmaps-error", "runs past"},
      {SAMPLE_AT (11) + 16, UINT64_C (0x01100005ffffffff), "bitmaps-error", "runs past"},
  };

  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree uint8_t *image = sample_new ();
    g_auto (Opened) opened = {0};
    g_autoptr (GVariant) facts = NULL, value = NULL;

    im_put_be64 (image + cases[i].at, cases[i].value);
    if (cases[i].at == 60)
      im_put_be32 (image + 64, 0);
    sample_open (&opened, image, SAMPLE_SIZE);
    g_assert_no_error (opened.error);
    facts = describe (&opened);
    value = lookup (facts, cases[i].key, "s");
    if (!strstr (g_variant_get_string (value, NULL), cases[i].part))
      g_error ("\"%s\" does not say \"%s\"", g_variant_get_string (value, NULL),
               cases[i].part);
  }
}

/* Names that are no UTF-8 must not break whoever prints the facts. */
static void
test_describe_bad_names (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};
  g_autoptr (GVariant) facts = NULL;

  memcpy (image + SAMPLE_AT (9) + 57, "\xff\xfe\n\x80", 4);
  memcpy (image + SAMPLE_AT (11) + 24, "\xc3", 1);
  sample_set_backing (image, "\xff.img");
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
  facts = describe (&opened);
  g_assert_true (g_variant_is_normal_form (facts));
}

/* An image of 1 MiB in clusters of 16 KiB, of which the file has the first 48 KiB; USED
 * of the 64 have a refcount. */
static bool
asks_beneath (unsigned used, bool hole)
{
  g_autofree uint8_t *good = sample_new (), *image = g_malloc0 (1 << 20);
  g_auto (Opened) opened = {0};

  memcpy (image, good, 104);
  im_put_be32 (image + 20, 14);
  im_put_be32 (image + 36, 1);
  im_put_be64 (image + 40, 16384);
  im_put_be64 (image + 48, 32768);
  im_put_be64 (image + 32768, 16384);
  /* The L1 table is the refcount block: of no matter, since nobody reads the disk. */
  memset (image + 16384, 1, used * 2);
  sample_open_file (&opened, sample_file (image, hole ? 49152 : 1 << 20, 1 << 20));
  g_assert_no_error (opened.error);
  /* The second answer is remembered, and the same. */
  g_assert_true (opened.block->ops->looks_beneath (opened.block) ==
                 opened.block->ops->looks_beneath (opened.block));
  return opened.block->ops->looks_beneath (opened.block);
}

static void
test_looks_beneath (void)
{
  /* In use: many more than the three that the file occupies, and five that round up. */
  g_assert_true (asks_beneath (64, true));
  g_assert_true (asks_beneath (5, true));
  g_assert_false (asks_beneath (4, true));
  g_assert_false (asks_beneath (64, false));
}

/* A refcount table that names one block of nothing again and again is given up, although
 * something would come in the end. */
static void
test_looks_beneath_is_bounded (void)
{
  const size_t table = 8 << 20, size = 11 << 20;
  g_autofree uint8_t *good = sample_new (), *image = g_malloc0 (table + (4 << 20));
  g_auto (Opened) opened = {0};

  memcpy (image, good, 104);
  im_put_be32 (image + 20, 21);
  im_put_be32 (image + 36, 1);
  im_put_be64 (image + 40, 2 << 20);
  im_put_be64 (image + 48, 4 << 20);
  im_put_be32 (image + 56, 4);
  for (size_t i = 0; i < table / 8; i++)
    im_put_be64 (image + (4 << 20) + i * 8, i < 100 ? 2 << 20 : 4 << 20);
  sample_open_file (&opened, sample_file (image, size, UINT64_C (1) << 50));
  g_assert_no_error (opened.error);
  g_assert_false (opened.block->ops->looks_beneath (opened.block));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/formats/qcow2/parent/asked-for-with-its-format", test_parent);
  g_test_add_func ("/formats/qcow2/parent/file-prefix", test_parent_format_unknown);
  g_test_add_func ("/formats/qcow2/parent/empty-name-is-none", test_parent_empty);
  g_test_add_func ("/formats/qcow2/parent/name-too-long", test_parent_too_long);
  g_test_add_func ("/formats/qcow2/names", test_names);
  g_test_add_func ("/formats/qcow2/data-file/is-read", test_data_file);
  g_test_add_func ("/formats/qcow2/data-file/protocol-is-refused",
                   test_data_file_refused);
  g_test_add_func ("/formats/qcow2/snapshot/by-id-and-name", test_snapshot);
  g_test_add_func ("/formats/qcow2/snapshot/entries-are-aligned", test_snapshot_second);
  g_test_add_func ("/formats/qcow2/snapshot/pokes", test_snapshot_pokes);
  g_test_add_func ("/formats/qcow2/snapshot/without-extra-data", test_snapshot_old);
  g_test_add_func ("/formats/qcow2/describe/facts", test_describe);
  g_test_add_func ("/formats/qcow2/describe/damaged-directories", test_describe_damaged);
  g_test_add_func ("/formats/qcow2/describe/names-are-utf8", test_describe_bad_names);
  g_test_add_func ("/formats/qcow2/looks-beneath/only-when-sparse", test_looks_beneath);
  g_test_add_func ("/formats/qcow2/looks-beneath/is-bounded",
                   test_looks_beneath_is_bounded);
  return g_test_run ();
}
