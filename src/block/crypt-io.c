/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole sectors around what was asked for. */
#include "block/crypt-io.h"
#include "base/bytes.h"
#include "base/scratch.h"

enum {
  SECTOR = IM_TRANSFORM_SECTOR,
  QUICK_MAX = 64 << 10, /* decrypted in some microseconds */
  BOUNCE = 256 << 10,   /* encrypted at a time; whole sectors */
};

bool
im_crypt_is_quick (const ImExtent *extent)
{
  return !extent->crypt || (extent->length <= QUICK_MAX &&
                            im_crypt_is_whole (extent->crypt_at, extent->length));
}

/* The sector at AT, plain. */
static bool
read_sector (const ImCryptPlace *place, uint8_t *sector, GError **error)
{
  return im_file_pread (place->file, sector, SECTOR, place->at, error) &&
         im_transform_apply (place->crypt, IM_DECRYPT, place->position, sector, SECTOR,
                             NULL, error);
}

/* LEN bytes of the sector that EXTENT has at OFFSET, within its first or last one. */
static bool
read_part (const ImExtent *extent, uint64_t offset, uint8_t *buf, size_t len,
           GError **error)
{
  uint8_t sector[SECTOR];
  size_t within = (extent->crypt_at + offset) % SECTOR;
  ImCryptPlace place = {.crypt = extent->crypt,
                        .position = extent->crypt_at + offset - within,
                        .file = extent->file,
                        .at = extent->at + offset - within};
  if (!read_sector (&place, sector, error))
    return false;
  memcpy (buf, sector + within, len);
  return true;
}

bool
im_crypt_read_cut_sectors (ImExtent *extent, uint8_t *buf, GError **error)
{
  size_t within = extent->crypt_at % SECTOR;
  size_t head = within == 0 ? 0 : (size_t)im_min (SECTOR - within, extent->length);
  size_t tail = (extent->length - head) % SECTOR;
  if (head > 0 && !read_part (extent, 0, buf, head, error))
    return false;
  if (tail > 0 && !read_part (extent, extent->length - tail, buf + extent->length - tail,
                              tail, error))
    return false;
  extent->offset += head;
  extent->at += head;
  extent->crypt_at += head;
  extent->length -= head + tail;
  return true;
}

/* LEN encrypted bytes, whole sectors, which nobody reads meanwhile. */
static bool
write_sectors (const ImCryptPlace *place, const uint8_t *bytes, size_t len, bool durable,
               GError **error)
{
  ImClaims *claims = im_transform_claims (place->crypt);
  ImClaim claim;
  im_claim_take (claims, &claim, place->at / SECTOR, (place->at + len - 1) / SECTOR,
                 true);
  bool ok = im_file_pwrite (place->file, bytes, len, place->at, durable, error);
  im_claim_drop (claims, &claim);
  return ok;
}

/* Encrypts LEN plain bytes, from WITHIN bytes into the first sector of PLACE on, together
 * with the rest of the sectors at both ends, and writes them; at most BOUNCE in all. */
static bool
write_piece (const ImCryptPlace *place, size_t within, const uint8_t *buf, size_t len,
             bool durable, ImPool *pool, GError **error)
{
  static GPrivate purpose = IM_SCRATCH_INIT;
  uint8_t *bounce = im_scratch (&purpose, BOUNCE);
  size_t end = within + len, all = (end + SECTOR - 1) / SECTOR * SECTOR;
  ImCryptPlace last = *place;
  last.position += all - SECTOR;
  last.at += all - SECTOR;
  if (within != 0 && !read_sector (place, bounce, error))
    return false;
  if (end != all && (within == 0 || all > SECTOR) &&
      !read_sector (&last, bounce + all - SECTOR, error))
    return false;
  memcpy (bounce + within, buf, len);
  return im_transform_apply (place->crypt, IM_ENCRYPT, place->position, bounce, all, pool,
                             error) &&
         write_sectors (place, bounce, all, durable, error);
}

bool
im_crypt_pwrite (const ImCryptPlace *place, const void *buf, size_t len, bool durable,
                 ImPool *pool, GError **error)
{
  const uint8_t *from = buf;
  size_t within = place->position % SECTOR;
  ImCryptPlace piece = *place;
  piece.position -= within;
  piece.at -= within;
  while (len > 0) {
    size_t now = im_min (len, BOUNCE - within);
    if (!write_piece (&piece, within, from, now, durable, pool, error))
      return false;
    from += now;
    len -= now;
    piece.position += within + now;
    piece.at += within + now;
    within = 0;
  }
  return true;
}
