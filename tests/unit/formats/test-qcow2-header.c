/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: one field of a good header is poked at a time. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-layout.h"
#include "formats/qcow2/qcow2.h"
#include "qcow2-sample.h"

/* What one poke must lead to. */
typedef struct {
  const char *claim;
  unsigned at, width; /* bytes */
  uint64_t value;
  gint code;
  const char *part; /* of the message */
} Poke;

static const Poke pokes[] = {
    {"magic", 0, 4, 0x12345678, IM_ERROR_CORRUPT, "no qcow2 signature"},
    {"version-1", 4, 4, 1, IM_ERROR_UNSUPPORTED, "version 1 is not supported"},
    {"version-4", 4, 4, 4, IM_ERROR_UNSUPPORTED, "version 4 is not supported"},
    {"cluster-bits-8", 20, 4, 8, IM_ERROR_CORRUPT, "cluster bits 8 are outside 9 to 21"},
    {"cluster-bits-22", 20, 4, 22, IM_ERROR_CORRUPT, "cluster bits 22"},
    {"cluster-bits-huge", 20, 4, 0xffffffff, IM_ERROR_CORRUPT, "bits 4294967295"},
    {"size-beyond-l1", 24, 8, SAMPLE_DISK + 1, IM_ERROR_CORRUPT,
     "4 entries is too short for a disk of 131073 bytes, which needs 5"},
    {"size-all-ones", 24, 8, UINT64_MAX, IM_ERROR_CORRUPT, "too short for a disk"},
    {"crypt-3", 32, 4, 3, IM_ERROR_UNSUPPORTED, "encryption method 3 is not known"},
    {"l1-beyond-limit", 36, 4, 4194305, IM_ERROR_LIMIT, "limit of 4194304"},
    {"l1-all-ones", 36, 4, 0xffffffff, IM_ERROR_LIMIT, "4294967295 entries"},
    {"l1-empty", 36, 4, 0, IM_ERROR_CORRUPT, "0 entries is too short"},
    {"l1-unaligned", 40, 8, SAMPLE_AT (3) + 8, IM_ERROR_CORRUPT,
     "L1 table offset 0x608 is not aligned"},
    {"l1-past-end", 40, 8, SAMPLE_SIZE, IM_ERROR_CORRUPT,
     "L1 table offset 0x1800 is past the end of the file (6144 bytes)"},
    {"l1-wraps", 40, 8, 0xfffffffffffffe00, IM_ERROR_CORRUPT, "past the end of the file"},
    {"refcount-unaligned", 48, 8, SAMPLE_AT (1) + 1, IM_ERROR_CORRUPT,
     "refcount table offset 0x201 is not aligned"},
    {"refcount-past-end", 48, 8, 0x7ffffe00, IM_ERROR_CORRUPT,
     "refcount table offset 0x7ffffe00 is past the end of the file (6144 bytes)"},
    {"refcount-absent", 56, 4, 0, IM_ERROR_CORRUPT, "refcount table has 0 clusters"},
    {"refcount-beyond-limit", 56, 4, 16385, IM_ERROR_LIMIT, "limit of 16384"},
    {"refcount-order-7", 96, 4, 7, IM_ERROR_CORRUPT, "refcount order 7"},
    {"header-length-96", 100, 4, 96, IM_ERROR_CORRUPT, "header length 96"},
    {"header-length-odd", 100, 4, 105, IM_ERROR_CORRUPT, "not a multiple of 8"},
    {"header-length-520", 100, 4, 520, IM_ERROR_CORRUPT, "header length 520"},
    {"backing-past-cluster", 8, 8, 513, IM_ERROR_CORRUPT, "runs past the first cluster"},
    {"backing-wraps", 8, 8, UINT64_MAX, IM_ERROR_CORRUPT, "runs past the first cluster"},
    {"feature-5", 72, 8, 1 << 5, IM_ERROR_UNSUPPORTED, "0x20 are not supported: bit 5"},
    {"feature-63", 72, 8, UINT64_C (1) << 63, IM_ERROR_UNSUPPORTED, "bit 63"},
    {"extended-needs-16k", 72, 8, 1 << 4, IM_ERROR_CORRUPT, "extended L2 entries"},
    {"compression-bit-alone", 72, 8, 1 << 3, IM_ERROR_CORRUPT,
     "compression type 0 contradicts"},
    {"data-file-without-name", 72, 8, 1 << 2, IM_ERROR_CORRUPT, "no extension with its"},
    {"raw-data-file-alone", 88, 8, 1 << 1, IM_ERROR_CORRUPT, "raw external data file"},
    {"extension-runs-out", 108, 4, 4000, IM_ERROR_CORRUPT,
     "header extension 0x23852875 at 0x68: length 4000 runs past"},
    {"extension-all-ones", 108, 4, 0xffffffff, IM_ERROR_CORRUPT, "length 4294967295"},
    {"bitmaps-short", 108, 4, 16, IM_ERROR_CORRUPT, "bitmaps: length 16"},
};

static void
poke (uint8_t *image, const Poke *p)
{
  switch (p->width) {
  case 4:
    im_put_be32 (image + p->at, (uint32_t)p->value);
    break;
  case 8:
    im_put_be64 (image + p->at, p->value);
    break;
  default:
    g_assert_not_reached ();
  }
}

static void
test_poke (gconstpointer data)
{
  const Poke *p = data;
  g_autofree uint8_t *image = sample_new ();

  poke (image, p);
  sample_assert_refused (image, p->code, p->part);
}

static void
test_good (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};

  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
  g_assert_cmpuint (opened.block->size, ==, SAMPLE_DISK);
  g_assert_cmpuint (opened.block->preferred, ==, SAMPLE_CLUSTER);
  g_assert_null (opened.parent_name);
}

