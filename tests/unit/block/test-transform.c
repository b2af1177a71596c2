/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encryption of sectors: what is known of it, and that it undoes itself. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/transform.h"
#include "config.h"
#include "fixture.h"

static ImTransform *
make (const char *cipher, const char *mode, size_t key_length)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImSecret) key = im_secret_new (NULL, key_length);
  for (size_t i = 0; i < key_length; i++)
    key->bytes[i] = (uint8_t)(i * 37 + 11);
  ImTransform *transform = im_transform_new (cipher, mode, key, &error);
  g_assert_no_error (error);
  return transform;
}

static void
apply (const ImTransform *t, ImTransformDirection direction, uint64_t position,
       uint8_t *buf, size_t len, ImPool *pool)
{
  g_autoptr (GError) error = NULL;
  im_transform_apply (t, direction, position, buf, len, pool, &error);
  g_assert_no_error (error);
}

/* IEEE 1619, vector 4: a data unit of 512 bytes, number 0, 128-bit keys. */
static void
test_xts_vector (void)
{
  static const uint8_t keys[32] = {0x27, 0x18, 0x28, 0x18, 0x28, 0x45, 0x90, 0x45,
                                   0x23, 0x53, 0x60, 0x28, 0x74, 0x71, 0x35, 0x26,
                                   0x31, 0x41, 0x59, 0x26, 0x53, 0x58, 0x97, 0x93,
                                   0x23, 0x84, 0x62, 0x64, 0x33, 0x83, 0x27, 0x95};
  static const uint8_t begins[16] = {0x27, 0xa7, 0x47, 0x9b, 0xef, 0xa1, 0xd4, 0x76,
                                     0x48, 0x9f, 0x30, 0x8c, 0xd4, 0xcf, 0xa6, 0xe2};
  g_autoptr (ImSecret) key = im_secret_new (keys, sizeof keys);
  g_autoptr (ImTransform) t = im_transform_new ("aes", "xts-plain64", key, NULL);
  uint8_t buf[512];
  for (size_t i = 0; i < sizeof buf; i++)
    buf[i] = (uint8_t)i;
  apply (t, IM_ENCRYPT, 0, buf, sizeof buf, NULL);
  g_assert_cmpmem (buf, sizeof begins, begins, sizeof begins);
}

static const struct {
  const char *cipher, *mode;
  size_t key_length;
} kinds[] = {
    {"aes", "xts-plain64", 64},
    {"aes", "xts-plain", 32},
    {"aes", "cbc-essiv:sha256", 16},
    {"aes", "cbc-plain64", 24},
    {"aes", "ecb", 32},
    {"serpent", "xts-plain64", 48},
    {"twofish", "cbc-essiv:sha256", 32},
    {"cast5", "cbc-plain64", 16},
};

static void
test_undone (void)
{
  enum { SIZE = 70 * 512 }; /* more than are handled at once */
  for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++) {
    g_autoptr (ImTransform) t =
        make (kinds[i].cipher, kinds[i].mode, kinds[i].key_length);
    g_autofree uint8_t *plain = fixture_pattern (SIZE, 5);
    g_autofree uint8_t *whole = g_memdup2 (plain, SIZE),
                       *piecewise = g_memdup2 (plain, SIZE);
    uint64_t position = UINT64_C (3) << 41; /* its sectors have more than 32 bits */
    apply (t, IM_ENCRYPT, position, whole, SIZE, NULL);
    g_assert_cmpint (memcmp (whole, plain, SIZE), !=, 0);
    for (size_t at = 0; at < SIZE; at += 512)
      apply (t, IM_ENCRYPT, position + at, piecewise + at, 512, NULL);
    g_assert_cmpmem (whole, SIZE, piecewise, SIZE);
    apply (t, IM_DECRYPT, position, whole, SIZE, NULL);
    g_assert_cmpmem (whole, SIZE, plain, SIZE);
  }
}

/* plain has 32 bits of the sector's number, plain64 all. */
static void
test_positions (void)
{
  g_autoptr (ImTransform) plain = make ("aes", "xts-plain", 64);
  g_autoptr (ImTransform) plain64 = make ("aes", "xts-plain64", 64);
  uint64_t wraps = UINT64_C (512) << 32;
  uint8_t a[512] = {0}, b[512] = {0}, c[512] = {0}, d[512] = {0};
  apply (plain, IM_ENCRYPT, 512, a, 512, NULL);
  apply (plain, IM_ENCRYPT, wraps + 512, b, 512, NULL);
  g_assert_cmpmem (a, 512, b, 512);
  apply (plain64, IM_ENCRYPT, 512, c, 512, NULL);
  apply (plain64, IM_ENCRYPT, wraps + 512, d, 512, NULL);
  g_assert_cmpmem (a, 512, c, 512);
  g_assert_cmpint (memcmp (c, d, 512), !=, 0);
}

