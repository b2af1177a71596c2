/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Digests of known bytes, and of zeros that nobody holds. */
#include "job/digest.h"

static void
check (const char *name, const ImRingPiece *pieces, size_t n, const char *expected)
{
  ImDigest *digest = im_digest_new (name);
  g_assert_nonnull (digest);
  g_assert_cmpstr (im_digest_name (digest), ==, name);
  for (size_t i = 0; i < n; i++)
    g_assert_true (im_digest_consume (digest, &pieces[i], NULL));
  g_assert_cmpstr (im_digest_text (digest), ==, expected);
  im_digest_free (digest);
}

static void
test_nothing (void)
{
  check ("md5", NULL, 0, "d41d8cd98f00b204e9800998ecf8427e");
  check ("sha1", NULL, 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  check ("sha256", NULL, 0,
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void
test_abc_in_two_pieces (void)
{
  ImRingPiece pieces[] = {{.length = 2, .data = (uint8_t *)"ab"},
                          {.offset = 2, .length = 1, .data = (uint8_t *)"c"}};
  check ("md5", pieces, 2, "900150983cd24fb0d6963f7d28e17f72");
  check ("sha1", pieces, 2, "a9993e364706816aba3e25717850c26c9cd0d89d");
  check ("sha256", pieces, 2,
         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void
test_a_hole_is_its_zeros (void)
{
  const size_t n = 200001;
  g_autofree uint8_t *zeros = g_malloc0 (n);
  ImRingPiece hole = {.length = n}, bytes = {.length = n, .data = zeros};
  for (const char *const *name = im_digest_names (); *name; name++) {
    ImDigest *digest = im_digest_new (*name);
    g_assert_true (im_digest_consume (digest, &bytes, NULL));
    check (*name, &hole, 1, im_digest_text (digest));
    im_digest_free (digest);
  }
}

static void
test_unknown_names (void)
{
  g_assert_null (im_digest_new ("crc32"));
  g_assert_null (im_digest_new (""));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/job/digest/nothing", test_nothing);
  g_test_add_func ("/job/digest/abc-in-two-pieces", test_abc_in_two_pieces);
  g_test_add_func ("/job/digest/a-hole-is-its-zeros", test_a_hole_is_its_zeros);
  g_test_add_func ("/job/digest/unknown-names", test_unknown_names);
  return g_test_run ();
}
