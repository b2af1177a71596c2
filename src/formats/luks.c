/* SPDX-License-Identifier: GPL-2.0-or-later */
/* luks: one extent, what follows the header, encrypted. */
#include "formats/luks.h"
#include "base/bytes.h"
#include "base/error.h"
#include "block/claims.h"
#include "block/crypt-io.h"
#include "formats/luks-key.h"

#include <errno.h>
#include <inttypes.h>

enum { ZEROS = 1 << 20 }; /* bytes of zeros encrypted and written under one claim */

typedef struct {
  ImBlock block;
  ImFile *file; /* a reference */
  LuksHeader header;
  ImTransform *crypt;
  ImClaims *claims; /* on sectors: who changes a part of one has it to itself */
} Luks;

static bool
luks_probe (const ImProbeInput *input)
{
  return luks_has_magic (input->head, input->head_len);
}

static bool
luks_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
          ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  Luks *luks = (Luks *)block;
  extents[0] = (ImExtent){.offset = offset,
                          .length = length,
                          .kind = IM_EXTENT_FILE,
                          .allocated = true,
                          .stable = true,
                          .file = luks->file,
                          .at = luks->header.payload + offset,
                          .crypt = luks->crypt,
                          .crypt_at = offset};
  *ret_n = 1;
  return true;
}

static GVariant *
luks_describe_block (ImBlock *block)
{
  const Luks *luks = (const Luks *)block;
  GVariantBuilder facts;
  g_variant_builder_init (&facts, G_VARIANT_TYPE_VARDICT);
  luks_describe (&luks->header, &facts);
  g_variant_builder_add (&facts, "{sv}", "payload-offset",
                         g_variant_new_uint64 (luks->header.payload));
  return g_variant_builder_end (&facts);
}

static bool
luks_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
             ImWriteFlags flags, GError **error)
{
  Luks *luks = (Luks *)block;
  ImCryptPlace place = {luks->crypt, offset, luks->file, luks->header.payload + offset};
  ImClaim claim;
  im_claim_take (luks->claims, &claim, offset / IM_TRANSFORM_SECTOR,
                 (offset + len - 1) / IM_TRANSFORM_SECTOR,
                 !im_crypt_is_whole (offset, len));
  bool ok = im_crypt_pwrite (&place, buf, len, flags & IM_WRITE_FUA, block->shared->pool,
                             error);
  im_claim_drop (luks->claims, &claim);
  return ok;
}

/* A hole would not read as zeros, so they are written like anything else. */
static bool
luks_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
                   GError **error)
{
  static const uint8_t zeros[ZEROS];
  if (flags & IM_WRITE_FAST) {
    im_set_errno (error, ENOTSUP, "zeros of an encrypted disk have to be written");
    return false;
  }
  for (uint64_t done = 0, now; done < length; done += now) {
    now = im_min (length - done, ZEROS - (offset + done) % ZEROS);
    if (!luks_pwrite (block, zeros, (size_t)now, offset + done, flags, error))
      return false;
  }
  return true;
}

/* What was punched out of the file would read as noise, neither as before nor as zeros.
 */
static bool
luks_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  return true;
}

static bool
luks_flush (ImBlock *block, GError **error)
{
  return im_file_sync (((Luks *)block)->file, error);
}

static void
luks_free (ImBlock *block)
{
  Luks *luks = (Luks *)block;
  im_transform_free (luks->crypt);
  im_claims_free (luks->claims);
  im_file_unref (luks->file);
  g_free (luks);
}

static const ImBlockOps luks_ops = {
    .name = "luks",
    .map = luks_map,
    .describe = luks_describe_block,
    .pwrite = luks_pwrite,
    .write_zeroes = luks_write_zeroes,
    .discard = luks_discard,
    .flush = luks_flush,
    .free = luks_free,
};

/* The payload must follow what is used of the header. */
static bool
check_payload (const LuksHeader *h, uint64_t file_size, GError **error)
{
  uint64_t used = LUKS_HEADER_SIZE;
  for (unsigned i = 0; i < LUKS_SLOTS; i++)
    if (h->slots[i].active)
      used = im_max (used, h->slots[i].material + luks_material_size (h));
  if (h->payload >= used && h->payload <= file_size)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "LUKS header: payload at %" PRIu64 " is outside %" PRIu64 " to %" PRIu64
               "%s",
               h->payload, used, file_size,
               h->payload == 0 ? " (a detached header, which is not supported)" : "");
  return false;
}

static ImBlock *
luks_open (ImFile *file, const ImOpenContext *context, GError **error)
{
  uint64_t file_size = im_file_size (file);
  LuksArea area = {.file = file, .size = file_size};
  LuksHeader header;
  if (!luks_header_read (&area, &header, error) ||
      !check_payload (&header, file_size, error))
    return NULL;
  ImTransform *crypt = luks_unlock (&area, &header, context, error);
  if (!crypt)
    return NULL;
  /* A sector that the file's end cuts cannot be decrypted. */
  uint64_t size =
      (file_size - header.payload) / IM_TRANSFORM_SECTOR * IM_TRANSFORM_SECTOR;
  Luks *luks = g_new0 (Luks, 1);
  im_block_init (&luks->block, &luks_ops, size, NULL, context->shared);
  luks->file = im_file_ref (file);
  luks->header = header;
  luks->crypt = crypt;
  luks->claims = im_claims_new ();
  luks->block.encrypted = true;
  luks->block.writable = im_file_is_writable (file);
  return &luks->block;
}

const ImFormat im_format_luks = {
    .name = "luks",
    .description = "an encrypted disk, LUKS version 1",
    .probe = luks_probe,
    .open = luks_open,
    .writable = true,
};
