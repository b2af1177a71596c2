/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The core of a block: the contract of map, chains of parents, and lifetimes. */
#include "block/block.h"
#include "base/bytes.h"
#include "base/error.h"
#include "block/check.h"
#include "block/claims.h"
#include "block/operation.h"
#include "block/read-ahead.h"

void
im_block_init (ImBlock *block, const ImBlockOps *ops, uint64_t size, ImBlock *parent,
               const ImResources *shared)
{
  block->ops = ops;
  block->size = size;
  block->preferred = 4096;
  block->writable = false;
  block->encrypted = false;
  block->read_only_because = NULL;
  block->damage = NULL;
  block->damage_start = 0;
  block->fills_damage = false;
  block->policy = (ImWritePolicy){0};
  block->guard = NULL;
  block->guard_claims = NULL;
  block->parent = parent;
  block->shared = shared;
  block->file = NULL;
  atomic_init (&block->references, 1);
  atomic_init (&block->read_ahead, NULL);
}

void
im_block_set_file (ImBlock *block, ImFile *file)
{
  block->file = im_file_ref (file);
}

void
im_block_note_damage (ImBlock *block, ImDamage *damage)
{
  block->damage = damage;
}

void
im_block_set_guard (ImBlock *block, const ImWriteGuard *guard)
{
  block->guard = guard;
  block->guard_claims = im_claims_new ();
}

ImBlock *
im_block_ref (ImBlock *block)
{
  atomic_fetch_add (&block->references, 1);
  return block;
}

void
im_block_unref (ImBlock *block)
{
  /* A loop, so that a long chain does not become a deep recursion. */
  while (block && atomic_fetch_sub (&block->references, 1) == 1) {
    ImBlock *parent = block->parent;
    ImFile *file = block->file;
    im_claims_free (block->guard_claims);
    im_read_ahead_free (atomic_load (&block->read_ahead));
    block->ops->free (block);
    im_file_unref (file);
    block = parent;
  }
}

bool
im_block_check_range (const ImBlock *block, uint64_t offset, uint64_t length,
                      GError **error)
{
  if (im_range_fits (offset, length, block->size))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_RANGE,
               "%" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT
               " are not inside the disk (%" G_GUINT64_FORMAT " bytes)",
               length, offset, block->size);
  return false;
}

/* Extents being put together for a caller. */
typedef struct {
  ImExtent *extents;
  size_t n, max;
} ExtentList;

/* Appends or merges; false when there is no room. */
static bool
push (ExtentList *list, const ImExtent *extent)
{
  if (list->n > 0 && im_extent_continues (&list->extents[list->n - 1], extent)) {
    list->extents[list->n - 1].length += extent->length;
    return true;
  }
  if (list->n == list->max)
    return false;
  list->extents[list->n++] = *extent;
  return true;
}

/* Pushes a FILE extent cut into data and holes of its file. */
static bool
push_runs (ExtentList *list, const ImExtent *extent)
{
  for (uint64_t done = 0, run; done < extent->length; done += run) {
    bool data;
    im_file_find_run (extent->file, extent->at + done, extent->length - done, &data,
                      &run);
    ImExtent part = *extent;
    part.offset += done;
    part.length = run;
    if (data)
      part.at += done;
    else
      part.kind = IM_EXTENT_ZERO;
    if (!push (list, &part))
      return false;
  }
  return true;
}

/* What a medium does not tell the driver: of one cluster, as of the next it may again. */
static ImExtent
unreadable_place (const ImBlock *block, uint64_t offset, uint64_t length)
{
  return (ImExtent){.offset = offset,
                    .length =
                        im_min (length, block->preferred - offset % block->preferred),
                    .kind = IM_EXTENT_DAMAGED,
                    .allocated = true,
                    .unread = true,
                    .reason = "where it is in the image cannot be read"};
}

/* The driver's answer, held against its contract. */
static bool
ask_driver (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
            ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  g_autoptr (GError) failure = NULL;
  if (!block->ops->map (block, offset, length, flags, extents, n, ret_n, &failure)) {
    if (!im_error_is_damage (failure)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return false;
    }
    extents[0] = unreadable_place (block, offset, length);
    *ret_n = 1;
  }
  uint64_t at = offset;
  bool sound = *ret_n >= 1 && *ret_n <= n;
  for (size_t i = 0; sound && i < *ret_n; i++) {
    sound = extents[i].offset == at && extents[i].length >= 1 &&
            im_range_fits (at - offset, extents[i].length, length);
    at += extents[i].length;
  }
  if (!sound)
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT,
                 "the %s driver's map of offset %" G_GUINT64_FORMAT " makes no sense",
                 block->ops->name, offset);
  return sound;
}

