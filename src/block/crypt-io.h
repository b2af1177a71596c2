/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encrypted bytes of files, read and written where requests cut through sectors. */
#pragma once

#include "block/block.h"

/* No more than whole sectors, and so few of them that handing them over to another thread
 * would cost more.  True without encryption. */
bool im_crypt_is_quick (const ImExtent *extent);

/* Reads the first and the last sector of an encrypted EXTENT into BUF, which has room for
 * all of it, as far as it wants only parts of them, and cuts these parts off EXTENT. */
bool im_crypt_read_cut_sectors (ImExtent *extent, uint8_t *buf, GError **error);

/* Encrypted bytes of a file, from AT on; to CRYPT the first is at POSITION. */
typedef struct {
  const ImTransform *crypt;
  uint64_t position;
  ImFile *file;
  uint64_t at;
} ImCryptPlace;

/* Writes LEN plain bytes there, encrypted in a buffer of bounded size.  Of sectors that
 * they cover only in part, which the caller must have to itself, the rest stays as it is.
 * DURABLE as with im_file_pwrite. */
bool im_crypt_pwrite (const ImCryptPlace *place, const void *buf, size_t len,
                      bool durable, ImPool *pool, GError **error);

/* Do these bytes begin and end with sectors? */
static inline bool
im_crypt_is_whole (uint64_t position, uint64_t length)
{
  return position % IM_TRANSFORM_SECTOR == 0 && length % IM_TRANSFORM_SECTOR == 0;
}
