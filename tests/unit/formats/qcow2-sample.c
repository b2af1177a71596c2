/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The good qcow2 image of the unit tests. */
#include "qcow2-sample.h"
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-layout.h"
#include "formats/qcow2/qcow2.h"
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

static void
fill_header (uint8_t *image)
{
  im_put_be32 (image, QCOW2_MAGIC);
  im_put_be32 (image + 4, 3);
  im_put_be32 (image + 20, 9);
  im_put_be64 (image + 24, SAMPLE_DISK);
  im_put_be32 (image + 36, SAMPLE_DISK / 32768);
  im_put_be64 (image + 40, SAMPLE_AT (3));
  im_put_be64 (image + 48, SAMPLE_AT (1));
  im_put_be32 (image + 56, 1);
  im_put_be32 (image + 60, 1);
  im_put_be64 (image + 64, SAMPLE_AT (9));
  im_put_be32 (image + 96, 4);
  im_put_be32 (image + 100, 104);
}

/* Raw deflate of a cluster of 'z', at byte 3 of cluster 7. */
static void
fill_compressed (uint8_t *image)
{
  uint8_t plain[SAMPLE_CLUSTER];
  z_stream z = {0};

  memset (plain, 'z', sizeof plain);
  g_assert_cmpint (deflateInit2 (&z, 6, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY), ==,
                   Z_OK);
  z.next_in = plain;
  z.avail_in = sizeof plain;
  z.next_out = image + SAMPLE_AT (7) + 3;
  z.avail_out = SAMPLE_CLUSTER - 3;
  g_assert_cmpint (deflate (&z, Z_FINISH), ==, Z_STREAM_END);
  deflateEnd (&z);
}

static void
fill_tables (uint8_t *image)
{
  const uint64_t copied = UINT64_C (1) << 63, compressed = UINT64_C (1) << 62;

  im_put_be64 (image + SAMPLE_AT (1), SAMPLE_AT (2));
  for (unsigned i = 0; i < SAMPLE_CLUSTERS; i++)
    im_put_be16 (image + SAMPLE_AT (2) + i * 2, 1);
  im_put_be64 (image + SAMPLE_AT (3), SAMPLE_AT (4) | copied);
  im_put_be64 (image + SAMPLE_L2 (0), SAMPLE_AT (5) | copied);
  im_put_be64 (image + SAMPLE_L2 (1), SAMPLE_AT (6) | copied);
  im_put_be64 (image + SAMPLE_L2 (2), 1);
  im_put_be64 (image + SAMPLE_L2 (4), (SAMPLE_AT (7) + 3) | compressed);
  im_put_be64 (image + SAMPLE_L2 (5), SAMPLE_AT (8) | copied);
  memset (image + SAMPLE_AT (5), 'a', SAMPLE_CLUSTER);
  memset (image + SAMPLE_AT (6), 'b', SAMPLE_CLUSTER);
  memset (image + SAMPLE_AT (8), 'c', SAMPLE_CLUSTER);
  fill_compressed (image);
}

/* One snapshot, id "1", named "first", of a disk of 64 KiB, at 2001-09-09T01:46:40Z. */
static void
fill_snapshot (uint8_t *image)
{
  uint8_t *s = image + SAMPLE_AT (9);

  im_put_be64 (s, SAMPLE_AT (10));
  im_put_be32 (s + 8, 2);
  im_put_be16 (s + 12, 1);
  im_put_be16 (s + 14, 5);
  im_put_be32 (s + 16, 1000000000);
  im_put_be32 (s + 36, 16);
  im_put_be64 (s + 48, 65536);
  memcpy (s + 56, "1first", 6);
}

/* One bitmap, "dirty", granularity 64 KiB, automatic. */
static void
fill_bitmap (uint8_t *image)
{
  uint8_t *b = image + SAMPLE_AT (11);
  uint8_t extension[24] = {0};

  im_put_be32 (b + 12, QCOW2_BITMAP_AUTO);
  b[16] = 1;
  b[17] = 16;
  im_put_be16 (b + 18, 5);
  memcpy (b + 24, "dirty", 5);
  im_put_be32 (extension, 1);
  im_put_be64 (extension + 8, 32);
  im_put_be64 (extension + 16, SAMPLE_AT (11));
  sample_add_extension (image, 0x23852875, extension, sizeof extension);
  im_put_be64 (image + 88, QCOW2_AUTOCLEAR_BITMAPS);
}

