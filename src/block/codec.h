/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoders of single chunks.  Each keeps one context per thread. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct {
  const char *name;
  /* Decodes IN_LEN bytes (which may be followed by rubbish that counts in IN_LEN) into
   * exactly OUT_LEN bytes; fewer is IM_ERROR_CORRUPT.  Any thread. */
  bool (*decode) (const void *in, size_t in_len, void *out, size_t out_len,
                  GError **error);
} ImCodec;

/* Raw deflate that may lack its final block (qcow2, qcow): libdeflate where built with
 * it, zlib otherwise and whenever libdeflate refuses a stream. */
extern const ImCodec im_codec_deflate;
/* A zlib stream, with header and Adler-32. */
extern const ImCodec im_codec_zlib;

/* One zstd frame, or more; NULL in a build without libzstd. */
const ImCodec *im_codec_zstd (void);
