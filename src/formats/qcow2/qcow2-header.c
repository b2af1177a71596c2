/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the header, decoded and checked. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-layout.h"
#include <inttypes.h>

static void
decode_version_3 (ImCursor *c, Qcow2Header *h)
{
  h->incompatible = im_cursor_be64 (c);
  h->compatible = im_cursor_be64 (c);
  h->autoclear = im_cursor_be64 (c);
  h->refcount_order = im_cursor_be32 (c);
  h->header_length = im_cursor_be32 (c);
  if (h->header_length > QCOW2_HEADER_V3_SIZE)
    h->compression = im_cursor_u8 (c);
}

static void
decode_fields (ImCursor *c, Qcow2Header *h)
{
  h->version = im_cursor_be32 (c);
  h->backing_offset = im_cursor_be64 (c);
  h->backing_length = im_cursor_be32 (c);
  h->cluster_bits = im_cursor_be32 (c);
  h->size = im_cursor_be64 (c);
  h->crypt_method = im_cursor_be32 (c);
  h->l1_entries = im_cursor_be32 (c);
  h->l1_offset = im_cursor_be64 (c);
  h->refcount_offset = im_cursor_be64 (c);
  h->refcount_clusters = im_cursor_be32 (c);
  h->snapshot_count = im_cursor_be32 (c);
  h->snapshot_offset = im_cursor_be64 (c);
  h->refcount_order = 4;
  h->header_length = QCOW2_HEADER_V2_SIZE;
  if (h->version >= 3)
    decode_version_3 (c, h);
}

static bool
check_header_length (const Qcow2Header *h, GError **error)
{
  uint32_t least = h->version == 2 ? QCOW2_HEADER_V2_SIZE : QCOW2_HEADER_V3_SIZE;
  uint32_t cluster_size = UINT32_C (1) << h->cluster_bits;

  if (h->header_length < least || h->header_length > cluster_size) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: header length %" PRIu32 " is outside %" PRIu32 " to %" PRIu32,
                 h->header_length, least, cluster_size);
    return false;
  }
  if (h->header_length % 8 != 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: header length %" PRIu32 " is not a multiple of 8",
                 h->header_length);
    return false;
  }
  return true;
}

static bool
check_version (const Qcow2Header *h, GError **error)
{
  if (h->version == 2 || h->version == 3)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "header: version %" PRIu32 " is not supported, only 2 and 3 are%s",
               h->version, h->version == 1 ? " (this is the older format, qcow)" : "");
  return false;
}

bool
qcow2_header_decode (const uint8_t *bytes, size_t len, Qcow2Header *ret_header,
                     GError **error)
{
  ImCursor c = im_cursor (bytes, len);
  Qcow2Header h = {0};

  if (im_cursor_be32 (&c) != QCOW2_MAGIC) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "header: no qcow2 signature");
    return false;
  }
  decode_fields (&c, &h);
  if (c.overrun) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: the file ends within it, after %zu bytes", len);
    return false;
  }
  if (!check_version (&h, error))
    return false;
  if (h.cluster_bits < QCOW2_MIN_CLUSTER_BITS ||
      h.cluster_bits > QCOW2_MAX_CLUSTER_BITS) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: cluster bits %" PRIu32 " are outside %u to %u", h.cluster_bits,
                 QCOW2_MIN_CLUSTER_BITS, QCOW2_MAX_CLUSTER_BITS);
    return false;
  }
  if (!check_header_length (&h, error))
    return false;
  *ret_header = h;
  return true;
}

static bool
check_place (const Qcow2Header *h, const char *what, uint64_t offset, uint64_t file_size,
             GError **error)
{
  if (offset % (UINT64_C (1) << h->cluster_bits) != 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "%s offset 0x%" PRIx64 " is not aligned to the cluster size (%" PRIu64
                 " bytes)",
                 what, offset, UINT64_C (1) << h->cluster_bits);
    return false;
  }
  if (offset >= file_size) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "%s offset 0x%" PRIx64 " is past the end of the file (%" PRIu64
                 " bytes)",
                 what, offset, file_size);
    return false;
  }
  return true;
}

