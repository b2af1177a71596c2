/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUKS: the header, decoded and checked, and the joining of split keys. */
#include "formats/luks-layout.h"
#include "base/bytes.h"
#include "base/error.h"

#include <inttypes.h>

#define SLOT_ACTIVE   0x00ac71f3u
#define SLOT_INACTIVE 0x0000deadu

static bool corrupt (GError **error, const char *format, ...) G_GNUC_PRINTF (2, 3);

static bool
corrupt (GError **error, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "LUKS header: %s", text);
  return false;
}

bool
luks_has_magic (const uint8_t *bytes, size_t len)
{
  return len >= LUKS_MAGIC_SIZE && memcmp (bytes, LUKS_MAGIC, LUKS_MAGIC_SIZE) == 0;
}

static void
take (ImCursor *c, void *to, size_t n)
{
  const uint8_t *from = im_cursor_bytes (c, n);
  if (from)
    memcpy (to, from, n);
}

/* A name that fills its field or ends before, as printable ASCII. */
static bool
check_name (const char *what, const char *name, GError **error)
{
  for (const char *p = name; *p; p++)
    if (!g_ascii_isgraph (*p))
      return corrupt (error, "%s has the byte 0x%02x in it", what, (unsigned char)*p);
  return *name || corrupt (error, "%s is empty", what);
}

static bool
decode_slot (ImCursor *c, unsigned number, LuksSlot *slot, GError **error)
{
  uint32_t state = im_cursor_be32 (c);
  slot->iterations = im_cursor_be32 (c);
  take (c, slot->salt, LUKS_SALT_SIZE);
  slot->material = (uint64_t)im_cursor_be32 (c) * IM_TRANSFORM_SECTOR;
  uint32_t stripes = im_cursor_be32 (c);
  slot->active = state == SLOT_ACTIVE;
  if (state != SLOT_ACTIVE && state != SLOT_INACTIVE)
    return corrupt (error, "slot %u: state 0x%08" PRIx32 " is not known", number, state);
  if (slot->active && stripes != LUKS_STRIPES)
    return corrupt (error, "slot %u: %" PRIu32 " stripes are not %u", number, stripes,
                    LUKS_STRIPES);
  return true;
}

static bool
check_slot (const LuksHeader *h, unsigned number, uint64_t area_size, GError **error)
{
  const LuksSlot *slot = &h->slots[number];
  size_t size = luks_material_size (h);
  if (!slot->active)
    return true;
  if (slot->iterations == 0)
    return corrupt (error, "slot %u: 0 iterations", number);
  if (slot->material < LUKS_HEADER_SIZE)
    return corrupt (error, "slot %u: key material at %" PRIu64 " lies in the header",
                    number, slot->material);
  if (!im_range_fits (slot->material, size, area_size))
    return corrupt (error,
                    "slot %u: key material at %" PRIu64
                    ", %zu bytes, runs past the end of its area (%" PRIu64 " bytes)",
                    number, slot->material, size, area_size);
  return true;
}

static bool
check_iterations (const LuksHeader *h, GError **error)
{
  uint64_t all = 0;
  if (h->digest_iterations == 0)
    return corrupt (error, "0 iterations for the master key's digest");
  for (unsigned i = 0; i < LUKS_SLOTS; i++)
    if (h->slots[i].active)
      all += (uint64_t)h->slots[i].iterations + h->digest_iterations;
  if (all == 0)
    return corrupt (error, "no key slot is in use");
  if (all <= LUKS_MAX_ITERATIONS)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
               "LUKS header: %" PRIu64 " iterations are beyond the limit of %" PRIu64,
               all, LUKS_MAX_ITERATIONS);
  return false;
}

static bool
check_fields (const LuksHeader *h, uint64_t area_size, GError **error)
{
  if (!check_name ("cipher name", h->cipher, error) ||
      !check_name ("cipher mode", h->mode, error) || !check_name ("hash", h->hash, error))
    return false;
  if (h->key_size == 0 || h->key_size > IM_TRANSFORM_KEY_MAX)
    return corrupt (error, "a key of %" PRIu32 " bytes is outside 1 to %u", h->key_size,
                    IM_TRANSFORM_KEY_MAX);
  for (unsigned i = 0; i < LUKS_SLOTS; i++)
    if (!check_slot (h, i, area_size, error))
      return false;
  return check_iterations (h, error);
}

static bool
check_version (ImCursor *c, GError **error)
{
  const uint8_t *magic = im_cursor_bytes (c, LUKS_MAGIC_SIZE);
  uint16_t version = im_cursor_be16 (c);
  if (!magic || !luks_has_magic (magic, LUKS_MAGIC_SIZE))
    return corrupt (error, "no LUKS signature");
  if (version == 1 || c->overrun)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "LUKS header: version %u is not supported, only 1 is (-f raw gives the "
               "encrypted bytes)",
               version);
  return false;
}

bool
luks_header_decode (const uint8_t *bytes, size_t len, uint64_t area_size,
                    LuksHeader *ret_header, GError **error)
{
  ImCursor c = im_cursor (bytes, len);
  LuksHeader h = {0};
  if (!check_version (&c, error))
    return false;
  take (&c, h.cipher, LUKS_NAME_SIZE);
  take (&c, h.mode, LUKS_NAME_SIZE);
  take (&c, h.hash, LUKS_NAME_SIZE);
  h.payload = (uint64_t)im_cursor_be32 (&c) * IM_TRANSFORM_SECTOR;
  h.key_size = im_cursor_be32 (&c);
  take (&c, h.digest, LUKS_DIGEST_SIZE);
  take (&c, h.digest_salt, LUKS_SALT_SIZE);
  h.digest_iterations = im_cursor_be32 (&c);
  take (&c, h.uuid, LUKS_UUID_SIZE);
  if (len < LUKS_HEADER_SIZE)
    return corrupt (error, "it ends after %zu bytes", len);
  for (unsigned i = 0; i < LUKS_SLOTS; i++)
    if (!decode_slot (&c, i, &h.slots[i], error))
      return false;
  if (!check_fields (&h, area_size, error))
    return false;
  *ret_header = h;
  return true;
}

/* Replaces KEY, in pieces as long as a digest, by the digests of their number and bytes.
 */
static void
diffuse (const char *hash, ImSecret *key)
{
  uint8_t digest[IM_DIGEST_MAX], input[4 + IM_DIGEST_MAX];
  size_t size = im_digest_size (hash);
  for (size_t at = 0; at < key->length; at += size) {
    size_t n = im_min (size, key->length - at);
    im_put_be32 (input, (uint32_t)(at / size));
    memcpy (input + 4, key->bytes + at, n);
    im_digest (hash, input, 4 + n, digest);
    memcpy (key->bytes + at, digest, n);
  }
  explicit_bzero (digest, sizeof digest);
  explicit_bzero (input, sizeof input);
}

void
luks_merge (const LuksHeader *header, const uint8_t *material, ImSecret *key)
{
  memset (key->bytes, 0, key->length);
  for (size_t stripe = 0; stripe < LUKS_STRIPES; stripe++) {
    if (stripe > 0)
      diffuse (header->hash, key);
    for (size_t i = 0; i < key->length; i++)
      key->bytes[i] ^= material[stripe * key->length + i];
  }
}
