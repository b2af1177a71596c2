/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: what one persistent bitmap says.
 *
 *   table        one entry a cluster of bits: where it is, or that all are alike
 *   cluster      bits in guest order, the lowest of a byte first
 *
 * The table is held in memory, the bits are read a piece at a time. */
#include "base/bytes.h"
#include "base/error.h"
#include "block/bitmap.h"
#include "formats/qcow2/qcow2-image.h"
#include <inttypes.h>

/* QEMU's bounds: granularity, and 512 MiB of bits. */
#define GRANULARITY_BITS_LOW  9u
#define GRANULARITY_BITS_HIGH 31u
#define BITMAP_BYTES_MAX      (UINT64_C (512) << 20)

#define TYPE_DIRTY 1u

/* Table entries. */
#define ENTRY_OFFSET   UINT64_C (0x00fffffffffffe00)
#define ENTRY_ALL_ONES UINT64_C (1)
#define ENTRY_RESERVED UINT64_C (0xff000000000001fe)

/* Bits that are read at once. */
#define PIECE_BYTES 4096u

typedef struct {
  ImBitmap bitmap; /* first, so that a pointer to it is one to this */
  ImFile *file;    /* a reference */
  uint64_t *table; /* host order */
  unsigned granularity_bits;
  unsigned cluster_bits;
} StoredBitmap;

static void
stored_free (ImBitmap *bitmap)
{
  StoredBitmap *stored = (StoredBitmap *)bitmap;
  im_file_unref (stored->file);
  g_free (stored->table);
  g_free (stored);
}

/* Runs on their way to the caller; neighbours that are alike become one. */
typedef struct {
  ImBitmapRun *runs;
  size_t n, max;
  uint64_t at, end; /* the guest's: where the next run begins, where it is enough */
} RunList;

/* A run up to TO, or less.  False: no more are needed, or fit. */
static bool
push_run (RunList *list, bool set, uint64_t to)
{
  uint64_t length = im_min (to, list->end) - list->at;
  bool same = list->n > 0 && list->runs[list->n - 1].set == set;
  if (!same && list->n == list->max)
    return false;
  if (same)
    list->runs[list->n - 1].length += length;
  else
    list->runs[list->n++] = (ImBitmapRun){length, set};
  list->at += length;
  return list->at < list->end;
}

/* From bit *AT of BITS on, how far they are alike, N being their number. */
static bool
next_run (const uint8_t *bits, uint64_t n, uint64_t *at)
{
  bool set = bits[*at / 8] >> *at % 8 & 1;
  uint8_t whole = set ? 0xff : 0;
  do
    *at += *at % 8 == 0 && bits[*at / 8] == whole ? 8 : 1;
  while (*at < n && (bits[*at / 8] >> *at % 8 & 1) == set);
  *at = im_min (*at, n);
  return set;
}

/* Reads the piece of bits where list->at is, from the cluster at HOST whose first bit is
 * FIRST, and takes runs out of it. */
static bool
take_piece (StoredBitmap *stored, uint64_t host, uint64_t first, RunList *list,
            bool *ret_more, GError **error)
{
  uint8_t bits[PIECE_BYTES];
  uint64_t bit = (list->at >> stored->granularity_bits) - first;
  uint64_t start = bit / 8;
  uint64_t length = im_min (PIECE_BYTES, (UINT64_C (1) << stored->cluster_bits) - start);
  if (!im_file_pread (stored->file, bits, length, host + start, error))
    return false;
  bit -= start * 8;
  *ret_more = true;
  while (*ret_more && bit < length * 8) {
    bool set = next_run (bits, length * 8, &bit);
    *ret_more =
        push_run (list, set, (first + start * 8 + bit) << stored->granularity_bits);
  }
  return true;
}

static bool
stored_map (ImBitmap *bitmap, uint64_t offset, uint64_t length, ImBitmapRun *runs,
            size_t n, size_t *ret_n, GError **error)
{
  StoredBitmap *stored = (StoredBitmap *)bitmap;
  /* How much of the disk a cluster of bits covers, as a power of two. */
  unsigned shift = stored->cluster_bits + 3 + stored->granularity_bits;
  RunList list = {.runs = runs, .max = n, .at = offset, .end = offset + length};
  bool more = true;
  while (more) {
    uint64_t index = list.at >> shift, entry = stored->table[index];
    uint64_t first = index << (stored->cluster_bits + 3);
    if (!(entry & ENTRY_OFFSET)) {
      more = push_run (&list, entry & ENTRY_ALL_ONES, (index + 1) << shift);
      continue;
    }
    g_autoptr (GError) failure = NULL;
    if (take_piece (stored, entry & ENTRY_OFFSET, first, &list, &more, &failure))
      continue;
    /* What is known already is an answer; the error comes again on the next call. */
    if (list.n > 0)
      break;
    g_propagate_error (error, g_steal_pointer (&failure));
    return false;
  }
  *ret_n = list.n;
  return true;
}

static const ImBitmapOps stored_ops = {.map = stored_map, .free = stored_free};

