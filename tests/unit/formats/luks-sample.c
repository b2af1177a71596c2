/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making LUKS images the way the format says. */
#include "luks-sample.h"
#include "base/bytes.h"

enum { KEY_SIZE = 16, ITERATIONS = 10 };

static void
put_slot (uint8_t *image, unsigned number)
{
  uint8_t *slot = image + 208 + number * 48;
  bool active = number == LUKS_SAMPLE_SLOT;
  im_put_be32 (slot, active ? 0x00ac71f3 : 0x0000dead);
  im_put_be32 (slot + 4, active ? ITERATIONS : 0);
  memset (slot + 8, 0x5a, LUKS_SALT_SIZE);
  im_put_be32 (slot + 40, LUKS_SAMPLE_MATERIAL / 512);
  im_put_be32 (slot + 44, LUKS_STRIPES);
}

static ImSecret *
derive (const void *passphrase, size_t len, const uint8_t *salt, size_t size)
{
  g_autoptr (ImSecret) from = im_secret_new (passphrase, len);
  ImSecret *key = im_secret_new (NULL, size);
  g_assert_true (
      im_derive_key ("sha256", from, salt, LUKS_SALT_SIZE, ITERATIONS, key, NULL));
  return key;
}

/* The master key's digest, and every field but the slots. */
static void
put_header (uint8_t *image, const char *mode, const ImSecret *master)
{
  memcpy (image, LUKS_MAGIC "\0\1", 8);
  strcpy ((char *)image + 8, "aes");
  strcpy ((char *)image + 40, mode);
  strcpy ((char *)image + 72, "sha256");
  im_put_be32 (image + 104, LUKS_SAMPLE_PAYLOAD / 512);
  im_put_be32 (image + 108, KEY_SIZE);
  memset (image + 132, 0xa5, LUKS_SALT_SIZE);
  im_put_be32 (image + 164, ITERATIONS);
  strcpy ((char *)image + 168, "01234567-89ab-cdef-0123-456789abcdef");
  g_autoptr (ImSecret) digest =
      derive (master->bytes, master->length, image + 132, LUKS_DIGEST_SIZE);
  memcpy (image + 112, digest->bytes, LUKS_DIGEST_SIZE);
}

/* Splits MASTER: all stripes but the last are zeros, which no format forbids, and the
 * last is what makes them join to it. */
static void
put_material (uint8_t *image, const char *mode, const ImSecret *master)
{
  LuksHeader header = {.key_size = KEY_SIZE, .hash = "sha256"};
  uint8_t *material = image + LUKS_SAMPLE_MATERIAL;
  g_autoptr (ImSecret) joined = im_secret_new (NULL, KEY_SIZE);
  luks_merge (&header, material, joined);
  for (size_t i = 0; i < KEY_SIZE; i++)
    material[KEY_SIZE * (LUKS_STRIPES - 1) + i] = joined->bytes[i] ^ master->bytes[i];
  g_autoptr (ImSecret) slot_key =
      derive (LUKS_SAMPLE_PASSPHRASE, strlen (LUKS_SAMPLE_PASSPHRASE),
              image + 208 + LUKS_SAMPLE_SLOT * 48 + 8, KEY_SIZE);
  g_autoptr (ImTransform) crypt = im_transform_new ("aes", mode, slot_key, NULL);
  g_assert_true (im_transform_apply (crypt, IM_ENCRYPT, 0, material,
                                     luks_material_size (&header), NULL, NULL));
}

uint8_t *
luks_sample (const char *mode)
{
  uint8_t *image = g_malloc0 (LUKS_SAMPLE_SIZE);
  g_autoptr (ImSecret) master = im_secret_new ("sixteen  letters", KEY_SIZE);
  g_autoptr (ImTransform) crypt = im_transform_new ("aes", mode, master, NULL);
  put_header (image, mode, master);
  for (unsigned i = 0; i < LUKS_SLOTS; i++)
    put_slot (image, i);
  put_material (image, mode, master);
  for (size_t i = 0; i < LUKS_SAMPLE_DISK; i++)
    image[LUKS_SAMPLE_PAYLOAD + i] = (uint8_t)((i >> 8) + i);
  g_assert_true (im_transform_apply (crypt, IM_ENCRYPT, 0, image + LUKS_SAMPLE_PAYLOAD,
                                     LUKS_SAMPLE_DISK, NULL, NULL));
  return image;
}
