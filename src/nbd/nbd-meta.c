/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Metadata contexts and block status. */
#include "nbd/nbd-meta.h"
#include "base/bytes.h"
#include "base/error.h"

/* The most extents that one reply may have, by the protocol. */
#define EXTENTS_MAX (1u << 20)

/* How many extents are asked for at once. */
#define MAP_BATCH 64

#define DIRTY_BITMAP "qemu:dirty-bitmap:"
#define DIRTY        1u

/* Zeros are a hole, also those that an image marks as its own; not so zeros in a place
 * that the image has set aside: qemu-nbd draws the line there too. */
static uint32_t
allocation_status (const ImExtent *extent)
{
  if (extent->kind != IM_EXTENT_ZERO)
    return 0;
  return extent->placed ? IM_NBD_STATE_ZERO : IM_NBD_STATE_HOLE | IM_NBD_STATE_ZERO;
}

/* 0: no image of the chain holds it; 1: the first does, and so on. */
static uint32_t
allocation_depth (const ImExtent *extent)
{
  return extent->allocated ? extent->depth + 1 : 0;
}

static bool
add_bitmap (ImNbdContexts *contexts, const ImExportBitmap *from, GError **error)
{
  if (contexts->n == IM_NBD_CONTEXTS_MAX) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "bitmap \"%s\": base:allocation and all that --allocation-depth and "
                 "--bitmap ask for are more than %u contexts",
                 from->name, IM_NBD_CONTEXTS_MAX);
    return false;
  }
  g_autofree char *name = g_strconcat (DIRTY_BITMAP, from->name, NULL);
  if (strlen (name) > IM_NBD_STRING_MAX || !g_utf8_validate (name, -1, NULL)) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "bitmap \"%s\": the name is not valid UTF-8, or too long", from->name);
    return false;
  }
  contexts->items[contexts->n++] =
      (ImNbdContext){.name = g_steal_pointer (&name), .bitmap = from->bitmap};
  return true;
}

bool
im_nbd_contexts_init (ImNbdContexts *contexts, const ImExportSet *set, GError **error)
{
  *contexts = (ImNbdContexts){0};
  contexts->items[contexts->n++] = (ImNbdContext){.name = g_strdup ("base:allocation"),
                                                  .status = allocation_status,
                                                  .flags = IM_MAP_ZEROES};
  if (set->tells_depth)
    contexts->items[contexts->n++] = (ImNbdContext){
        .name = g_strdup ("qemu:allocation-depth"), .status = allocation_depth};
  for (guint i = 0; i < set->bitmaps->len; i++)
    if (!add_bitmap (contexts, g_ptr_array_index (set->bitmaps, i), error))
      return false;
  return true;
}

void
im_nbd_contexts_clear (ImNbdContexts *contexts)
{
  while (contexts->n > 0)
    g_free (contexts->items[--contexts->n].name);
}

uint32_t
im_nbd_contexts_all (const ImNbdContexts *contexts)
{
  return (uint32_t)((UINT64_C (1) << contexts->n) - 1);
}

/* Whether a client that lists contexts may mean several by QUERY. */
static bool
is_prefix (const char *query)
{
  const char *colon = strchr (query, ':');
  return (colon && colon[1] == '\0') || strcmp (query, DIRTY_BITMAP) == 0;
}

uint32_t
im_nbd_contexts_match (const ImNbdContexts *contexts, const char *query, bool listing)
{
  uint32_t mask = 0;
  for (uint32_t id = 0; id < contexts->n; id++) {
    const char *name = contexts->items[id].name;
    if (listing && is_prefix (query) ? g_str_has_prefix (name, query)
                                     : strcmp (name, query) == 0)
      mask |= 1u << id;
  }
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

/* Adds what a mapped block tells of LENGTH bytes at *OFFSET, which is moved on.  False in
 * *RET_MORE: the list is full. */
static bool
add_mapped (ExtentList *list, const ImNbdContext *context, ImBlock *block,
            uint64_t *offset, uint64_t length, bool *ret_more, GError **error)
{
  ImExtent extents[MAP_BATCH];
  size_t n;
  if (!im_block_map (block, *offset, length, context->flags, extents, MAP_BATCH, &n,
                     error))
    return false;
  for (size_t i = 0; i < n && *ret_more; i++) {
    *ret_more = add_extent (list, extents[i].length, context->status (&extents[i]));
    *offset += extents[i].length;
  }
  return true;
}

/* The same for a bitmap, in its own coordinates. */
static bool
add_runs (ExtentList *list, ImBitmap *bitmap, uint64_t *offset, uint64_t length,
          bool *ret_more, GError **error)
{
  ImBitmapRun runs[MAP_BATCH];
  size_t n;
  if (!im_bitmap_map (bitmap, *offset, length, runs, MAP_BATCH, &n, error))
    return false;
  for (size_t i = 0; i < n && *ret_more; i++) {
    *ret_more = add_extent (list, runs[i].length, runs[i].set ? DIRTY : 0);
    *offset += runs[i].length;
  }
  return true;
}

bool
im_nbd_extents (const ImNbdContext *context, ImBlock *block, uint64_t start,
                const ImNbdRequest *request, ImNbdMode mode, uint8_t *buf, size_t size,
                uint32_t *ret_n, GError **error)
{
  bool wide = mode == IM_NBD_MODE_EXTENDED;
  bool one = (request->flags & IM_NBD_CMD_FLAG_REQ_ONE) != 0;
  ExtentList list = {
      .buf = buf,
      .max = one ? 1 : (uint32_t)im_min (size / (wide ? 16 : 8), EXTENTS_MAX),
      .wide = wide,
  };
  uint64_t offset = request->offset + (context->bitmap ? start : 0);
  uint64_t end = offset + request->length;
  bool more = true, ok = true;
  while (ok && more && offset < end)
    ok = context->bitmap
             ? add_runs (&list, context->bitmap, &offset, end - offset, &more, error)
             : add_mapped (&list, context, block, &offset, end - offset, &more, error);
  if (list.length > 0)
    write_held_back (&list);
  *ret_n = list.n;
  return ok;
}
