/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a read does that has met damage: find out how far it reaches, and spare the rest.
 *
 *   DAMAGED ─► all of the extent
 *   CHUNK ───► the chunk: bytes that were decoded before it broke off prove nothing
 *   FILE ────► halves of what fails, down to a sector, or what direct I/O has as one
 *
 * Reads that succeed never come here. */
#include "block/salvage.h"
#include "base/bytes.h"
#include "base/error.h"

enum {
  EXTENTS = 32,
  MAPS_MAX = 64, /* to find out how far damage goes that was met */
  SECTOR = 512,
};

/* One such read. */
typedef struct {
  ImBlock *block;
  uint8_t *buf; /* the block's bytes from base on */
  uint64_t base;
  uint64_t at; /* up to here all is read, or filled */
  /* Damage that is not yet noted, since more of the same may follow; from == to: none. */
  uint64_t bad_from, bad_to;
  char *bad_reason;
} Salvage;

/* Notes [OFFSET, OFFSET + LENGTH) of the block, which may begin before it or end behind
 * it. */
static void
note (const Salvage *s, uint64_t offset, uint64_t length, const char *reason)
{
  if (s->block->damage)
    im_damage_add (s->block->damage, s->block->damage_start + offset, length, reason);
}

static void
note_pending (Salvage *s)
{
  if (s->bad_to > s->bad_from)
    note (s, s->bad_from, s->bad_to - s->bad_from, s->bad_reason);
  s->bad_from = s->bad_to = 0;
  g_clear_pointer (&s->bad_reason, g_free);
}

/* The reason, and in which image of the chain.  Caller frees. */
static char *
reason_of (const ImExtent *extent, const GError *failure)
{
  return extent->depth == 0
             ? g_strdup (failure->message)
             : g_strdup_printf ("parent %u: %s", extent->depth, failure->message);
}

/* The medium did not give EXTENT, a piece of another. */
static void
note_unreadable (Salvage *s, const ImExtent *extent, const GError *failure)
{
  if (s->bad_to != extent->offset || s->bad_to == s->bad_from) {
    note_pending (s);
    s->bad_from = extent->offset;
    s->bad_reason = reason_of (extent, failure);
  }
  s->bad_to = extent->offset + extent->length;
}

/* Are both of one bad entry, or of one chunk? */
static bool
is_same (const ImExtent *a, const ImExtent *b)
{
  if (a->kind != b->kind || a->depth != b->depth)
    return false;
  return a->kind == IM_EXTENT_CHUNK
             ? a->chunk.file == b->chunk.file && a->chunk.at == b->chunk.at
             : a->at == b->at && a->entry == b->entry;
}

/* Notes what [OFFSET, END) of the block has of the same entry or chunk as EXTENT, of
 * which the read may have asked for a part; bounded, since what goes on and on is noted
 * as it is read. */
static void
note_all_of (const Salvage *s, const ImExtent *extent, uint64_t offset, uint64_t end,
             const char *reason)
{
  ImExtent found[EXTENTS];
  size_t n;
  bool beyond = false, noted = false;
  for (unsigned i = 0; i < MAPS_MAX && offset < end && !beyond; i++) {
    if (!im_block_map (s->block, offset, end - offset, IM_MAP_WHERE, found, EXTENTS, &n,
                       NULL))
      break;
    for (size_t k = 0; k < n; k++) {
      bool same = is_same (&found[k], extent);
      noted |= same;
      if (same)
        note (s, found[k].offset, found[k].length, reason);
      beyond = !same && found[k].offset >= extent->offset + extent->length;
      offset = found[k].offset + found[k].length;
    }
  }
  if (!noted)
    note (s, extent->offset, extent->length, reason);
}

