/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ImTransform: how the bytes of an encrypted disk become plain and back, sector by
 * sector.  What a sector's initialization vector counts from is the caller's position:
 * LUKS in qcow2 counts in the image file, all else on the disk. */
#pragma once

#include "base/pool.h"
#include "base/secret.h"
#include "block/claims.h"
#include <stdbool.h>

#define IM_TRANSFORM_SECTOR 512u

/* The longest key of any cipher: two of 256 bits, for XTS. */
#define IM_TRANSFORM_KEY_MAX 64u

/* The longest digest of any hash. */
#define IM_DIGEST_MAX 64u

typedef struct ImTransform ImTransform;

/* False, and an error that says so, in a build without libgcrypt. */
bool im_transform_is_built (GError **error);

/* CIPHER: aes, serpent, twofish, cast5.  MODE, as dm-crypt writes it: xts, cbc or ecb,
 * then -plain, -plain64 or -essiv:HASH (of no meaning, and not needed, with ecb). */
ImTransform *im_transform_new (const char *cipher, const char *mode, const ImSecret *key,
                               GError **error);
void im_transform_free (ImTransform *transform);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImTransform, im_transform_free)

typedef enum {
  IM_DECRYPT,
  IM_ENCRYPT,
} ImTransformDirection;

/* Changes BUF in place.  POSITION and LEN are whole sectors.  POOL, which may be NULL,
 * helps with what is large.  Any thread. */
bool im_transform_apply (const ImTransform *transform, ImTransformDirection direction,
                         uint64_t position, void *buf, size_t len, ImPool *pool,
                         GError **error);

/* Claims on sectors, by their number in the one file that TRANSFORM is used for: they are
 * written by one thread at a time, and not while they are read.  What is torn between two
 * versions of a sector is neither of them, decrypted. */
ImClaims *im_transform_claims (const ImTransform *transform);

/* Digest sizes and digests by the names that LUKS knows: sha1, sha256, …  0: unknown. */
size_t im_digest_size (const char *hash);
/* HASH is known. */
void im_digest (const char *hash, const void *bytes, size_t len, uint8_t *ret_digest);

/* Sets all bytes of KEY from PASSPHRASE by PBKDF2. */
bool im_derive_key (const char *hash, const ImSecret *passphrase, const uint8_t *salt,
                    size_t salt_len, uint32_t iterations, ImSecret *key, GError **error);
