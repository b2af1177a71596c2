/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Open files: how each is opened, and what is read through it. */
#include "base/bytes.h"
#include "base/error.h"
#include "fuse/channel.h"
#include "fuse/ops.h"
#include "fuse/seek.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>

/* What a block's handle number says. */
enum {
  HANDLE_DIRECT, /* past the page cache, which only its private maps use */
  HANDLE_CACHED,
  HANDLE_PASSED_THROUGH, /* the kernel reads the image's file by itself */
};

/* A handle's text goes from thread to thread, from the open to the reads to the release,
 * in an order that the kernel keeps, but of which neither C nor a sanitizer knows: so
 * each use of a node's texts comes after all earlier ones by its counter. */
static GString *
take_text (ImNode *node, const struct fuse_file_info *fi)
{
  atomic_fetch_add (&node->uses, 1);
  return (GString *)(uintptr_t)fi->fh;
}

/* Before the answer, after which there may be another use. */
static void
put_text (ImNode *node)
{
  atomic_fetch_add (&node->uses, 1);
}

size_t
im_fuse_text_length (ImNode *node, const struct fuse_file_info *fi)
{
  size_t length = take_text (node, fi)->len;
  put_text (node);
  return length;
}

/* libfuse's own reply knows fewer flags than kernels do. */
static int
reply_open (fuse_req_t req, uint64_t handle, uint32_t flags)
{
  struct fuse_open_out out = {.fh = handle, .open_flags = flags};
  return fuse_reply_buf (req, (const char *)&out, sizeof out);
}

static void
open_text (fuse_req_t req, ImNode *node)
{
  im_fuse_channel_will_wait ();
  g_autofree char *text = node->text->render (node->text->data);
  if (!text) {
    fuse_reply_err (req, EIO);
    return;
  }
  GString *rendered = g_string_new (text);
  put_text (node);
  /* Direct: the size may differ from what the kernel has been told. */
  if (reply_open (req, (uintptr_t)rendered, FOPEN_DIRECT_IO | FOPEN_NOFLUSH) == -ENOENT)
    g_string_free (rendered, TRUE);
}

static void
close_block (fuse_req_t req, ImNode *node, uint64_t handle)
{
  if (handle == HANDLE_CACHED)
    im_fuse_pages_close (&node->pages);
  im_fuse_passthrough_release (im_fuse_server_of (req)->passthrough, node->block->block,
                               handle == HANDLE_PASSED_THROUGH);
}

/* Who writes, or asks for it, goes past the page cache: so no page is ever dirty, and
 * shared writable maps are refused by the kernel.  Of a read-only disk that is asked for
 * with O_DIRECT the kernel reads past its pages even without FOPEN_DIRECT_IO; with it, it
 * would wait for each piece of a read before it asks for the next. */
static void
open_block (fuse_req_t req, ImNode *node, const struct fuse_file_info *fi)
{
  ImFuseServer *server = im_fuse_server_of (req);
  bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
  bool direct = writes || (fi->flags & O_DIRECT) != 0;
  ImFusePassthroughOpen asked = {.block = node->block->block,
                                 .handle = HANDLE_PASSED_THROUGH,
                                 .direct = direct,
                                 .cuts = server->splits_reads};
  if (im_fuse_passthrough_open (server->passthrough, req, server->session, &asked))
    return;
  uint64_t handle = HANDLE_CACHED;
  uint32_t flags = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH;
  if (direct && !server->splits_reads) {
    handle = HANDLE_DIRECT;
    flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES | FOPEN_NOFLUSH;
  } else {
    im_fuse_pages_open (&node->pages);
  }
  if (reply_open (req, handle, flags) == -ENOENT)
    close_block (req, node, handle);
}

/* An opener that was interrupted (ENOENT) sends no release. */
static void
op_open (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
  ImNode *node = im_fuse_node_of (req, ino);
  bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
  if (!node || node->kind == IM_NODE_DIRECTORY || node->kind == IM_NODE_LINK)
    fuse_reply_err (req, EINVAL);
  else if (writes && im_fuse_server_of (req)->tree->set->read_only)
    fuse_reply_err (req, EROFS);
  else if (node->kind == IM_NODE_BLOCK)
    open_block (req, node, fi);
  else if (writes)
    fuse_reply_err (req, EPERM);
  else
    open_text (req, node);
}

static void
op_release (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
  ImNode *node = im_fuse_node_of (req, ino);
  if (node && node->kind == IM_NODE_TEXT)
    g_string_free (take_text (node, fi), TRUE);
  else if (node)
    close_block (req, node, fi->fh);
  fuse_reply_err (req, 0);
}

/* A large part that is copied twice is a waste. */
#define SMALL_READ (64u << 10)

static bool
fetch_block (ImBlock *block, void *buffer, size_t length, uint64_t offset,
             size_t *ret_done, GError **error)
{
  if (im_fuse_channel_dares ()) {
    if (im_block_pread_nowait (block, buffer, length, offset))
      return true;
    if (length > SMALL_READ)
      im_fuse_channel_doubt ();
  }
  im_fuse_channel_will_wait ();
  return im_block_pread_part (block, buffer, length, offset, ret_done, error);
}

/* How much of SIZE bytes at OFFSET there is, in one reply. */
static size_t
readable (const ImBlock *block, size_t size, uint64_t offset)
{
  if (offset >= block->size)
    return 0;
  return (size_t)im_min (im_min (size, IM_FUSE_MAX_READ), block->size - offset);
}