/* Whatever the length: an error or an image, and nothing else. */
static void
test_short_file (void)
{
  g_autofree uint8_t *image = sample_new ();

  for (size_t len = 0; len < SAMPLE_SIZE; len += len < 128 ? 1 : 128) {
    g_auto (Opened) opened = {0};

    sample_open (&opened, image, len);
    if (len < SAMPLE_AT (3) + 32)
      g_assert_error (opened.error, IM_ERROR, IM_ERROR_CORRUPT);
    else
      g_assert_no_error (opened.error);
  }
}

static void
test_version_2 (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};

  /* What version 3 has there are rubbish extensions to version 2; a type of 0 ends. */
  im_put_be32 (image + 4, 2);
  memset (image + 72, 0, 32);
  im_put_be32 (image + 96, 99);
  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_no_error (opened.error);
}

static void
test_every_cluster_size (void)
{
  for (unsigned bits = 9; bits <= 21; bits++) {
    size_t size = (size_t)1 << bits;
    g_autofree uint8_t *good = sample_new ();
    g_autofree uint8_t *image = g_malloc0 (size * 5);
    g_auto (Opened) opened = {0};
    char byte;

    memcpy (image, good, 104);
    im_put_be32 (image + 20, bits);
    im_put_be32 (image + 60, 0);
    im_put_be64 (image + 40, size * 3);
    im_put_be64 (image + 48, size);
    im_put_be64 (image + size * 3, size * 2);
    im_put_be64 (image + size * 2, size * 4);
    memset (image + size * 4, 'x', size);
    sample_open (&opened, image, size * 5);
    g_assert_no_error (opened.error);
    g_assert_true (im_block_pread (opened.block, &byte, 1, 511, NULL));
    g_assert_cmpint (byte, ==, 'x');
  }
}

static void
test_every_refcount_order (void)
{
  for (unsigned order = 0; order <= 6; order++) {
    g_autofree uint8_t *image = sample_new ();
    g_auto (Opened) opened = {0};

    im_put_be32 (image + 96, order);
    sample_open (&opened, image, SAMPLE_SIZE);
    g_assert_no_error (opened.error);
  }
}

static void
test_zstd_type (void)
{
  g_autofree uint8_t *image = sample_new ();
  g_auto (Opened) opened = {0};

  im_put_be32 (image + 100, 112);
  memset (image + 104, 0, 100);
  image[104] = 1;
  im_put_be64 (image + 72, QCOW2_INCOMPATIBLE_COMPRESSION);
  sample_open (&opened, image, SAMPLE_SIZE);
  if (im_codec_zstd ())
    g_assert_no_error (opened.error);
  else
    g_assert_error (opened.error, IM_ERROR, IM_ERROR_UNSUPPORTED);
  image[104] = 2;
  sample_assert_refused (image, IM_ERROR_UNSUPPORTED, "compression type 2");
  image[104] = 1;
  im_put_be64 (image + 72, 0);
  sample_assert_refused (image, IM_ERROR_CORRUPT, "compression type 1 contradicts");
}

static void
test_unknown_feature_named (void)
{
  g_autofree uint8_t *image = sample_new ();
  uint8_t names[96] = {0};

  names[1] = 9;
  memcpy (names + 2, "time travel", 11);
  names[48] = 1; /* a compatible one of the same number */
  names[49] = 9;
  memcpy (names + 50, "wrong", 5);
  sample_add_extension (image, 0x6803f857, names, sizeof names);
  im_put_be64 (image + 72, 1 << 9 | UINT64_C (1) << 40);
  sample_assert_refused (image, IM_ERROR_UNSUPPORTED, ": time travel, bit 40");
}

/* With an unknown feature the header need make no sense to us; the feature is the news.
 */
static void
test_unknown_feature_first (void)
{
  g_autofree uint8_t *image = sample_new ();

  im_put_be64 (image + 72, 1 << 6);
  im_put_be32 (image + 108, 0xffffffff);
  im_put_be32 (image + 36, 0xffffffff);
  sample_assert_refused (image, IM_ERROR_UNSUPPORTED, "bit 6");
}

static void
test_probe (void)
{
  g_autofree uint8_t *image = sample_new ();
  ImProbeInput input = {.head = image, .head_len = 4096, .file_size = SAMPLE_SIZE};

  g_assert_true (im_format_qcow2.probe (&input));
  input.head_len = 3;
  g_assert_false (im_format_qcow2.probe (&input));
  input.head_len = 4096;
  image[3] ^= 1;
  g_assert_false (im_format_qcow2.probe (&input));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/formats/qcow2/header/good-opens", test_good);
  g_test_add_func ("/formats/qcow2/header/short-file-is-corrupt", test_short_file);
  g_test_add_func ("/formats/qcow2/header/version-2-opens", test_version_2);
  g_test_add_func ("/formats/qcow2/header/every-cluster-size", test_every_cluster_size);
  g_test_add_func ("/formats/qcow2/header/every-refcount-order",
                   test_every_refcount_order);
  g_test_add_func ("/formats/qcow2/header/zstd-needs-its-bit", test_zstd_type);
  g_test_add_func ("/formats/qcow2/header/unknown-feature-is-named",
                   test_unknown_feature_named);
  g_test_add_func ("/formats/qcow2/header/unknown-feature-comes-first",
                   test_unknown_feature_first);
  g_test_add_func ("/formats/qcow2/probe/signature", test_probe);
  for (size_t i = 0; i < G_N_ELEMENTS (pokes); i++) {
    g_autofree char *path =
        g_strdup_printf ("/formats/qcow2/header/poke/%s", pokes[i].claim);
    g_test_add_data_func (path, &pokes[i], test_poke);
  }
  return g_test_run ();
}
