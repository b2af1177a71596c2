/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Metadata contexts and block status. */
#include "nbd/nbd-meta.h"
#include "base/bytes.h"

/* The most extents that one reply may have, by the protocol. */
#define EXTENTS_MAX (1u << 20)

/* How many extents are asked for at once. */
#define MAP_BATCH 64

/* Zeros are a hole, also those that an image marks as its own; not so zeros in a place
 * that the image has set aside: qemu-nbd draws the line there too. */
static uint32_t
allocation_status (const ImExtent *extent)
{
  if (extent->kind != IM_EXTENT_ZERO)
    return 0;
  return extent->placed ? IM_NBD_STATE_ZERO : IM_NBD_STATE_HOLE | IM_NBD_STATE_ZERO;
}

const ImNbdContext im_nbd_contexts[IM_NBD_CONTEXTS] = {
    {"base:allocation", allocation_status},
};

static bool
context_matches (const char *name, const char *query, bool listing)
{
  size_t n = strlen (query);
  if (listing && n > 0 && query[n - 1] == ':' && strchr (query, ':') == query + n - 1)
    return strncmp (name, query, n) == 0;
  return strcmp (name, query) == 0;
}

uint32_t
im_nbd_contexts_match (uint32_t available, const char *query, bool listing)
{
  uint32_t mask = 0;
  for (uint32_t id = 0; id < IM_NBD_CONTEXTS; id++)
    if (available & 1u << id &&
        context_matches (im_nbd_contexts[id].name, query, listing))
      mask |= 1u << id;
  return mask;
}

/* Extents on their way into a buffer; the last is held back until it is known to end. */
typedef struct {
  uint8_t *buf;
  uint32_t n, max;
  bool wide;
  uint64_t length; /* of the one held back; 0: none */
  uint32_t status;
} ExtentList;

static void
write_held_back (ExtentList *list)
{
  if (list->wide) {
    im_put_be64 (list->buf + 16 * (size_t)list->n, list->length);
    im_put_be64 (list->buf + 16 * (size_t)list->n + 8, list->status);
  } else {
    im_put_be32 (list->buf + 8 * (size_t)list->n, (uint32_t)list->length);
    im_put_be32 (list->buf + 8 * (size_t)list->n + 4, list->status);
  }
  list->n++;
  list->length = 0;
}

/* False: the list is full, and this one did not go in. */
static bool
add_extent (ExtentList *list, uint64_t length, uint32_t status)
{
  if (list->length > 0 && list->status != status)
    write_held_back (list);
  if (list->n == list->max)
    return false;
  list->length += length;
  list->status = status;
  return true;
}

bool
im_nbd_extents (ImBlock *block, const ImNbdRequest *request, ImNbdMode mode, uint32_t id,
                uint8_t *buf, size_t size, uint32_t *ret_n, GError **error)
{
  bool wide = mode == IM_NBD_MODE_EXTENDED;
  bool one = (request->flags & IM_NBD_CMD_FLAG_REQ_ONE) != 0;
  ExtentList list = {
      .buf = buf,
      .max = one ? 1 : (uint32_t)im_min (size / (wide ? 16 : 8), EXTENTS_MAX),
      .wide = wide,
  };
  uint64_t offset = request->offset, left = request->length;
  bool more = true;
  while (more && left > 0) {
    ImExtent extents[MAP_BATCH];
    size_t n;
    if (!im_block_map (block, offset, left, IM_MAP_ZEROES, extents, MAP_BATCH, &n, error))
      return false;
    for (size_t i = 0; i < n && more; i++) {
      more =
          add_extent (&list, extents[i].length, im_nbd_contexts[id].status (&extents[i]));
      offset += extents[i].length;
      left -= extents[i].length;
    }
  }
  if (list.length > 0)
    write_held_back (&list);
  *ret_n = list.n;
  return true;
}
