/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: the beginning of a new image, as bytes. */
#include "base/bytes.h"
#include "base/error.h"
#include "formats/qcow2/qcow2-layout.h"

/* Where the next field goes; what goes beyond the end only sets overrun. */
typedef struct {
  uint8_t *area;
  size_t len, at;
  bool overrun;
} Output;

/* Room for N bytes, zeroed; NULL where they do not fit. */
static uint8_t *
take_room (Output *out, size_t n)
{
  if (out->overrun || n > out->len - out->at) {
    out->overrun = true;
    return NULL;
  }
  out->at += n;
  return memset (out->area + (out->at - n), 0, n);
}

static void
put_32 (Output *out, uint32_t value)
{
  uint8_t *to = take_room (out, 4);

  if (to)
    im_put_be32 (to, value);
}

static void
put_64 (Output *out, uint64_t value)
{
  uint8_t *to = take_room (out, 8);

  if (to)
    im_put_be64 (to, value);
}

static void
put_bytes (Output *out, const void *bytes, size_t len, size_t room)
{
  uint8_t *to = take_room (out, room);

  if (to)
    memcpy (to, bytes, len);
}

static void
put_header (Output *out, const Qcow2Header *h)
{
  size_t start = out->at;

  put_32 (out, QCOW2_MAGIC);
  put_32 (out, h->version);
  put_64 (out, h->backing_offset);
  put_32 (out, h->backing_length);
  put_32 (out, h->cluster_bits);
  put_64 (out, h->size);
  put_32 (out, h->crypt_method);
  put_32 (out, h->l1_entries);
  put_64 (out, h->l1_offset);
  put_64 (out, h->refcount_offset);
  put_32 (out, h->refcount_clusters);
  put_32 (out, h->snapshot_count);
  put_64 (out, h->snapshot_offset);
  put_64 (out, h->incompatible);
  put_64 (out, h->compatible);
  put_64 (out, h->autoclear);
  put_32 (out, h->refcount_order);
  put_32 (out, h->header_length);
  /* The compression type, and padding. */
  put_bytes (out, (uint8_t[]){(uint8_t)h->compression}, 1,
             h->header_length - (out->at - start));
}

static void
put_extension (Output *out, uint32_t type, const char *text)
{
  size_t len = strlen (text);

  put_32 (out, type);
  put_32 (out, (uint32_t)len);
  put_bytes (out, text, len, (len + 7) / 8 * 8);
}

bool
qcow2_head_encode (Qcow2Header *header, const char *backing_name,
                   const char *backing_format, uint8_t *area, size_t area_len,
                   size_t *ret_len, GError **error)
{
  Output out = {.area = area, .len = area_len};
  size_t name_len = strlen (backing_name), format_len = strlen (backing_format);

  if (name_len > QCOW2_MAX_BACKING_NAME || format_len > QCOW2_MAX_FORMAT_NAME) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "the backing file's name of %zu bytes is longer than the limit of %u",
                 name_len, QCOW2_MAX_BACKING_NAME);
    return false;
  }
  header->version = 3;
  header->header_length = QCOW2_HEADER_MAX;
  header->backing_offset = header->header_length + 8 + (format_len + 7) / 8 * 8 + 8;
  header->backing_length = (uint32_t)name_len;
  put_header (&out, header);
  put_extension (&out, QCOW2_EXTENSION_BACKING_FORMAT, backing_format);
  put_extension (&out, QCOW2_EXTENSION_END, "");
  put_bytes (&out, backing_name, name_len, name_len);
  if (out.overrun)
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "the header does not fit into %zu bytes", area_len);
  *ret_len = out.at;
  return !out.overrun;
}
