/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What changes a disk: writes, zeros and holes; and what only looks as if it did. */
#include "base/bytes.h"
#include "base/error.h"
#include "fuse/channel.h"
#include "fuse/ops.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

/* A change whose request has not been answered. */
typedef struct {
  ImFuseChange change;
  fuse_req_t req;
  ImFuseChannel *channel; /* where the request came from */
  bool is_write;          /* else success has no number */
  int failure;            /* an errno, or 0 */
} Answer;

static void
send_answer (const Answer *answer)
{
  if (answer->failure || !answer->is_write)
    fuse_reply_err (answer->req, answer->failure);
  else
    fuse_reply_write (answer->req, answer->change.length);
}

static void
send_and_free (void *data)
{
  Answer *answer = data;
  send_answer (answer);
  g_free (answer);
}

static void
reply_from_helper (ImFuseChange *change)
{
  Answer *answer = (Answer *)change;
  if (im_fuse_ring_answer (answer->req, send_and_free, answer))
    return;
  im_fuse_channel_use (answer->channel);
  send_and_free (answer);
}

/* The kernel rounds the range to pages.  An inode that it has forgotten has none. */
static bool
drop_from_helper (ImFuseChange *change, uint64_t ino, uint64_t offset, uint64_t length)
{
  Answer *answer = (Answer *)change;
  im_fuse_channel_use (answer->channel);
  int status = fuse_lowlevel_notify_inval_inode (im_fuse_server_of (answer->req)->session,
                                                 ino, (off_t)offset, (off_t)length);
  return status == 0 || status == -ENOENT;
}

/* Answers once nobody can see the old bytes.  A failed change may have been made in part.
 */
static void
answer_change (Answer *answer, const GError *error)
{
  ImFuseServer *server = im_fuse_server_of (answer->req);
  if (error) {
    im_fuse_complain (server, answer->change.node, error);
    answer->failure = im_error_to_errno (error);
  }
  if (!im_fuse_coherence_note (server->coherence, &answer->change)) {
    send_answer (answer);
    return;
  }
  answer->channel = im_fuse_channel_used ();
  Answer *copy = g_memdup2 (answer, sizeof *answer);
  if (im_fuse_coherence_settle (server->coherence, &copy->change))
    return;
  /* The server is being ended by force. */
  fuse_reply_err (answer->req, EIO);
  g_free (copy);
}

static Answer
answer_new (fuse_req_t req, const ImNode *node, uint64_t offset, uint64_t length)
{
  return (Answer){.change = {.node = node,
                             .offset = offset,
                             .length = length,
                             .drop = drop_from_helper,
                             .reply = reply_from_helper},
                  .req = req};
}

static void
write_block (ImBlock *block, const char *buf, size_t length, uint64_t offset,
             bool durable, GError **error)
{
  if (!durable && im_fuse_channel_dares () &&
      im_block_pwrite_nowait (block, buf, length, offset))
    return;
  im_fuse_channel_will_wait ();
  im_block_pwrite (block, buf, length, offset, durable ? IM_WRITE_FUA : 0, error);
}

/* What a write of SIZE bytes changes. */
static Answer
answer_write (fuse_req_t req, const ImNode *node, size_t size, uint64_t offset)
{
  uint64_t length = im_min (size, node->block->block->size - offset);
  Answer answer = answer_new (req, node, offset, length);
  answer.is_write = true;
  return answer;
}

bool
im_fuse_write_at_once (fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
                       off_t off, const struct fuse_file_info *fi)
{
  const ImNode *node = im_fuse_node_of (req, ino);
  if (!node || node->kind != IM_NODE_BLOCK || off < 0 || (fi->flags & O_DSYNC))
    return false;
  ImBlock *block = node->block->block;
  if ((uint64_t)off >= block->size)
    return false;
  Answer answer = answer_write (req, node, size, (uint64_t)off);
  if (!im_block_pwrite_nowait (block, buf, answer.change.length, answer.change.offset))
    return false;
  answer_change (&answer, NULL);
  return true;
}

