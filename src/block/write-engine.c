/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing to formats that allocate. */
#include "block/write-engine.h"
#include "base/bytes.h"
#include "base/error.h"
#include "block/crypt-io.h"
#include "block/operation.h"

#include <errno.h>

enum {
  EXTENTS = 16,
  COMPOSED = 1 << 20, /* bytes of an encrypted reservation put together at a time */
};

/* Writes all of EXTENT, which is the image's own. */
static bool
write_extent (ImBlock *block, const ImExtent *e, const uint8_t *buf, GError **error)
{
  ImCryptPlace place = {e->crypt, e->crypt_at, e->file, e->at};
  /* The file's end may cut its last cluster short. */
  if (!im_file_extend (e->file, e->at + e->length, error))
    return false;
  return e->crypt
             ? im_crypt_pwrite (&place, buf, e->length, false, block->shared->pool, error)
             : im_file_pwrite (e->file, buf, e->length, e->at, false, error);
}

/* Writes the extents that are the image's own, from the first on, and returns how many
 * bytes that were; fewer than LEN where another kind follows.  -1 on failure.  A claim
 * keeps the mapping as it is, so no operation is needed around the transfers. */
static ssize_t
write_own (ImBlock *block, const uint8_t *buf, size_t len, uint64_t offset,
           GError **error)
{
  ImExtent extents[EXTENTS];
  size_t done = 0;
  while (done < len) {
    size_t n;
    if (!im_block_map (block, offset + done, len - done, IM_MAP_WHERE, extents, EXTENTS,
                       &n, error))
      return -1;
    for (size_t i = 0; i < n; i++) {
      const ImExtent *e = &extents[i];
      /* Parts of encrypted sectors want the sector, and so its unit, for themselves. */
      if (e->kind != IM_EXTENT_FILE || e->depth != 0 || !e->own ||
          (e->crypt && !im_crypt_is_whole (e->crypt_at, e->length)))
        return (ssize_t)done;
      if (!write_extent (block, e, buf + done, error))
        return -1;
      done += e->length;
    }
  }
  return (ssize_t)done;
}

/* Are the disk's bytes there all zero, by the tables? */
static bool
maps_to_zeros (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags)
{
  ImExtent extents[EXTENTS];
  size_t n;
  uint64_t at = offset, end = im_min (offset + length, block->size);
  while (at < end) {
    if (!im_block_map (block, at, end - at, flags, extents, EXTENTS, &n, NULL))
      return false;
    for (size_t i = 0; i < n; i++)
      if (extents[i].kind != IM_EXTENT_ZERO)
        return false;
    at = extents[n - 1].offset + extents[n - 1].length;
  }
  return true;
}

/* LEN bytes of the disk as it was, zeros behind its end; newly allocated. */
static uint8_t *
read_old (ImBlock *block, uint64_t offset, uint64_t len, GError **error)
{
  g_autofree uint8_t *bytes = g_try_malloc (len);
  if (!bytes) {
    im_set_errno (error, ENOMEM, "%" G_GUINT64_FORMAT " bytes to copy", len);
    return NULL;
  }
  uint64_t inside = offset < block->size ? im_min (len, block->size - offset) : 0;
  memset (bytes + inside, 0, len - inside);
  if (inside > 0 && !im_block_pread (block, bytes, inside, offset, error))
    return NULL;
  return g_steal_pointer (&bytes);
}

/* Adds [OFFSET, OFFSET + LEN) of the old disk to IOV, unless the file has its zeros
 * already.  The caller frees *ret_bytes. */
static bool
carry_over (ImBlock *block, const ImReservation *r, uint64_t offset, uint64_t len,
            struct iovec *iov, size_t *n, uint8_t **ret_bytes, GError **error)
{
  if (len == 0 || (r->zeroed && maps_to_zeros (block, offset, len, IM_MAP_WHERE)))
    return true;
  *ret_bytes = read_old (block, offset, len, error);
  if (!*ret_bytes)
    return false;
  iov[(*n)++] = (struct iovec){.iov_base = *ret_bytes, .iov_len = len};
  return true;
}