static void
test_spread (void)
{
  enum { SIZE = (1 << 20) + 1536 };
  g_autoptr (ImTransform) t = make ("aes", "cbc-essiv:sha256", 32);
  g_autofree uint8_t *one = fixture_pattern (SIZE, 9), *many = fixture_pattern (SIZE, 9);
  apply (t, IM_ENCRYPT, 4096, one, SIZE, NULL);
  apply (t, IM_ENCRYPT, 4096, many, SIZE, fixture_resources ()->pool);
  g_assert_cmpmem (one, SIZE, many, SIZE);
}

static void
test_refused (void)
{
  static const struct {
    const char *cipher, *mode;
    size_t key_length;
    const char *part;
  } cases[] = {
      {"aes", "", 32, "it is empty"},
      {"aes", "ctr-plain64", 32, "'ctr' is none of xts, cbc, ecb"},
      {"aes", "cbc", 32, "'' is none of plain"},
      {"aes", "cbc-random", 32, "'random' is none of plain"},
      {"aes", "cbc-essiv:sha1", 32, "essiv:sha1 is not supported with aes"},
      {"aes", "cbc-essiv:rot13", 32, "essiv:rot13 is not supported"},
      {"aes", "xts-plain64", 33, "'aes' with a key of 33 bytes in XTS mode"},
      {"aes", "cbc-plain64", 17, "'aes' with a key of 17 bytes is not"},
      {"cast5", "xts-plain64", 32, "'cast5' with a key of 32 bytes in XTS mode"},
      {"null", "ecb", 32, "'null' with a key of 32 bytes is not"},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (ImSecret) key = im_secret_new (NULL, cases[i].key_length);
    g_assert_null (im_transform_new (cases[i].cipher, cases[i].mode, key, &error));
    g_assert_true (error && strstr (error->message, cases[i].part));
  }
}

/* RFC 6070, with 4096 iterations. */
static void
test_pbkdf2 (void)
{
  static const uint8_t wanted[20] = {0x4b, 0x00, 0x79, 0x01, 0xb7, 0x65, 0x48,
                                     0x9a, 0xbe, 0xad, 0x49, 0xd9, 0x26, 0xf7,
                                     0x21, 0xd0, 0x65, 0xa4, 0x29, 0xc1};
  g_autoptr (GError) error = NULL;
  g_autoptr (ImSecret) passphrase = im_secret_new ("password", 8);
  g_autoptr (ImSecret) key = im_secret_new (NULL, sizeof wanted);
  im_derive_key ("sha1", passphrase, (const uint8_t *)"salt", 4, 4096, key, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (key->bytes, key->length, wanted, sizeof wanted);
}

/* Four threads with one transform: each has handles of its own. */
static void *
work (void *data)
{
  const ImTransform *t = data;
  uint8_t buf[4096], plain[4096];
  for (unsigned i = 0; i < 300; i++) {
    memset (plain, (int)i, sizeof plain);
    memcpy (buf, plain, sizeof buf);
    apply (t, IM_ENCRYPT, i * 4096, buf, sizeof buf, NULL);
    apply (t, IM_DECRYPT, i * 4096, buf, sizeof buf, NULL);
    g_assert_cmpmem (buf, sizeof buf, plain, sizeof plain);
  }
  return NULL;
}

static void
test_threads (void)
{
  g_autoptr (ImTransform) t = make ("aes", "cbc-essiv:sha256", 32);
  GThread *threads[4];
  for (size_t i = 0; i < G_N_ELEMENTS (threads); i++)
    threads[i] = g_thread_new (NULL, work, t);
  for (size_t i = 0; i < G_N_ELEMENTS (threads); i++)
    g_thread_join (threads[i]);
}

static void
test_not_built (void)
{
  g_autoptr (GError) error = NULL;
  g_assert_false (im_transform_is_built (&error));
  g_assert_true (strstr (error->message, "this build lacks libgcrypt"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!HAVE_GCRYPT) {
    g_test_add_func ("/block/transform/a-build-without-says-so", test_not_built);
    return g_test_run ();
  }
  g_test_add_func ("/block/transform/xts-is-the-standard's", test_xts_vector);
  g_test_add_func ("/block/transform/decryption-undoes-encryption", test_undone);
  g_test_add_func ("/block/transform/positions-are-numbers-of-sectors", test_positions);
  g_test_add_func ("/block/transform/many-threads-do-what-one-does", test_spread);
  g_test_add_func ("/block/transform/unknown-algorithms-are-named", test_refused);
  g_test_add_func ("/block/transform/pbkdf2-is-the-standard's", test_pbkdf2);
  g_test_add_func ("/block/transform/threads-share-a-transform", test_threads);
  return g_test_run ();
}
