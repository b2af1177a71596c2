/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: encrypted images.  LUKS has its header in clusters of the image and counts
 * sectors in the file; the older method has neither header nor check, and counts them on
 * the disk. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/luks-key.h"
#include "formats/qcow2/qcow2-image.h"
#include <inttypes.h>

#define AES_KEY_SIZE 16u

/* As the options call it. */
const char *
qcow2_crypt_name (const Qcow2Header *header)
{
  static const char *const names[] = {"none", "aes", "luks"};

  return names[header->crypt_method]; /* which was checked */
}

static bool
check_format (const Qcow2Image *image, const ImOpenContext *context, GError **error)
{
  const char *is = qcow2_crypt_name (&image->header), *wanted = context->encrypt_format;

  if (!wanted || strcmp (is, wanted) == 0)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "encrypt.format is %s, but the image's encryption is %s", wanted, is);
  return false;
}

static bool
open_luks (Qcow2Image *image, const ImOpenContext *context, GError **error)
{
  const Qcow2Extensions *e = &image->extensions;
  uint64_t file_size = im_file_size (image->file);
  LuksArea area = {.file = image->file, .at = e->crypt_offset, .size = e->crypt_size};
  LuksHeader header;

  if (!e->has_crypt) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: encryption method 2 (LUKS), but no extension with its place");
    return false;
  }
  if (e->crypt_offset % (UINT64_C (1) << image->header.cluster_bits) != 0 ||
      e->crypt_offset == 0 ||
      !im_range_fits (e->crypt_offset, e->crypt_size, file_size)) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header extension: encryption header at 0x%" PRIx64 ", %" PRIu64
                 " bytes, is not aligned to a cluster and inside the file (%" PRIu64
                 " bytes)",
                 e->crypt_offset, e->crypt_size, file_size);
    return false;
  }
  if (!luks_header_read (&area, &header, error))
    return false;
  image->crypt = luks_unlock (&area, &header, context, error);
  return image->crypt != NULL;
}

/* The first bytes of the passphrase are the key, and nothing tells a wrong one. */
static bool
open_aes (Qcow2Image *image, const ImOpenContext *context, GError **error)
{
  g_autoptr (ImSecret) key = im_secret_new (NULL, AES_KEY_SIZE);
  const ImSecret *passphrase;

  if (!im_transform_is_built (error))
    return false;
  passphrase = luks_find_key (context, image->file, 0, error);
  if (!passphrase)
    return false;
  memcpy (key->bytes, passphrase->bytes, im_min (AES_KEY_SIZE, passphrase->length));
  image->crypt = im_transform_new ("aes", "cbc-plain64", key, error);
  return image->crypt != NULL;
}

bool
qcow2_crypt_open (Qcow2Image *image, const ImOpenContext *context, GError **error)
{
  if (!check_format (image, context, error))
    return false;
  switch (image->header.crypt_method) {
  case QCOW2_CRYPT_AES:
    return open_aes (image, context, error);
  case QCOW2_CRYPT_LUKS:
    return open_luks (image, context, error);
  default:
    return true;
  }
}