/* Fills OUT with [AT, AT + N) of the disk as it is to be: LEN bytes of BUF at OFFSET, and
 * around them what was there, zeros behind the end. */
static bool
compose (ImBlock *block, const uint8_t *buf, size_t len, uint64_t offset, uint8_t *out,
         uint64_t at, size_t n, GError **error)
{
  uint64_t from = im_max (at, offset), to = im_min (at + n, offset + len);
  memset (out, 0, n);
  if (from >= to)
    from = to = at + n;
  else
    memcpy (out + (from - at), buf + (from - offset), to - from);
  uint64_t old_end = im_max (im_min (at + n, block->size), to);
  uint64_t head_end = im_min (from, im_max (block->size, at));
  return (head_end == at || im_block_pread (block, out, head_end - at, at, error)) &&
         (old_end == to ||
          im_block_pread (block, out + (to - at), old_end - to, to, error));
}

/* The whole reservation, encrypted: neither what the file has there nor zeros would read
 * as what was there. */
static bool
fill_encrypted (ImBlock *block, const ImReservation *r, const uint8_t *buf, size_t len,
                uint64_t offset, GError **error)
{
  size_t room = (size_t)im_min (r->length, COMPOSED);
  g_autofree uint8_t *plain = g_try_malloc (room);
  if (!plain) {
    im_set_errno (error, ENOMEM, "%zu bytes to encrypt", room);
    return false;
  }
  for (uint64_t done = 0; done < r->length; done += room) {
    size_t now = (size_t)im_min (room, r->length - done);
    uint64_t at = r->guest + done;
    bool all_new = at >= offset && at + now <= offset + len;
    ImCryptPlace place = {r->crypt, r->crypt_at + done, r->file, r->at + done};
    if (!all_new && !compose (block, buf, len, offset, plain, at, now, error))
      return false;
    if (!im_crypt_pwrite (&place, all_new ? buf + (at - offset) : plain, now, false,
                          block->shared->pool, error))
      return false;
  }
  im_file_filled (r->file, r->at, r->length, block->shared->pool);
  return true;
}

/* Head, data and tail in one transfer. */
static bool
fill (ImBlock *block, const ImReservation *r, const uint8_t *buf, size_t len,
      uint64_t offset, GError **error)
{
  g_autofree uint8_t *head = NULL, *tail = NULL;
  struct iovec iov[3];
  size_t n = 0;
  uint64_t end = offset + len;
  if (!carry_over (block, r, r->guest, offset - r->guest, iov, &n, &head, error))
    return false;
  uint64_t start = n > 0 ? r->guest : offset;
  iov[n++] = (struct iovec){.iov_base = (void *)buf, .iov_len = len};
  if (!carry_over (block, r, end, r->guest + r->length - end, iov, &n, &tail, error) ||
      !im_file_pwritev (r->file, iov, n, r->at + (start - r->guest), false, error))
    return false;
  /* What was filled in part will be written to again, and go to the disk then. */
  if (start == r->guest && (tail || end == r->guest + r->length))
    im_file_filled (r->file, r->at, r->length, block->shared->pool);
  return true;
}

/* What is there already. */
static bool
overwrite (ImBlock *block, const ImReservation *r, const uint8_t *buf, size_t len,
           uint64_t offset, GError **error)
{
  uint64_t within = offset - r->guest;
  ImCryptPlace place = {r->crypt, r->crypt_at + within, r->file, r->at + within};
  return r->crypt ? im_crypt_pwrite (&place, buf, len, false, block->shared->pool, error)
                  : im_file_pwrite (r->file, buf, len, place.at, false, error);
}

