/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stands for transform.c in a build without libgcrypt. */
#include "base/error.h"
#include "block/transform.h"

bool
im_transform_is_built (GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "encrypted, and this build lacks libgcrypt");
  return false;
}

ImTransform *
im_transform_new (const char *cipher, const char *mode, const ImSecret *key,
                  GError **error)
{
  im_transform_is_built (error);
  return NULL;
}

void
im_transform_free (ImTransform *transform)
{
}

ImClaims *
im_transform_claims (const ImTransform *transform)
{
  return NULL;
}

bool
im_transform_apply (const ImTransform *transform, ImTransformDirection direction,
                    uint64_t position, void *buf, size_t len, ImPool *pool,
                    GError **error)
{
  return im_transform_is_built (error);
}

size_t
im_digest_size (const char *hash)
{
  return 0;
}

void
im_digest (const char *hash, const void *bytes, size_t len, uint8_t *ret_digest)
{
}

bool
im_derive_key (const char *hash, const ImSecret *passphrase, const uint8_t *salt,
               size_t salt_len, uint32_t iterations, ImSecret *key, GError **error)
{
  return im_transform_is_built (error);
}
