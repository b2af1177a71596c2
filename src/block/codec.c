/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inflate and zstd, with one context per thread. */
#include "block/codec.h"
#include "base/error.h"
#include "config.h"

#include <errno.h>

#include <pthread.h>
#include <zlib.h>
#if HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif
#if HAVE_ZSTD
#include <zstd.h>
#endif

/* What deflate data comes wrapped in. */
typedef enum {
  BARE,        /* RFC 1951 */
  ZLIB_STREAM, /* RFC 1950 */
  WRAPPINGS,
} Wrapping;

/* The contexts of one thread, each made when first needed. */
typedef struct {
  z_stream *inflate[WRAPPINGS];
#if HAVE_LIBDEFLATE
  struct libdeflate_decompressor *libdeflate;
#endif
#if HAVE_ZSTD
  ZSTD_DCtx *zstd;
#endif
} Contexts;

static pthread_key_t contexts_key;
static pthread_once_t contexts_once = PTHREAD_ONCE_INIT;

static void
inflate_free (z_stream *stream)
{
  if (stream)
    inflateEnd (stream);
  g_free (stream);
}

static void
contexts_free (void *data)
{
  Contexts *contexts = data;
  for (unsigned i = 0; i < WRAPPINGS; i++)
    inflate_free (contexts->inflate[i]);
#if HAVE_LIBDEFLATE
  libdeflate_free_decompressor (contexts->libdeflate);
#endif
#if HAVE_ZSTD
  ZSTD_freeDCtx (contexts->zstd);
#endif
  g_free (contexts);
}

static void
make_key (void)
{
  if (pthread_key_create (&contexts_key, contexts_free) != 0)
    g_error ("cannot create a thread-specific key");
}

static Contexts *
contexts_get (void)
{
  pthread_once (&contexts_once, make_key);
  Contexts *contexts = pthread_getspecific (contexts_key);
  if (!contexts) {
    contexts = g_new0 (Contexts, 1);
    pthread_setspecific (contexts_key, contexts);
  }
  return contexts;
}

static bool
out_of_memory (GError **error)
{
  im_set_errno (error, ENOMEM, "decoder");
  return false;
}

/* Decodes with zlib until OUT is full; what follows, a missing end included, does not
 * matter. */
static bool
zlib_decode (Contexts *contexts, Wrapping wrapping, const void *in, size_t in_len,
             void *out, size_t out_len, GError **error)
{
  z_stream *stream = contexts->inflate[wrapping];
  if (!stream) {
    stream = g_new0 (z_stream, 1);
    if (inflateInit2 (stream, wrapping == BARE ? -MAX_WBITS : MAX_WBITS) != Z_OK) {
      g_free (stream);
      return out_of_memory (error);
    }
    contexts->inflate[wrapping] = stream;
  }
  inflateReset (stream);
  stream->next_in = (Bytef *)in;
  stream->avail_in = (uInt)in_len;
  stream->next_out = out;
  stream->avail_out = (uInt)out_len;
  /* With OUT full, an error can only be about what follows. */
  inflate (stream, Z_FINISH);
  if (stream->avail_out == 0)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "deflate stream: %s after %zu of %zu bytes",
               stream->msg ? stream->msg : "ends", out_len - stream->avail_out, out_len);
  return false;
}

#if HAVE_LIBDEFLATE
/* The whole stream at once.  False for whatever libdeflate does not take, which zlib may
 * take all the same: a stream without its end, for one. */
static bool
libdeflate_decode (Contexts *contexts, Wrapping wrapping, const void *in, size_t in_len,
                   void *out, size_t out_len)
{
  if (!contexts->libdeflate)
    contexts->libdeflate = libdeflate_alloc_decompressor ();
  if (!contexts->libdeflate)
    return false;
  size_t used;
  enum libdeflate_result result =
      wrapping == BARE ? libdeflate_deflate_decompress_ex (
                             contexts->libdeflate, in, in_len, out, out_len, &used, NULL)
                       : libdeflate_zlib_decompress_ex (contexts->libdeflate, in, in_len,
                                                        out, out_len, &used, NULL);
  return result == LIBDEFLATE_SUCCESS;
}
#endif

static bool
inflate_decode (Wrapping wrapping, const void *in, size_t in_len, void *out,
                size_t out_len, GError **error)
{
  Contexts *contexts = contexts_get ();
#if HAVE_LIBDEFLATE
  if (libdeflate_decode (contexts, wrapping, in, in_len, out, out_len))
    return true;
#endif
  return zlib_decode (contexts, wrapping, in, in_len, out, out_len, error);
}

static bool
deflate_decode (const void *in, size_t in_len, void *out, size_t out_len, GError **error)
{
  return inflate_decode (BARE, in, in_len, out, out_len, error);
}

static bool
zlib_stream_decode (const void *in, size_t in_len, void *out, size_t out_len,
                    GError **error)
{
  return inflate_decode (ZLIB_STREAM, in, in_len, out, out_len, error);
}

const ImCodec im_codec_deflate = {.name = "deflate", .decode = deflate_decode};
const ImCodec im_codec_zlib = {.name = "zlib", .decode = zlib_stream_decode};

#if HAVE_ZSTD
/* Frame by frame until OUT is full: for what is not one whole frame. */
static bool
zstd_decode_streamed (ZSTD_DCtx *zstd, const void *in, size_t in_len, void *out,
                      size_t out_len, GError **error)
{
  ZSTD_DCtx_reset (zstd, ZSTD_reset_session_only);
  ZSTD_inBuffer source = {.src = in, .size = in_len};
  ZSTD_outBuffer target = {.dst = out, .size = out_len};
  while (target.pos < target.size) {
    size_t before = source.pos + target.pos;
    size_t status = ZSTD_decompressStream (zstd, &target, &source);
    if (ZSTD_isError (status)) {
      g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "zstd frame: %s",
                   ZSTD_getErrorName (status));
      return false;
    }
    if (source.pos + target.pos == before) {
      g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                   "zstd frame: ends after %zu of %zu bytes", target.pos, out_len);
      return false;
    }
  }
  return true;
}

static bool
zstd_decode (const void *in, size_t in_len, void *out, size_t out_len, GError **error)
{
  Contexts *contexts = contexts_get ();
  if (!contexts->zstd)
    contexts->zstd = ZSTD_createDCtx ();
  if (!contexts->zstd)
    return out_of_memory (error);
  size_t frame = ZSTD_findFrameCompressedSize (in, in_len);
  if (!ZSTD_isError (frame) &&
      ZSTD_decompressDCtx (contexts->zstd, out, out_len, in, frame) == out_len)
    return true;
  return zstd_decode_streamed (contexts->zstd, in, in_len, out, out_len, error);
}

static const ImCodec codec_zstd = {.name = "zstd", .decode = zstd_decode};

const ImCodec *
im_codec_zstd (void)
{
  return &codec_zstd;
}
#else
const ImCodec *
im_codec_zstd (void)
{
  return NULL;
}
#endif
