/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: probing, opening and closing an image. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-image.h"
#include "formats/qcow2/qcow2-writer.h"
#include "formats/qcow2/qcow2.h"
#include <inttypes.h>

/* Bytes of a table that are converted at once. */
#define L1_PIECE 65536u

/* Any version: another reader's version is better refused here than taken for raw. */
static bool
qcow2_probe (const ImProbeInput *input)
{
  return input->head_len >= 4 && im_get_be32 (input->head) == QCOW2_MAGIC;
}

/* Frees what is not the block's: of an image, open or half open. */
static void
image_free (Qcow2Image *image)
{
  if (!image)
    return;
  qcow2_writer_close (image);
  g_clear_pointer (&image->data, im_file_unref);
  g_clear_pointer (&image->crypt, im_transform_free);
  g_clear_pointer (&image->file, im_file_unref);
  qcow2_extensions_clear (&image->extensions);
  g_free (image->backing_name);
  qcow2_snapshot_free (image->snapshot);
  g_free (image->l1);
  g_free (image);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Qcow2Image, image_free)

static void
qcow2_free (ImBlock *block)
{
  image_free ((Qcow2Image *)block);
}

static const ImBlockOps qcow2_ops = {
    .name = "qcow2",
    .map = qcow2_map,
    .further_file = qcow2_further_file,
    .describe = qcow2_describe,
    .looks_beneath = qcow2_looks_beneath,
    .check = qcow2_check,
    .open_bitmap = qcow2_open_bitmap,
    .pwrite = qcow2_pwrite,
    .pwrite_nowait = qcow2_pwrite_nowait,
    .write_zeroes = qcow2_write_zeroes,
    .discard = qcow2_discard,
    .flush = qcow2_flush,
    .free = qcow2_free,
};

/* The header, and *RET_AREA: the first cluster, or what the file has of it. */
static bool
read_header (Qcow2Image *image, uint8_t **ret_area, size_t *ret_len, GError **error)
{
  uint8_t head[QCOW2_HEADER_MAX];
  size_t head_len = im_min (sizeof head, im_file_size (image->file));
  g_autofree uint8_t *area = NULL;
  size_t len;

  if (!im_file_pread (image->file, head, head_len, 0, error) ||
      !qcow2_header_decode (head, head_len, &image->header, error))
    return false;
  len = im_min (UINT64_C (1) << image->header.cluster_bits, im_file_size (image->file));
  area = g_malloc (len);
  if (!im_file_pread (image->file, area, len, 0, error))
    return false;
  *ret_area = g_steal_pointer (&area);
  *ret_len = len;
  return true;
}

/* Reads, decodes and checks all that lies in the first cluster. */
static bool
load_header (Qcow2Image *image, GError **error)
{
  const Qcow2Header *h = &image->header;
  g_autofree uint8_t *area = NULL;
  g_autoptr (GError) local = NULL;
  bool extensions_hold;
  size_t len = 0;

  if (!read_header (image, &area, &len, error))
    return false;
  extensions_hold = qcow2_extensions_decode (h, area, len, &image->extensions, &local);
  /* An unknown feature may be the very reason why the extensions make no sense. */
  if (!qcow2_features_check (h, &image->extensions, error))
    return false;
  if (!extensions_hold) {
    g_propagate_error (error, g_steal_pointer (&local));
    return false;
  }
  return qcow2_header_check (h, im_file_size (image->file), error) &&
         qcow2_backing_name_decode (h, area, len, &image->backing_name, error);
}

static bool
choose_codec (Qcow2Image *image, GError **error)
{
  if (image->header.compression == QCOW2_COMPRESSION_ZSTD)
    image->codec = im_codec_zstd ();
  else
    image->codec = &im_codec_deflate;
  if (!image->codec)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "header: compression type 1 (zstd): this build lacks zstd");
  return image->codec != NULL;
}

/* The size of the disk as it is shown, and how much L1 table belongs to it. */
static bool
find_l1 (Qcow2Image *image, uint64_t *ret_size, GError **error)
{
  const Qcow2Header *h = &image->header;
  const Qcow2Snapshot *s = image->snapshot;
  uint64_t size = s && s->has_size ? s->size : h->size;
  uint64_t entries = s ? s->l1_entries : h->l1_entries;
  uint64_t covered = size;

  /* An old snapshot of a disk that grew since: it holds nothing of what was added. */
  if (s && !s->has_size)
    covered = im_min (size, MIN (entries, QCOW2_MAX_L1_BYTES / 8) << qcow2_l1_shift (h));
  image->l1_offset = s ? s->l1_offset : h->l1_offset;
  *ret_size = size;
  return qcow2_l1_check (h, s ? "snapshot: L1 table" : "header: L1 table",
                         image->l1_offset, entries, covered, im_file_size (image->file),
                         &image->l1_entries, error);
}