/* As a block device: one that crosses the end is cut short, none begins there. */
static void
op_write (fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
          struct fuse_file_info *fi)
{
  g_autoptr (GError) error = NULL;
  const ImNode *node = im_fuse_node_of (req, ino);
  if (!node || node->kind != IM_NODE_BLOCK || off < 0) {
    fuse_reply_err (req, EINVAL);
    return;
  }
  ImBlock *block = node->block->block;
  uint64_t offset = (uint64_t)off;
  if (offset >= block->size) {
    fuse_reply_err (req, ENOSPC);
    return;
  }
  Answer answer = answer_write (req, node, size, offset);
  write_block (block, buf, answer.change.length, offset, fi->flags & O_DSYNC, &error);
  answer_change (&answer, error);
}

/* Zeros and holes; a disk's size is fixed, and space cannot be reserved.  The errno, or 0
 * and *LENGTH cut at the end. */
static int
check_fallocate (int mode, uint64_t size, uint64_t offset, uint64_t *length)
{
  int kind = mode & ~FALLOC_FL_KEEP_SIZE;
  if (kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE)
    return EOPNOTSUPP;
  if (im_range_fits (offset, *length, size))
    return 0;
  if (!(mode & FALLOC_FL_KEEP_SIZE))
    return EFBIG;
  *length = offset < size ? size - offset : 0;
  return 0;
}

static void
op_fallocate (fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
              struct fuse_file_info *fi)
{
  g_autoptr (GError) error = NULL;
  const ImNode *node = im_fuse_node_of (req, ino);
  if (!node || node->kind != IM_NODE_BLOCK || off < 0 || len <= 0) {
    fuse_reply_err (req, EINVAL);
    return;
  }
  ImBlock *block = node->block->block;
  uint64_t length = (uint64_t)len;
  int refused = check_fallocate (mode, block->size, (uint64_t)off, &length);
  if (refused || length == 0) {
    fuse_reply_err (req, refused);
    return;
  }
  Answer answer = answer_new (req, node, (uint64_t)off, length);
  im_fuse_channel_will_wait ();
  im_block_write_zeroes (block, (uint64_t)off, length,
                         mode & FALLOC_FL_PUNCH_HOLE ? IM_WRITE_MAY_UNMAP : 0, &error);
  answer_change (&answer, error);
}

/* Does ATTR ask for another mode or owner than there is? */
static bool
changes_rights (const ImFuseTree *tree, const ImNode *node, const struct stat *attr,
                int to_set)
{
  mode_t mode = im_fuse_tree_mode (tree, node);
  return ((to_set & FUSE_SET_ATTR_MODE) && (attr->st_mode & 07777) != (mode & 07777)) ||
         ((to_set & FUSE_SET_ATTR_UID) && attr->st_uid != tree->set->image.st_uid) ||
         ((to_set & FUSE_SET_ATTR_GID) && attr->st_gid != tree->set->image.st_gid);
}

/* What only a disk takes. */
#define SIZE_AND_TIMES                                                                   \
  (FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME |                      \
   FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW)

/* A disk's size is accepted without effect, as a block device does; so are its times,
 * which copying programs set.  Anybody's rights may be set to what they are. */
static void
op_setattr (fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
            struct fuse_file_info *fi)
{
  ImNode *node = im_fuse_node_of (req, ino);
  const ImFuseTree *tree = im_fuse_server_of (req)->tree;
  if (!node)
    fuse_reply_err (req, ENOENT);
  else if (changes_rights (tree, node, attr, to_set) ||
           (node->kind != IM_NODE_BLOCK && (to_set & SIZE_AND_TIMES)))
    fuse_reply_err (req, EPERM);
  else
    im_fuse_reply_stat (req, node, NULL);
}

static void
op_fsync (fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
  g_autoptr (GError) error = NULL;
  const ImNode *node = im_fuse_node_of (req, ino);
  im_fuse_channel_will_wait ();
  if (!node || node->kind != IM_NODE_BLOCK ||
      im_block_flush (node->block->block, &error)) {
    fuse_reply_err (req, 0);
    return;
  }
  im_fuse_complain (im_fuse_server_of (req), node, error);
  fuse_reply_err (req, im_error_to_errno (error));
}

void
im_fuse_change_fill (struct fuse_lowlevel_ops *ops)
{
  ops->write = op_write;
  ops->fallocate = op_fallocate;
  ops->setattr = op_setattr;
  ops->fsync = op_fsync;
}