uint8_t *
sample_new (void)
{
  uint8_t *image = g_malloc0 (SAMPLE_SIZE);

  fill_header (image);
  fill_tables (image);
  fill_snapshot (image);
  fill_bitmap (image);
  return image;
}

void
sample_add_extension (uint8_t *image, uint32_t type, const void *data, uint32_t len)
{
  uint8_t *at = image + im_get_be32 (image + 100);

  while (im_get_be32 (at) != 0)
    at += 8 + (im_get_be32 (at + 4) + 7) / 8 * 8;
  g_assert_cmpuint (at + 8 + len - image, <=, SAMPLE_BACKING);
  im_put_be32 (at, type);
  im_put_be32 (at + 4, len);
  memcpy (at + 8, data, len);
}

void
sample_set_backing (uint8_t *image, const char *name)
{
  g_assert_cmpuint (strlen (name), <=, SAMPLE_CLUSTER - SAMPLE_BACKING);
  memcpy (image + SAMPLE_BACKING, name, strlen (name));
  im_put_be64 (image + 8, SAMPLE_BACKING);
  im_put_be32 (image + 16, (uint32_t)strlen (name));
}

ImFile *
sample_file (const uint8_t *bytes, size_t len, size_t size)
{
  g_autoptr (GError) error = NULL;
  int fd = memfd_create ("sample", MFD_CLOEXEC);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
  ImFile *file;

  g_assert_cmpint (write (fd, bytes, len), ==, (gssize)len);
  g_assert_cmpint (ftruncate (fd, (off_t)size), ==, 0);
  file = im_file_open_read_only (path, &error);
  g_assert_no_error (error);
  close (fd);
  return file;
}

/* Notes the name and, as with --backing=none, opens nothing. */
static ImBlock *
record_parent (const ImOpenContext *context, ImFile *from, const char *name,
               const char *format, GError **error)
{
  Opened *opened = (Opened *)context;

  opened->parent_name = g_strdup (name);
  opened->parent_format = g_strdup (format);
  return NULL;
}

static ImFile *
record_file (const ImOpenContext *context, ImFile *from, const char *name, GError **error)
{
  Opened *opened = (Opened *)context;

  opened->file_name = g_strdup (name);
  return opened->other ? sample_file (opened->other, opened->other_len, opened->other_len)
                       : NULL;
}

void
sample_open (Opened *opened, const uint8_t *bytes, size_t len)
{
  sample_open_file (opened, sample_file (bytes, len, len));
}

void
sample_open_file (Opened *opened, ImFile *file)
{
  opened->shared.tables = im_table_cache_new (1 << 20);
  opened->shared.chunks = im_chunk_engine_new (1 << 20, NULL);
  opened->context.shared = &opened->shared;
  opened->context.open_parent = record_parent;
  opened->context.open_file = record_file;
  opened->file = file;
  opened->block = im_format_qcow2.open (opened->file, &opened->context, &opened->error);
  g_assert_true ((opened->block == NULL) == (opened->error != NULL));
}

void
sample_close (Opened *opened)
{
  g_clear_pointer (&opened->block, im_block_unref);
  g_clear_pointer (&opened->file, im_file_unref);
  g_clear_pointer (&opened->shared.chunks, im_chunk_engine_free);
  g_clear_pointer (&opened->shared.tables, im_table_cache_free);
  g_clear_error (&opened->error);
  g_clear_pointer (&opened->parent_name, g_free);
  g_clear_pointer (&opened->parent_format, g_free);
  g_clear_pointer (&opened->file_name, g_free);
}

void
sample_assert_refused (const uint8_t *image, gint code, const char *part)
{
  g_auto (Opened) opened = {0};

  sample_open (&opened, image, SAMPLE_SIZE);
  g_assert_error (opened.error, IM_ERROR, code);
  if (!strstr (opened.error->message, part))
    g_error ("\"%s\" does not say \"%s\"", opened.error->message, part);
}
