/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replies that the kernel takes straight from a file's pages: a copy less than by reading
 * them into a buffer.  Nothing but the kernel looks at them there: a page that has gone,
 * or that the disk does not give, is an error of the reply to it, and a signal to us. */
#pragma once

#include "block/block.h"
#include <stdbool.h>

/* The part of a file that a thread has before it. */
typedef struct {
  uint64_t file; /* its im_file_id */
  uint64_t at;   /* in the file; a multiple of the page */
  size_t length;
  void *pages; /* NULL: none */
} ImFuseWindow;

void im_fuse_window_clear (ImFuseWindow *window);

/* LENGTH bytes of BLOCK at OFFSET where these are one run of a file, in the page cache
 * and not to be moved; NULL otherwise.  Valid until the window's next use. */
const void *im_fuse_window_show (ImFuseWindow *window, ImBlock *block, size_t length,
                                 uint64_t offset);
