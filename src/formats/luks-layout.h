/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The layout of LUKS, version 1: pure functions of bytes.  Integers are big-endian,
 * places are in sectors of 512 bytes from the header on.
 *
 *   0        208       592        key material                       payload
 *   +--------+---------+----//----+---------+----//----+---------+-//-+---------------+
 *   | header | 8 slots |          | slot 0  |          | slot 7  |    | encrypted disk |
 *   +--------+---------+----//----+---------+----//----+---------+-//-+---------------+
 *
 *   0    6        8       40    72    104      108    112     132   164         168
 *   magic version cipher  mode  hash  payload  key    digest  salt  iterations  UUID
 *                                     at       bytes  of the master key
 *
 *   slot:  0 state   4 iterations   8 salt   40 key material at   44 stripes
 *
 * A slot's key material is the master key, split into stripes so that losing any of them
 * loses it, and encrypted with a key that PBKDF2 makes of a passphrase.  In qcow2 the
 * header and the slots lie in clusters of their own, and the payload is the image's.
 */
#pragma once

#include "block/transform.h"

#define LUKS_MAGIC       "LUKS\xba\xbe"
#define LUKS_MAGIC_SIZE  6u
#define LUKS_HEADER_SIZE 592u
#define LUKS_SLOTS       8u
#define LUKS_SALT_SIZE   32u
#define LUKS_DIGEST_SIZE 20u
#define LUKS_NAME_SIZE   32u
#define LUKS_UUID_SIZE   40u

/* All that was ever written; 256 KB of key material at the most. */
#define LUKS_STRIPES 4000u

/* Iterations of PBKDF2 to try one passphrase in all slots.  cryptsetup's two seconds for
 * a slot are ten million where processors are fast; a header that wants more than this
 * would keep one busy for minutes. */
#define LUKS_MAX_ITERATIONS (UINT64_C (1) << 28)

typedef struct {
  bool active;
  uint32_t iterations;
  uint8_t salt[LUKS_SALT_SIZE];
  uint64_t material; /* bytes from the header on */
} LuksSlot;

typedef struct {
  char cipher[LUKS_NAME_SIZE + 1], mode[LUKS_NAME_SIZE + 1], hash[LUKS_NAME_SIZE + 1];
  char uuid[LUKS_UUID_SIZE + 1];
  uint64_t payload; /* bytes from the header on */
  uint32_t key_size;
  uint8_t digest[LUKS_DIGEST_SIZE];
  uint8_t digest_salt[LUKS_SALT_SIZE];
  uint32_t digest_iterations;
  LuksSlot slots[LUKS_SLOTS];
} LuksHeader;

/* Any version: what this driver lacks is better refused by name than taken for raw. */
bool luks_has_magic (const uint8_t *bytes, size_t len);

/* Decodes and checks all of a header whose area, key material included, has AREA_SIZE
 * bytes. */
bool luks_header_decode (const uint8_t *bytes, size_t len, uint64_t area_size,
                         LuksHeader *ret_header, GError **error);

/* Bytes of a slot's key material. */
static inline size_t
luks_material_size (const LuksHeader *header)
{
  return (size_t)header->key_size * LUKS_STRIPES;
}

/* Joins the stripes of decrypted key material, which luks_material_size tells, into KEY.
 */
void luks_merge (const LuksHeader *header, const uint8_t *material, ImSecret *key);
