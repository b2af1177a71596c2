/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is answered to the kernel's requests: names and attributes. */
#include "fuse/ops.h"
#include "base/bytes.h"
#include "base/log.h"
#include "fuse/channel.h"
#include <errno.h>
#include <unistd.h>

/* Seconds for which the kernel believes an answer: what never changes, and what may. */
#define FOREVER (365.0 * 86400)
#define FOR_NOW 1.0
/* Requests of readers-ahead that may be under way at once, instead of 12. */
#define BACKGROUND 64
/* A damaged image can fail at every read: so many are told. */
#define COMPLAINTS 100u

ImFuseServer *
im_fuse_server_of (fuse_req_t req)
{
  return fuse_req_userdata (req);
}

ImNode *
im_fuse_node_of (fuse_req_t req, fuse_ino_t ino)
{
  return im_fuse_tree_node (im_fuse_server_of (req)->tree, ino);
}

void
im_fuse_complain (ImFuseServer *server, const ImNode *node, const GError *error)
{
  unsigned n = atomic_fetch_add (&server->complaints, 1);
  if (n < COMPLAINTS)
    im_log_error ("%s: %s: %s", server->tree->set->image_path, node->block->name,
                  error->message);
  if (n == COMPLAINTS - 1)
    im_log_error ("%s: further errors are not logged", server->tree->set->image_path);
}

void *
im_fuse_buffer (fuse_req_t req)
{
  void *buffer = im_fuse_ring_buffer (req);
  return buffer ? buffer : im_fuse_channel_buffer ();
}

static void
op_init (void *userdata, struct fuse_conn_info *conn)
{
  ImFuseServer *server = userdata;
  im_libfuse_want (conn, FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO |
                             FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                             FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_CACHE_SYMLINKS |
                             FUSE_CAP_EXPLICIT_INVAL_DATA);
  im_libfuse_refuse (conn, FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC |
                               FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_IOCTL_DIR |
                               FUSE_CAP_WRITEBACK_CACHE);
  im_fuse_passthrough_init (server->passthrough, conn);
  im_fuse_ring_init (server->ring, conn);
  conn->max_background = BACKGROUND;
  conn->congestion_threshold = BACKGROUND;
  conn->max_write = IM_FUSE_MAX_WRITE;
  atomic_store (&server->initialised, true);
}

static double
attr_timeout (const ImFuseServer *server, const ImNode *node)
{
  return im_fuse_tree_is_volatile (server->tree, node) ? FOR_NOW : FOREVER;
}

/* Fills *RET_STAT and has measured what somebody takes an interest in. */
static void
stat_node (ImFuseServer *server, ImNode *node, struct stat *ret_stat)
{
  im_fuse_tree_stat (server->tree, node, ret_stat);
  if (node->kind == IM_NODE_BLOCK && server->measure)
    im_fuse_measure_want (server->measure, node);
}

static void
fill_entry (ImFuseServer *server, ImNode *node, struct fuse_entry_param *ret_entry)
{
  *ret_entry = (struct fuse_entry_param){
      .ino = node->ino,
      .attr_timeout = attr_timeout (server, node),
      .entry_timeout = FOREVER,
  };
  stat_node (server, node, &ret_entry->attr);
}

static void
op_lookup (fuse_req_t req, fuse_ino_t parent, const char *name)
{
  ImNode *directory = im_fuse_node_of (req, parent);
  ImNode *node = directory ? im_fuse_tree_lookup (directory, name) : NULL;
  /* Inode 0 lets the kernel remember that there is nothing. */
  struct fuse_entry_param entry = {.entry_timeout = FOREVER};
  if (node)
    fill_entry (im_fuse_server_of (req), node, &entry);
  fuse_reply_entry (req, &entry);
}

void
im_fuse_reply_stat (fuse_req_t req, ImNode *node, const struct fuse_file_info *fi)
{
  struct stat st;
  stat_node (im_fuse_server_of (req), node, &st);
  if (node->kind == IM_NODE_TEXT && fi)
    st.st_size = (off_t)im_fuse_text_length (node, fi);
  fuse_reply_attr (req, &st, attr_timeout (im_fuse_server_of (req), node));
}

static void
op_getattr (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
  ImNode *node = im_fuse_node_of (req, ino);
  if (!node) {
    fuse_reply_err (req, ENOENT);
    return;
  }
  im_fuse_reply_stat (req, node, fi);
}

/* Where the kernel checks no modes by itself: a mount for its owner alone, who may do
 * with the image whatever its file allowed him when it was opened. */