static bool
load_l1 (Qcow2Image *image, GError **error)
{
  size_t bytes = (size_t)image->l1_entries * 8;
  g_autofree uint8_t *piece = g_malloc (L1_PIECE);

  if (bytes == 0)
    return true;
  image->l1 = g_try_malloc (bytes);
  if (!image->l1) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "no memory for an L1 table of %zu bytes", bytes);
    return false;
  }
  for (size_t done = 0; done < bytes; done += L1_PIECE) {
    size_t now = im_min (L1_PIECE, bytes - done);

    if (!im_file_pread (image->file, piece, now, image->l1_offset + done, error))
      return false;
    for (size_t i = 0; i < now / 8; i++)
      atomic_init (&image->l1[done / 8 + i], im_get_be64 (piece + i * 8));
  }
  return true;
}

static bool
open_data_file (Qcow2Image *image, const ImOpenContext *context, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autofree char *name = NULL;
  const char *stored = image->extensions.data_file;

  if (!(image->header.incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)) {
    image->data = im_file_ref (image->file);
    return true;
  }
  if (!stored) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "header: an external data file, but no extension with its name");
    return false;
  }
  name = qcow2_name_resolve ("data file", stored, error);
  if (!name)
    return false;
  image->data = context->open_file (context, image->file, name, &local);
  if (local)
    g_propagate_error (error, g_steal_pointer (&local));
  else if (!image->data)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "data file \"%s\": other files are not to be opened", name);
  return image->data != NULL;
}

static bool
open_parent (const Qcow2Image *image, const ImOpenContext *context, ImBlock **ret_parent,
             GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autofree char *name = NULL;

  *ret_parent = NULL;
  if (!image->backing_name)
    return true;
  name = qcow2_name_resolve ("backing file", image->backing_name, error);
  if (!name)
    return false;
  *ret_parent = context->open_parent (context, image->file, name,
                                      image->extensions.backing_format, &local);
  if (local) {
    g_propagate_error (error, g_steal_pointer (&local));
    return false;
  }
  return true;
}

/* Makes the image writable where its file is and the image can be. */
static bool
open_writer (Qcow2Image *image, GError **error)
{
  if (!im_file_is_writable (image->file))
    return true;
  image->block.read_only_because = qcow2_unwritable (image);
  if (image->block.read_only_because)
    return true;
  image->block.writable = true;
  return qcow2_writer_open (image, error);
}

static ImBlock *
qcow2_open (ImFile *file, const ImOpenContext *context, GError **error)
{
  g_autoptr (Qcow2Image) image = g_new0 (Qcow2Image, 1);
  ImBlock *parent = NULL;
  uint64_t size = 0;

  image->file = im_file_ref (file);
  if (!load_header (image, error) || !choose_codec (image, error) ||
      !qcow2_snapshot_choose (file, &image->header, context, &image->snapshot, error) ||
      !find_l1 (image, &size, error) || !load_l1 (image, error) ||
      !qcow2_crypt_open (image, context, error) ||
      !open_data_file (image, context, error) ||
      !open_parent (image, context, &parent, error))
    return NULL;
  image->geometry =
      qcow2_geometry (&image->header, im_file_size (file), im_file_size (image->data));
  im_block_init (&image->block, &qcow2_ops, size, parent, context->shared);
  image->block.preferred = UINT32_C (1) << image->header.cluster_bits;
  image->block.encrypted = image->crypt != NULL;
  if (!open_writer (image, error)) {
    im_block_unref (parent);
    return NULL;
  }
  return &g_steal_pointer (&image)->block;
}

const ImFormat im_format_qcow2 = {
    .name = "qcow2",
    .description = "QEMU copy-on-write, versions 2 and 3",
    .probe = qcow2_probe,
    .open = qcow2_open,
    .create = qcow2_create,
    .writable = true,
    .has_snapshots = true,
};