/* One reservation's worth; how many bytes were written, -1 on failure. */
static ssize_t
write_step (ImBlock *block, const ImWriteFormat *format, const uint8_t *buf, size_t len,
            uint64_t offset, GError **error)
{
  uint64_t piece = format->piece, guest = offset / piece * piece;
  uint64_t end = im_div_up (offset + len, piece) * piece;
  ImReservation r = {0};
  if (!format->reserve (block, guest, end - guest, &r, error))
    return -1;
  size_t now = (size_t)im_min (len, r.guest + r.length - offset);
  bool ok = r.own     ? overwrite (block, &r, buf, now, offset, error)
            : r.crypt ? fill_encrypted (block, &r, buf, now, offset, error)
                      : fill (block, &r, buf, now, offset, error);
  if (ok && !r.own)
    ok = format->link (block, &r, error);
  if (!ok && !r.own)
    format->cancel (block, &r);
  return ok ? (ssize_t)now : -1;
}

bool
im_engine_write_claimed (ImBlock *block, const ImWriteFormat *format, const void *buf,
                         size_t len, uint64_t offset, GError **error)
{
  const uint8_t *from = buf;
  for (size_t done = 0; done < len;) {
    ssize_t now =
        write_step (block, format, from + done, len - done, offset + done, error);
    if (now < 0)
      return false;
    done += (size_t)now;
  }
  return true;
}

bool
im_engine_write (ImBlock *block, const ImWriteFormat *format, ImClaims *claims,
                 const void *buf, size_t len, uint64_t offset, GError **error)
{
  ImClaim claim;
  uint64_t first = offset / format->unit, last = (offset + len - 1) / format->unit;
  im_claim_take (claims, &claim, first, last, false);
  ssize_t own = write_own (block, buf, len, offset, error);
  im_claim_drop (claims, &claim);
  if (own < 0 || (size_t)own == len)
    return own >= 0;
  im_claim_take (claims, &claim, first, last, true);
  bool ok = im_engine_write_claimed (block, format, (const uint8_t *)buf + own,
                                     len - (size_t)own, offset + (uint64_t)own, error);
  im_claim_drop (claims, &claim);
  return ok;
}

/* Overwrites what is this image's own, in one piece. */
static bool
overwrite_nowait (ImBlock *block, const uint8_t *buf, size_t len, uint64_t offset)
{
  ImExtent e;
  size_t n;
  return im_block_map (block, offset, len, IM_MAP_NOWAIT, &e, 1, &n, NULL) &&
         e.kind == IM_EXTENT_FILE && e.depth == 0 && e.own && !e.crypt &&
         e.length == len && im_range_fits (e.at, len, im_file_size (e.file)) &&
         im_file_pwrite_nowait (e.file, buf, len, e.at);
}

/* Allocates where nothing has to be read for it. */
static bool
allocate_nowait (ImBlock *block, const ImWriteFormat *format, const uint8_t *buf,
                 size_t len, uint64_t offset)
{
  uint64_t unit = format->unit, guest = offset / unit * unit;
  uint64_t length = im_div_up (offset + len, unit) * unit - guest;
  return format->is_warm && format->is_warm (block, guest, length) &&
         maps_to_zeros (block, guest, length, IM_MAP_NOWAIT) &&
         im_engine_write_claimed (block, format, buf, len, offset, NULL);
}

bool
im_engine_write_nowait (ImBlock *block, const ImWriteFormat *format, ImClaims *claims,
                        const void *buf, size_t len, uint64_t offset)
{
  ImClaim claim;
  uint64_t first = offset / format->unit, last = (offset + len - 1) / format->unit;
  if (!im_claim_try (claims, &claim, first, last, false))
    return false;
  bool done = overwrite_nowait (block, buf, len, offset);
  im_claim_drop (claims, &claim);
  if (done || !im_claim_try (claims, &claim, first, last, true))
    return done;
  done = allocate_nowait (block, format, buf, len, offset);
  im_claim_drop (claims, &claim);
  return done;
}