static void
op_access (fuse_req_t req, fuse_ino_t ino, int mask)
{
  const ImFuseTree *tree = im_fuse_server_of (req)->tree;
  const ImNode *node = im_fuse_node_of (req, ino);
  if (!node)
    fuse_reply_err (req, ENOENT);
  else if ((mask & W_OK) && tree->set->read_only)
    fuse_reply_err (req, EROFS);
  else if (((mask & W_OK) && node->kind != IM_NODE_BLOCK) ||
           ((mask & X_OK) && node->kind != IM_NODE_DIRECTORY))
    fuse_reply_err (req, EACCES);
  else
    fuse_reply_err (req, 0);
}

static void
op_readlink (fuse_req_t req, fuse_ino_t ino)
{
  ImNode *node = im_fuse_node_of (req, ino);
  if (node && node->kind == IM_NODE_LINK)
    fuse_reply_readlink (req, node->link->target);
  else
    fuse_reply_err (req, EINVAL);
}

static void
op_opendir (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
  fi->cache_readdir = 1;
  fi->keep_cache = 1;
  fuse_reply_open (req, fi);
}

/* Entry I of a directory as readdir gives it: ".", "..", the children.  NULL: no more. */
static ImNode *
directory_entry (ImNode *directory, size_t i, const char **ret_name)
{
  if (i < 2) {
    *ret_name = i == 0 ? "." : "..";
    return i == 0 ? directory : directory->parent;
  }
  if (i - 2 >= directory->children->len)
    return NULL;
  ImNode *node = directory->children->pdata[i - 2];
  *ret_name = node->name;
  return node;
}

/* Adds one entry to BUFFER; the bytes it takes, perhaps more than are left. */
static size_t
add_entry (fuse_req_t req, char *buffer, size_t left, ImNode *node, const char *name,
           off_t next, bool plus)
{
  struct fuse_entry_param entry = {0};
  if (plus) {
    fill_entry (im_fuse_server_of (req), node, &entry);
    return fuse_add_direntry_plus (req, buffer, left, name, &entry, next);
  }
  struct stat st = {.st_ino = node->ino,
                    .st_mode = im_fuse_tree_mode (im_fuse_server_of (req)->tree, node)};
  return fuse_add_direntry (req, buffer, left, name, &st, next);
}

static void
read_directory (fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
  ImNode *directory = im_fuse_node_of (req, ino);
  if (!directory || directory->kind != IM_NODE_DIRECTORY || off < 0) {
    fuse_reply_err (req, ENOTDIR);
    return;
  }
  char *buffer = im_fuse_buffer (req);
  size_t used = 0, max = im_min (size, IM_FUSE_MAX_READ);
  for (size_t i = (size_t)off;; i++) {
    const char *name;
    ImNode *node = directory_entry (directory, i, &name);
    if (!node)
      break;
    size_t need =
        add_entry (req, buffer + used, max - used, node, name, (off_t)i + 1, plus);
    if (need > max - used)
      break;
    used += need;
  }
  fuse_reply_buf (req, buffer, used);
}

static void
op_readdir (fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
            struct fuse_file_info *fi)
{
  read_directory (req, ino, size, off, false);
}

static void
op_readdirplus (fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                struct fuse_file_info *fi)
{
  read_directory (req, ino, size, off, true);
}

static void
op_statfs (fuse_req_t req, fuse_ino_t ino)
{
  const ImFuseTree *tree = im_fuse_server_of (req)->tree;
  const ImExport *disk = tree->set->blocks->pdata[0];
  struct statvfs vfs = {
      .f_bsize = 4096,
      .f_frsize = 4096,
      .f_blocks = im_div_up (disk->block->size, 4096),
      .f_files = tree->nodes->len,
      .f_namemax = 255,
  };
  fuse_reply_statfs (req, &vfs);
}

static void
op_getxattr (fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
  fuse_reply_err (req, ENODATA);
}

static void
op_listxattr (fuse_req_t req, fuse_ino_t ino, size_t size)
{
  if (size == 0)
    fuse_reply_xattr (req, 0);
  else
    fuse_reply_buf (req, NULL, 0);
}

void
im_fuse_ops_fill (struct fuse_lowlevel_ops *ops)
{
  ops->init = op_init;
  ops->lookup = op_lookup;
  ops->getattr = op_getattr;
  ops->access = op_access;
  ops->readlink = op_readlink;
  ops->opendir = op_opendir;
  ops->readdir = op_readdir;
  ops->readdirplus = op_readdirplus;
  ops->statfs = op_statfs;
  ops->getxattr = op_getxattr;
  ops->listxattr = op_listxattr;
}