static bool
refuse (ImError code, const char *why, GError **error)
{
  g_set_error_literal (error, IM_ERROR, code, why);
  return false;
}

/* Whether it may be relied on at all. */
static bool
check_state (const Qcow2Image *image, const Qcow2Bitmap *b, GError **error)
{
  if (!(image->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
    return refuse (IM_ERROR_CORRUPT,
                   "the image was written by a program that keeps no bitmaps", error);
  if (b->flags & QCOW2_BITMAP_IN_USE)
    return refuse (IM_ERROR_CORRUPT,
                   "in use: whoever had it last has not saved it, or has it still",
                   error);
  if (b->flags & ~(QCOW2_BITMAP_AUTO | QCOW2_BITMAP_EXTRA) || b->type != TYPE_DIRTY ||
      (b->extra_length > 0 && !(b->flags & QCOW2_BITMAP_EXTRA)))
    return refuse (IM_ERROR_UNSUPPORTED, "of a kind that is not known", error);
  return true;
}

/* The table's place and its limits, and that it covers the disk. */
static bool
check_table (const Qcow2Image *image, const Qcow2Bitmap *b, GError **error)
{
  unsigned cluster_bits = image->header.cluster_bits;
  uint64_t bytes = (uint64_t)b->table_entries << cluster_bits;
  if (b->granularity_bits < GRANULARITY_BITS_LOW ||
      b->granularity_bits > GRANULARITY_BITS_HIGH) {
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "granularity bits %u are not from %u to %u", b->granularity_bits,
                 GRANULARITY_BITS_LOW, GRANULARITY_BITS_HIGH);
    return false;
  }
  if (bytes > BITMAP_BYTES_MAX) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "%" PRIu64 " bytes of bits are beyond the limit of %" PRIu64, bytes,
                 BITMAP_BYTES_MAX);
    return false;
  }
  if (bytes * 8 < im_div_up (image->block.size, UINT64_C (1) << b->granularity_bits)) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "%" PRIu32 " clusters of bits do not cover the disk", b->table_entries);
    return false;
  }
  if (b->table_offset & ((UINT64_C (1) << cluster_bits) - 1) ||
      !im_range_fits (b->table_offset, (uint64_t)b->table_entries * 8,
                      im_file_size (image->file))) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "table at 0x%" PRIx64 ", %" PRIu32
                 " entries, is not aligned or runs past the end of the file",
                 b->table_offset, b->table_entries);
    return false;
  }
  return true;
}

static bool
check_entry (const Qcow2Image *image, uint64_t entry, GError **error)
{
  uint64_t at = entry & ENTRY_OFFSET;
  uint64_t cluster = UINT64_C (1) << image->header.cluster_bits;
  if (!(entry & ENTRY_RESERVED) && at % cluster == 0 &&
      (at == 0 || (!(entry & ENTRY_ALL_ONES) && at < im_file_size (image->file))))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
               "table entry 0x%" PRIx64
               " has reserved bits, is not aligned or points past the end of the file",
               entry);
  return false;
}

static bool
load_table (StoredBitmap *stored, const Qcow2Image *image, const Qcow2Bitmap *b,
            GError **error)
{
  size_t bytes = (size_t)b->table_entries * 8;
  stored->table = g_try_malloc (bytes);
  if (!stored->table && bytes > 0)
    return refuse (IM_ERROR_LIMIT, "no memory for its table", error);
  if (!im_file_pread (image->file, stored->table, bytes, b->table_offset, error))
    return false;
  for (uint32_t i = 0; i < b->table_entries; i++) {
    stored->table[i] = im_get_be64 (&stored->table[i]);
    if (!check_entry (image, stored->table[i], error))
      return false;
  }
  return true;
}

static ImBitmap *
open_stored (Qcow2Image *image, const Qcow2Bitmap *b, GError **error)
{
  if (!check_state (image, b, error) || !check_table (image, b, error))
    return NULL;
  StoredBitmap *stored = g_new0 (StoredBitmap, 1);
  stored->bitmap = (ImBitmap){.ops = &stored_ops, .size = image->block.size};
  stored->file = im_file_ref (image->file);
  stored->granularity_bits = b->granularity_bits;
  stored->cluster_bits = image->header.cluster_bits;
  if (load_table (stored, image, b, error))
    return &stored->bitmap;
  stored_free (&stored->bitmap);
  return NULL;
}

ImBitmap *
qcow2_open_bitmap (ImBlock *block, const char *name, GError **error)
{
  Qcow2Image *image = (Qcow2Image *)block;
  if (!image->extensions.has_bitmaps)
    return NULL;
  g_autoptr (GPtrArray) all = qcow2_bitmaps_read (image, error);
  for (guint i = 0; all && i < all->len; i++) {
    const Qcow2Bitmap *b = all->pdata[i];
    if (strcmp (b->name, name) != 0)
      continue;
    ImBitmap *bitmap = open_stored (image, b, error);
    if (!bitmap)
      g_prefix_error (error, "bitmap \"%s\": ", name);
    return bitmap;
  }
  return NULL;
}
