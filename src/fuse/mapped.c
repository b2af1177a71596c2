/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replies that the kernel takes straight from a file's pages. */
#include "fuse/mapped.h"
#include "base/bytes.h"
#include <sys/mman.h>
#include <unistd.h>

/* So much is mapped at once: who reads on finds it there, and the page tables stay small,
 * however large the file is. */
#define WINDOW (8u << 20)

/* Shorter reads are copied as fast. */
#define SHORTEST (64u << 10)

void
im_fuse_window_clear (ImFuseWindow *window)
{
  if (window->pages)
    munmap (window->pages, window->length);
  window->pages = NULL;
}

/* Moves WINDOW so that it begins with the page of EXTENT's first byte. */
static bool
move_to (ImFuseWindow *window, const ImExtent *extent)
{
  uint64_t page = (uint64_t)sysconf (_SC_PAGESIZE);
  uint64_t at = extent->at / page * page, size = im_file_size (extent->file);
  size_t length = (size_t)im_min (WINDOW, size - at);
  im_fuse_window_clear (window);
  void *pages =
      mmap (NULL, length, PROT_READ, MAP_SHARED, im_file_fd (extent->file), (off_t)at);
  if (pages == MAP_FAILED)
    return false;
  *window = (ImFuseWindow){im_file_id (extent->file), at, length, pages};
  return true;
}

static bool
covers (const ImFuseWindow *window, const ImExtent *extent)
{
  return window->pages && window->file == im_file_id (extent->file) &&
         extent->at >= window->at &&
         im_range_fits (extent->at - window->at, extent->length, window->length);
}

const void *
im_fuse_window_show (ImFuseWindow *window, ImBlock *block, size_t length, uint64_t offset)
{
  ImExtent extent;
  size_t n;
  if (length < SHORTEST ||
      !im_block_map (block, offset, length, IM_MAP_NOWAIT, &extent, 1, &n, NULL) ||
      extent.length < length || !im_extent_is_in_page_cache (&extent) ||
      !(covers (window, &extent) || move_to (window, &extent)))
    return NULL;
  return (const uint8_t *)window->pages + (extent.at - window->at);
}