/* A walk down the chain for one range. */
typedef struct {
  ImMapFlags flags;
  ExtentList list;
} MapRequest;

static bool
wants_holes (const MapRequest *request, ImBlock *block, const ImExtent *extent)
{
  /* What lies in a hole beneath encrypted bytes does not read as zeros. */
  return (request->flags & IM_MAP_ZEROES) && extent->kind == IM_EXTENT_FILE &&
         !extent->crypt &&
         (!block->ops->looks_beneath || block->ops->looks_beneath (block));
}

/* What a PARENT answer of BLOCK comes to where the parent has nothing to say: zeros, when
 * there is none or it is shorter.  False: ask the parent for *LENGTH bytes. */
static bool
parent_is_zero (const ImBlock *block, ImExtent *extent)
{
  const ImBlock *parent = block->parent;
  if (parent && extent->offset < parent->size) {
    extent->length = im_min (extent->length, parent->size - extent->offset);
    return false;
  }
  extent->kind = IM_EXTENT_ZERO;
  /* It is the parent's being short that makes these zeros. */
  extent->allocated = parent != NULL;
  extent->depth += parent != NULL;
  return true;
}

enum { STEP = 16 }; /* extents asked of a driver at a time, on the stack */

/* Resolves [*AT, END) of TOP as far as one answer of a driver goes, and moves *AT on.
 * Sets *ret_full when the list has no room left. */
static bool
resolve_step (MapRequest *request, ImBlock *top, uint64_t *at, uint64_t end,
              bool *ret_full, GError **error)
{
  ImExtent found[STEP];
  ImBlock *block = top;
  uint64_t to = end;
  for (unsigned depth = 0;; depth++) {
    size_t n;
    if (!ask_driver (block, *at, to - *at, request->flags, found, STEP, &n, error))
      return false;
    for (size_t i = 0; i < n; i++) {
      ImExtent *extent = &found[i];
      if (extent->kind == IM_EXTENT_PARENT && !parent_is_zero (block, extent)) {
        if (i > 0)
          return true; /* what came before it stands; the walk begins anew here */
        break;
      }
      extent->depth += depth;
      bool room = wants_holes (request, block, extent)
                      ? push_runs (&request->list, extent)
                      : push (&request->list, extent);
      *ret_full = !room;
      if (!room)
        return true;
      *at = extent->offset + extent->length;
    }
    if (found[0].kind != IM_EXTENT_PARENT)
      return true;
    to = *at + found[0].length;
    block = block->parent;
  }
}

/* What cannot be read takes long to find out: the caller may want to give up. */
static bool
ends_unread (const ExtentList *list)
{
  return list->n > 0 && list->extents[list->n - 1].kind == IM_EXTENT_DAMAGED &&
         list->extents[list->n - 1].unread;
}

/* im_block_map within an operation, of a range that was checked. */
static bool
map_range (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
           ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  MapRequest request = {.flags = flags, .list = {.extents = extents, .max = n}};
  uint64_t at = offset, end = offset + length;
  bool full = false;
  while (at < end && !full && !ends_unread (&request.list)) {
    g_autoptr (GError) failure = NULL;
    if (resolve_step (&request, block, &at, end, &full, &failure))
      continue;
    /* What is known already is an answer; the error comes again on the next call. */
    if (request.list.n > 0)
      break;
    g_propagate_error (error, g_steal_pointer (&failure));
    return false;
  }
  *ret_n = request.list.n;
  return true;
}

bool
im_block_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
              ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  if (!im_block_check_range (block, offset, length, error))
    return false;
  if (block->writable)
    im_operation_begin ();
  bool ok = map_range (block, offset, length, flags, extents, n, ret_n, error);
  if (block->writable)
    im_operation_end ();
  return ok;
}

bool
im_block_allocated_size (ImBlock *block, unsigned max_calls, uint64_t *ret_bytes,
                         GError **error)
{
  ImExtent extents[64];
  uint64_t at = 0, bytes = 0;
  for (unsigned call = 0; at < block->size && call < max_calls; call++) {
    size_t n;
    if (!im_block_map (block, at, block->size - at, IM_MAP_ZEROES, extents,
                       G_N_ELEMENTS (extents), &n, error))
      return false;
    for (size_t i = 0; i < n; i++)
      bytes += extents[i].kind == IM_EXTENT_ZERO ? 0 : extents[i].length;
    at = extents[n - 1].offset + extents[n - 1].length;
  }
  *ret_bytes = bytes + (block->size - at);
  return true;
}