static bool
check_refcounts (const Qcow2Header *h, uint64_t file_size, GError **error)
{
  uint64_t most = QCOW2_MAX_REFCOUNT_TABLE_BYTES >> h->cluster_bits;

  if (h->refcount_order > QCOW2_MAX_REFCOUNT_ORDER) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: refcount order %" PRIu32 " is greater than %u",
                 h->refcount_order, QCOW2_MAX_REFCOUNT_ORDER);
    return false;
  }
  if (h->refcount_clusters == 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: the refcount table has 0 clusters");
    return false;
  }
  if (h->refcount_clusters > most) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "header: refcount table of %" PRIu32
                 " clusters is beyond the limit of %" PRIu64,
                 h->refcount_clusters, most);
    return false;
  }
  return check_place (h, "header: refcount table", h->refcount_offset, file_size, error);
}

static bool
check_compression (const Qcow2Header *h, GError **error)
{
  bool flagged = (h->incompatible & QCOW2_INCOMPATIBLE_COMPRESSION) != 0;

  if (h->compression > QCOW2_COMPRESSION_ZSTD) {
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "header: compression type %" PRIu32
                 " is not supported, only 0 (deflate) and 1 (zstd) are",
                 h->compression);
    return false;
  }
  if (flagged != (h->compression != QCOW2_COMPRESSION_DEFLATE)) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: compression type %" PRIu32
                 " contradicts the incompatible feature bit, which is %d",
                 h->compression, flagged);
    return false;
  }
  return true;
}

static bool
check_encryption (const Qcow2Header *h, GError **error)
{
  if (h->crypt_method <= QCOW2_CRYPT_LUKS)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "header: encryption method %" PRIu32 " is not known", h->crypt_method);
  return false;
}

static bool
check_features (const Qcow2Header *h, GError **error)
{
  if ((h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) &&
      h->cluster_bits < QCOW2_MIN_EXTENDED_BITS) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: cluster bits %" PRIu32
                 " with extended L2 entries are less than %u",
                 h->cluster_bits, QCOW2_MIN_EXTENDED_BITS);
    return false;
  }
  if ((h->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW) &&
      !(h->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: a raw external data file without an external data file");
    return false;
  }
  return true;
}

bool
qcow2_header_check (const Qcow2Header *header, uint64_t file_size, GError **error)
{
  uint64_t needed;

  return check_encryption (header, error) && check_compression (header, error) &&
         check_features (header, error) && check_refcounts (header, file_size, error) &&
         qcow2_l1_check (header, "header: L1 table", header->l1_offset,
                         header->l1_entries, header->size, file_size, &needed, error);
}

unsigned
qcow2_l1_shift (const Qcow2Header *header)
{
  bool extended = (header->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0;

  return 2 * header->cluster_bits - (extended ? 4 : 3);
}

bool
qcow2_l1_check (const Qcow2Header *header, const char *what, uint64_t offset,
                uint64_t entries, uint64_t size, uint64_t file_size, uint64_t *ret_needed,
                GError **error)
{
  uint64_t needed = im_div_up (size, UINT64_C (1) << qcow2_l1_shift (header));

  if (entries > QCOW2_MAX_L1_BYTES / 8) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "%s of %" PRIu64 " entries is beyond the limit of %u", what, entries,
                 QCOW2_MAX_L1_BYTES / 8);
    return false;
  }
  if (entries < needed) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "%s of %" PRIu64 " entries is too short for a disk of %" PRIu64
                 " bytes, which needs %" PRIu64,
                 what, entries, size, needed);
    return false;
  }
  if (needed > 0 && !check_place (header, what, offset, file_size, error))
    return false;
  if (needed > 0 && !im_range_fits (offset, needed * 8, file_size)) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "%s at 0x%" PRIx64 ", %" PRIu64
                 " bytes, runs past the end of the file (%" PRIu64 " bytes)",
                 what, offset, needed * 8, file_size);
    return false;
  }
  *ret_needed = needed;
  return true;
}
