/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unlocking: passphrase, slot, master key. */
#include "formats/luks-key.h"
#include "base/bytes.h"
#include "base/error.h"

/* Can this build do what HEADER asks for?  Better found before a passphrase is asked for.
 */
static bool
check_algorithms (const LuksHeader *header, GError **error)
{
  g_autoptr (ImSecret) any_key = im_secret_new (NULL, header->key_size);
  g_autoptr (ImTransform) transform = NULL;
  if (!im_transform_is_built (error))
    return false;
  if (im_digest_size (header->hash) == 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "LUKS header: hash '%s' is not supported", header->hash);
    return false;
  }
  transform = im_transform_new (header->cipher, header->mode, any_key, error);
  if (!transform)
    g_prefix_error (error, "LUKS header: ");
  return transform != NULL;
}

bool
luks_header_read (const LuksArea *area, LuksHeader *ret_header, GError **error)
{
  uint8_t bytes[LUKS_HEADER_SIZE];
  size_t len = (size_t)im_min (sizeof bytes, area->size);
  return im_file_pread (area->file, bytes, len, area->at, error) &&
         luks_header_decode (bytes, len, area->size, ret_header, error) &&
         check_algorithms (ret_header, error);
}

/* Decrypts the key material of SLOT in MATERIAL and joins it into KEY. */
static bool
open_material (const LuksHeader *header, const LuksSlot *slot, const ImSecret *passphrase,
               ImSecret *material, ImSecret *key, GError **error)
{
  g_autoptr (ImSecret) slot_key = im_secret_new (NULL, header->key_size);
  g_autoptr (ImTransform) transform = NULL;
  if (!im_derive_key (header->hash, passphrase, slot->salt, LUKS_SALT_SIZE,
                      slot->iterations, slot_key, error))
    return false;
  transform = im_transform_new (header->cipher, header->mode, slot_key, error);
  if (!transform || !im_transform_apply (transform, IM_DECRYPT, 0, material->bytes,
                                         material->length, NULL, error))
    return false;
  luks_merge (header, material->bytes, key);
  return true;
}

/* Is KEY the master key?  False with an error only where that could not be told. */
static bool
is_master_key (const LuksHeader *header, const ImSecret *key, GError **error)
{
  g_autoptr (ImSecret) digest = im_secret_new (NULL, LUKS_DIGEST_SIZE);
  return im_derive_key (header->hash, key, header->digest_salt, LUKS_SALT_SIZE,
                        header->digest_iterations, digest, error) &&
         memcmp (digest->bytes, header->digest, LUKS_DIGEST_SIZE) == 0;
}

/* The transform, or NULL; without an error where PASSPHRASE is not that of SLOT. */
static ImTransform *
try_slot (const LuksArea *area, const LuksHeader *header, const LuksSlot *slot,
          const ImSecret *passphrase, GError **error)
{
  size_t size = luks_material_size (header);
  g_autoptr (ImSecret) key = im_secret_new (NULL, header->key_size);
  /* In whole sectors: the last of them may hold less. */
  g_autoptr (ImSecret) material =
      im_secret_new (NULL, im_div_up (size, IM_TRANSFORM_SECTOR) * IM_TRANSFORM_SECTOR);
  if (!im_file_pread (area->file, material->bytes, size, area->at + slot->material,
                      error) ||
      !open_material (header, slot, passphrase, material, key, error) ||
      !is_master_key (header, key, error))
    return NULL;
  return im_transform_new (header->cipher, header->mode, key, error);
}

static ImTransform *
try_slots (const LuksArea *area, const LuksHeader *header, const ImSecret *passphrase,
           GError **error)
{
  ImTransform *transform = NULL;
  g_autoptr (GError) failure = NULL;
  for (unsigned i = 0; i < LUKS_SLOTS && !transform && !failure; i++)
    if (header->slots[i].active)
      transform = try_slot (area, header, &header->slots[i], passphrase, &failure);
  if (failure)
    g_propagate_error (error, g_steal_pointer (&failure));
  return transform;
}

const ImSecret *
luks_find_key (const ImOpenContext *context, ImFile *file, unsigned attempt,
               GError **error)
{
  if (context->find_key)
    return context->find_key (context, file, attempt, error);
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "encrypted, and there is no passphrase");
  return NULL;
}

/* A last newline is part of a secret, and often one too much. */
static void
set_wrong (const ImSecret *passphrase, GError **error)
{
  size_t n = passphrase->length;
  bool newline = n > 0 && passphrase->bytes[n - 1] == '\n';
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "wrong passphrase: it opens none of the key slots%s",
               newline ? " (it ends with a newline, which counts)" : "");
}

ImTransform *
luks_unlock (const LuksArea *area, const LuksHeader *header, const ImOpenContext *context,
             GError **error)
{
  g_autoptr (GError) failure = NULL;
  for (unsigned attempt = 0;; attempt++) {
    const ImSecret *passphrase = luks_find_key (context, area->file, attempt, &failure);
    ImTransform *transform = NULL;
    if (passphrase) {
      g_clear_error (error);
      transform = try_slots (area, header, passphrase, &failure);
    }
    if (failure) {
      g_clear_error (error);
      g_propagate_error (error, g_steal_pointer (&failure));
      return NULL;
    }
    if (transform || !passphrase)
      return transform;
    set_wrong (passphrase, error);
  }
}

void
luks_describe (const LuksHeader *header, GVariantBuilder *facts)
{
  unsigned active = 0;
  for (unsigned i = 0; i < LUKS_SLOTS; i++)
    active += header->slots[i].active;
  g_variant_builder_add (facts, "{sv}", "cipher", g_variant_new_string (header->cipher));
  g_variant_builder_add (facts, "{sv}", "cipher-mode",
                         g_variant_new_string (header->mode));
  g_variant_builder_add (facts, "{sv}", "key-bits",
                         g_variant_new_uint32 (header->key_size * 8));
  g_variant_builder_add (facts, "{sv}", "hash", g_variant_new_string (header->hash));
  g_variant_builder_add (
      facts, "{sv}", "luks-uuid",
      g_variant_new_take_string (g_utf8_make_valid (header->uuid, -1)));
  g_variant_builder_add (facts, "{sv}", "key-slots-used", g_variant_new_uint32 (active));
}
