/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: making a new image that is nothing but its parent.
 *
 *   cluster 0   1               2               3…            the end of the file
 *   +--------+----------------+----------------+------------+
 *   | header | refcount table | refcount block | L1, zeros  |
 *   +--------+----------------+----------------+------------+
 */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-image.h"

/* QEMU's default too.  Smaller clusters would copy less for a small write over a parent,
 * and need more tables for each read. */
#define CLUSTER_BITS   16u
#define REFCOUNT_ORDER 4u

/* QEMU counts disks in these, and would not see the rest of the last one. */
#define SECTOR 512u

/* Header, extensions and the longest names. */
#define HEAD_MAX (QCOW2_HEADER_MAX + 2048u)

/* Where things are, in clusters. */
#define AT_TABLE UINT64_C (1)
#define AT_BLOCK UINT64_C (2)
#define AT_L1    UINT64_C (3)

/* The largest disk that its clusters and the limit of the L1 table allow. */
static uint64_t
covered (const Qcow2Header *h)
{
  return (uint64_t)(QCOW2_MAX_L1_BYTES / 8) << qcow2_l1_shift (h);
}

/* The header of an image whose disk has SIZE bytes; larger clusters where the L1 table
 * would otherwise be beyond its limit. */
static bool
plan (uint64_t size, Qcow2Header *ret_header, GError **error)
{
  Qcow2Header h = {.version = 3,
                   .cluster_bits = CLUSTER_BITS,
                   .refcount_clusters = 1,
                   .refcount_order = REFCOUNT_ORDER};
  uint64_t sectors = im_div_up (size, SECTOR);

  while (covered (&h) / SECTOR < sectors && h.cluster_bits < QCOW2_MAX_CLUSTER_BITS)
    h.cluster_bits++;
  if (covered (&h) / SECTOR < sectors) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "a disk of %" G_GUINT64_FORMAT
                 " bytes is beyond the limit of %" G_GUINT64_FORMAT,
                 size, covered (&h));
    return false;
  }
  h.size = sectors * SECTOR;
  h.l1_entries = (uint32_t)im_div_up (h.size, UINT64_C (1) << qcow2_l1_shift (&h));
  h.refcount_offset = AT_TABLE << h.cluster_bits;
  h.l1_offset = AT_L1 << h.cluster_bits;
  *ret_header = h;
  return true;
}

/* How many clusters the new image has. */
static uint64_t
count_clusters (const Qcow2Header *h)
{
  return AT_L1 +
         im_div_up (UINT64_C (8) * h->l1_entries, UINT64_C (1) << h->cluster_bits);
}

/* One block counts all there is: the L1 table's limit sees to that. */
static bool
write_counts (ImFile *file, const Qcow2Header *h, GError **error)
{
  uint64_t clusters = count_clusters (h);
  size_t len = (size_t)im_div_up (clusters << h->refcount_order, 8);
  g_autofree uint8_t *block = g_malloc0 (len);
  uint8_t entry[8];

  for (uint64_t i = 0; i < clusters; i++)
    qcow2_refcount_set (block, i, h->refcount_order, 1);
  im_put_be64 (entry, AT_BLOCK << h->cluster_bits);
  return im_file_pwrite (file, block, len, AT_BLOCK << h->cluster_bits, false, error) &&
         im_file_pwrite (file, entry, sizeof entry, h->refcount_offset, false, error);
}

bool
qcow2_create (ImFile *file, const ImNewImage *new_image, GError **error)
{
  Qcow2Header header;
  uint8_t head[HEAD_MAX];
  size_t len;

  return plan (new_image->size, &header, error) &&
         qcow2_head_encode (&header, new_image->backing_name, new_image->backing_format,
                            head, sizeof head, &len, error) &&
         im_file_extend (file, count_clusters (&header) << header.cluster_bits, error) &&
         write_counts (file, &header, error) && im_file_sync (file, error) &&
         /* Last: until it is there, the file is no image. */
         im_file_pwrite (file, head, len, 0, false, error) && im_file_sync (file, error);
}