/* All that EXTENT's entry or chunk stands for is lost. */
static void
note_lost (Salvage *s, const ImExtent *extent, const GError *failure)
{
  g_autofree char *reason = reason_of (extent, failure);
  note_pending (s);
  if (extent->kind == IM_EXTENT_CHUNK) {
    uint64_t start = extent->offset - im_min (extent->within, extent->offset);
    uint64_t length = im_min (extent->chunk.plain, s->block->size - start);
    note_all_of (s, extent, start, start + length, reason);
  } else {
    /* Entries stand for clusters, at least. */
    uint64_t before = im_min (extent->offset, s->block->preferred);
    note_all_of (s, extent, extent->offset - before, s->block->size, reason);
  }
}

/* True where the read goes on behind EXTENT, which FAILURE says is bad. */
static bool
pass_over (Salvage *s, const ImExtent *extent, GError *failure, GError **error)
{
  if (!s->block->fills_damage) {
    g_propagate_error (error, failure);
    return false;
  }
  g_error_free (failure);
  memset (s->buf + (extent->offset - s->base), 0, extent->length);
  s->at = extent->offset + extent->length;
  return true;
}

/* LENGTH bytes of the FILE extent EXTENT, from its byte SKIP on. */
static ImExtent
part_of (const ImExtent *extent, uint64_t skip, uint64_t length)
{
  ImExtent part = *extent;
  part.offset += skip;
  part.at += skip;
  part.crypt_at += skip;
  part.length = length;
  return part;
}

/* How much of EXTENT is its first half, in whole units of the medium; 0: it lies within
 * one. */
static uint64_t
half_of (const ImExtent *extent)
{
  uint64_t unit = im_max (SECTOR, im_file_unit (extent->file));
  uint64_t first = extent->at / unit, last = (extent->at + extent->length - 1) / unit;
  return first == last ? 0 : (first + (last - first + 1) / 2) * unit - extent->at;
}

/* Reads all of EXTENT.  False: it is damaged, and *RET_DAMAGE says how, or ERROR is set.
 */
static bool
try_extent (Salvage *s, const ImExtent *extent, GError **ret_damage, GError **error)
{
  g_autoptr (GError) failure = NULL;
  if (im_read_extent (s->block, extent, s->buf + (extent->offset - s->base), &failure)) {
    s->at = extent->offset + extent->length;
    return true;
  }
  if (im_error_is_damage (failure))
    *ret_damage = g_steal_pointer (&failure);
  else
    g_propagate_error (error, g_steal_pointer (&failure));
  return false;
}

static bool
read_file (Salvage *s, const ImExtent *extent, GError **error)
{
  GError *failure = NULL;
  if (try_extent (s, extent, &failure, error))
    return true;
  if (!failure)
    return false;
  uint64_t half = half_of (extent);
  if (half == 0) {
    note_unreadable (s, extent, failure);
    return pass_over (s, extent, failure, error);
  }
  g_error_free (failure);
  ImExtent first = part_of (extent, 0, half);
  ImExtent second = part_of (extent, half, extent->length - half);
  return read_file (s, &first, error) && read_file (s, &second, error);
}

static bool
read_extent (Salvage *s, const ImExtent *extent, GError **error)
{
  GError *failure = NULL;
  if (extent->kind == IM_EXTENT_FILE)
    return read_file (s, extent, error);
  if (try_extent (s, extent, &failure, error))
    return true;
  if (!failure)
    return false;
  note_lost (s, extent, failure);
  return pass_over (s, extent, failure, error);
}

static bool
read_all (Salvage *s, uint64_t end, GError **error)
{
  while (s->at < end) {
    ImExtent extents[EXTENTS];
    size_t n;
    if (!im_block_map (s->block, s->at, end - s->at, IM_MAP_WHERE, extents, EXTENTS, &n,
                       error))
      return false;
    for (size_t i = 0; i < n; i++)
      if (!read_extent (s, &extents[i], error))
        return false;
  }
  return true;
}

bool
im_salvage_read (ImBlock *block, uint8_t *buf, size_t len, uint64_t offset,
                 size_t *ret_done, GError **error)
{
  Salvage s = {.block = block, .buf = buf, .base = offset, .at = offset};
  bool ok = read_all (&s, offset + len, error);
  note_pending (&s);
  *ret_done = (size_t)(s.at - offset);
  return ok;
}
