/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoders: streams whole, followed by rubbish, without an end, broken. */
#include "base/error.h"
#include "block/codec.h"
#include "config.h"
#include "fixture.h"

#include <zlib.h>
#if HAVE_ZSTD
#include <zstd.h>
#endif

enum { PLAIN = 64 << 10 };

/* Bytes that can be compressed.  Caller frees. */
static uint8_t *
plain_bytes (void)
{
  uint8_t *bytes = fixture_pattern (PLAIN, 5);
  for (size_t i = 0; i < PLAIN; i++)
    bytes[i] = (uint8_t)('a' + bytes[i] % 7);
  return bytes;
}

/* Deflates PLAIN with FLUSH as its end; returns the length. */
static size_t
deflate_bytes (const uint8_t *plain, int window_bits, int flush, uint8_t *out,
               size_t out_len)
{
  z_stream stream = {0};
  g_assert_cmpint (deflateInit2 (&stream, 6, Z_DEFLATED, window_bits, 8, 0), ==, Z_OK);
  stream.next_in = (Bytef *)plain;
  stream.avail_in = PLAIN;
  stream.next_out = out;
  stream.avail_out = (uInt)out_len;
  deflate (&stream, flush);
  size_t len = out_len - stream.avail_out;
  deflateEnd (&stream);
  return len;
}

static void
test_deflate (void)
{
  g_autofree uint8_t *plain = plain_bytes ();
  static uint8_t stored[PLAIN * 2], out[PLAIN];
  static const int ends[] = {Z_FINISH, Z_SYNC_FLUSH};
  for (size_t i = 0; i < G_N_ELEMENTS (ends); i++) {
    memset (stored, 0xa5, sizeof stored);
    size_t len = deflate_bytes (plain, -12, ends[i], stored, sizeof stored);
    g_autoptr (GError) error = NULL;
    memset (out, 0, sizeof out);
    g_assert_true (im_codec_deflate.decode (stored, len, out, PLAIN, &error));
    g_assert_cmpmem (out, PLAIN, plain, PLAIN);
    /* Rubbish up to the sector behind it. */
    memset (out, 0, sizeof out);
    g_assert_true (im_codec_deflate.decode (stored, len + 300, out, PLAIN, &error));
    g_assert_cmpmem (out, PLAIN, plain, PLAIN);
  }
}

static void
test_zlib (void)
{
  g_autofree uint8_t *plain = plain_bytes ();
  static uint8_t stored[PLAIN * 2], out[PLAIN];
  size_t len = deflate_bytes (plain, 15, Z_FINISH, stored, sizeof stored);
  g_autoptr (GError) error = NULL;
  g_assert_true (im_codec_zlib.decode (stored, len, out, PLAIN, &error));
  g_assert_cmpmem (out, PLAIN, plain, PLAIN);
}

static void
check_broken (const ImCodec *codec, uint8_t *stored, size_t len)
{
  static uint8_t out[PLAIN];
  g_autoptr (GError) error = NULL;
  g_assert_false (codec->decode (stored, len / 2, out, PLAIN, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
  g_clear_error (&error);
  memset (stored, 0xff, 64);
  g_assert_false (codec->decode (stored, len, out, PLAIN, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
  g_clear_error (&error);
  g_assert_false (codec->decode (stored, 0, out, PLAIN, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
}

static void
test_broken_deflate (void)
{
  g_autofree uint8_t *plain = plain_bytes ();
  static uint8_t stored[PLAIN * 2];
  size_t len = deflate_bytes (plain, -12, Z_FINISH, stored, sizeof stored);
  check_broken (&im_codec_deflate, stored, len);
}

#if HAVE_ZSTD
static void
test_zstd (void)
{
  g_autofree uint8_t *plain = plain_bytes ();
  static uint8_t stored[PLAIN * 2], out[PLAIN];
  memset (stored, 0xa5, sizeof stored);
  size_t len = ZSTD_compress (stored, sizeof stored, plain, PLAIN, 3);
  g_autoptr (GError) error = NULL;
  g_assert_true (im_codec_zstd ()->decode (stored, len, out, PLAIN, &error));
  g_assert_cmpmem (out, PLAIN, plain, PLAIN);
  memset (out, 0, sizeof out);
  g_assert_true (im_codec_zstd ()->decode (stored, len + 300, out, PLAIN, &error));
  g_assert_cmpmem (out, PLAIN, plain, PLAIN);
  check_broken (im_codec_zstd (), stored, len);
}

/* One cluster as two frames. */
static void
test_zstd_frames (void)
{
  g_autofree uint8_t *plain = plain_bytes ();
  static uint8_t stored[PLAIN * 2], out[PLAIN];
  size_t first = ZSTD_compress (stored, sizeof stored, plain, 1000, 3);
  size_t second = ZSTD_compress (stored + first, sizeof stored - first, plain + 1000,
                                 PLAIN - 1000, 3);
  g_autoptr (GError) error = NULL;
  g_assert_true (im_codec_zstd ()->decode (stored, first + second, out, PLAIN, &error));
  g_assert_cmpmem (out, PLAIN, plain, PLAIN);
}
#endif

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/codec/deflate-with-and-without-its-end", test_deflate);
  g_test_add_func ("/block/codec/zlib", test_zlib);
  g_test_add_func ("/block/codec/broken-deflate-is-corrupt", test_broken_deflate);
#if HAVE_ZSTD
  g_test_add_func ("/block/codec/zstd", test_zstd);
  g_test_add_func ("/block/codec/zstd-in-two-frames", test_zstd_frames);
#endif
  return g_test_run ();
}