/* DIRECT: past the page cache, where a read may end before damage, as on a disk.  In the
 * page cache the kernel would take that for the file's end; there it asks again, page by
 * page.  Damage right at the start is an error, of the whole read where this is a piece
 * of one: nothing at all would be the file's end again, to those who read by io_uring. */
static void
read_block (fuse_req_t req, const ImNode *node, size_t size, uint64_t offset, bool direct)
{
  ImBlock *block = node->block->block;
  size_t done = 0;
  g_autoptr (GError) error = NULL;
  size_t length = readable (block, size, offset);
  if (length == 0) {
    fuse_reply_buf (req, NULL, 0);
    return;
  }
  void *buffer = im_fuse_buffer (req);
  if (fetch_block (block, buffer, length, offset, &done, &error)) {
    fuse_reply_buf (req, buffer, length);
    return;
  }
  if (direct && done > 0) {
    fuse_reply_buf (req, buffer, done);
    return;
  }
  im_fuse_complain (im_fuse_server_of (req), node, error);
  fuse_reply_err (req, im_error_to_errno (error));
}

/* A read past the page cache has an owner, whichever the handle. */
static bool
goes_past_pages (const struct fuse_file_info *fi)
{
  return fi->lock_owner != 0;
}

static void
note_read (ImNode *node, const struct fuse_file_info *fi)
{
  if (!goes_past_pages (fi))
    im_fuse_pages_fill (&node->pages);
}

bool
im_fuse_read_at_once (fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                      const struct fuse_file_info *fi)
{
  ImNode *node = im_fuse_node_of (req, ino);
  if (!node || node->kind != IM_NODE_BLOCK || off < 0)
    return false;
  ImBlock *block = node->block->block;
  size_t length = readable (block, size, (uint64_t)off);
  if (length == 0)
    return false;
  void *buffer = im_fuse_buffer (req);
  note_read (node, fi);
  if (!im_block_pread_nowait (block, buffer, length, (uint64_t)off))
    return false;
  fuse_reply_buf (req, buffer, length);
  return true;
}

static void
read_text (fuse_req_t req, ImNode *node, const struct fuse_file_info *fi, size_t size,
           uint64_t offset)
{
  const GString *text = take_text (node, fi);
  char *buffer = im_fuse_buffer (req);
  size_t at = (size_t)im_min (offset, text->len);
  size_t length = im_min (im_min (size, IM_FUSE_MAX_READ), text->len - at);
  memcpy (buffer, text->str + at, length);
  put_text (node);
  fuse_reply_buf (req, buffer, length);
}

static void
op_read (fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
         struct fuse_file_info *fi)
{
  ImNode *node = im_fuse_node_of (req, ino);
  if (!node || off < 0) {
    fuse_reply_err (req, EINVAL);
  } else if (node->kind == IM_NODE_TEXT) {
    read_text (req, node, fi, size, (uint64_t)off);
  } else {
    note_read (node, fi);
    read_block (req, node, size, (uint64_t)off, goes_past_pages (fi));
  }
}

/* Before this a search goes on although whoever waits got a signal: few end a process,
 * and nobody expects that lseek is interrupted.  One that is over a vast disk must be,
 * since a process that is to end waits for the answer. */
#define PATIENCE_US G_USEC_PER_SEC

typedef struct {
  fuse_req_t req;
  gint64 begun;
} Search;

static bool
is_cancelled (void *data)
{
  const Search *search = data;
  return atomic_load_explicit (&im_fuse_server_of (search->req)->aborting,
                               memory_order_relaxed) ||
         (g_get_monotonic_time () - search->begun > PATIENCE_US &&
          fuse_req_interrupted (search->req));
}

static void
seek_block (fuse_req_t req, const ImNode *node, uint64_t offset, bool hole)
{
  g_autoptr (GError) error = NULL;
  uint64_t found = 0;
  Search search = {.req = req, .begun = g_get_monotonic_time ()};
  im_fuse_channel_will_wait ();
  switch (im_fuse_seek (node->block->block, offset, hole, is_cancelled, &search, &found,
                        &error)) {
  case IM_SEEK_FOUND:
    fuse_reply_lseek (req, (off_t)found);
    break;
  case IM_SEEK_NONE:
    fuse_reply_err (req, ENXIO);
    break;
  case IM_SEEK_CANCELLED:
    fuse_reply_err (req, EINTR);
    break;
  case IM_SEEK_FAILED:
    im_fuse_complain (im_fuse_server_of (req), node, error);
    fuse_reply_err (req, im_error_to_errno (error));
    break;
  }
}

static void
seek_text (fuse_req_t req, size_t length, uint64_t offset, bool hole)
{
  if (offset >= length)
    fuse_reply_err (req, ENXIO);
  else
    fuse_reply_lseek (req, (off_t)(hole ? length : offset));
}

static void
op_lseek (fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
          struct fuse_file_info *fi)
{
  ImNode *node = im_fuse_node_of (req, ino);
  if (!node || (whence != SEEK_DATA && whence != SEEK_HOLE))
    fuse_reply_err (req, EINVAL);
  else if (off < 0)
    fuse_reply_err (req, ENXIO);
  else if (node->kind == IM_NODE_BLOCK)
    seek_block (req, node, (uint64_t)off, whence == SEEK_HOLE);
  else
    seek_text (req, im_fuse_text_length (node, fi), (uint64_t)off, whence == SEEK_HOLE);
}

void
im_fuse_handle_fill (struct fuse_lowlevel_ops *ops)
{
  ops->open = op_open;
  ops->release = op_release;
  ops->read = op_read;
  ops->lseek = op_lseek;
}
