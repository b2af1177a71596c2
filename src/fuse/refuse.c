/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that would change something.  The kernel refuses them itself where the mount
 * is read-only, unless it was remounted writable behind our back; in a writable one only
 * the disk's bytes can be changed, never names and attributes. */
#include "fuse/ops.h"
#include <errno.h>

static void
refuse (fuse_req_t req)
{
  fuse_reply_err (req, im_fuse_server_of (req)->tree->set->read_only ? EROFS : EPERM);
}

static void
refuse_setattr (fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                struct fuse_file_info *fi)
{
  refuse (req);
}

static void
refuse_mknod (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
              dev_t rdev)
{
  refuse (req);
}

static void
refuse_mkdir (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
  refuse (req);
}

static void
refuse_remove (fuse_req_t req, fuse_ino_t parent, const char *name)
{
  refuse (req);
}

static void
refuse_symlink (fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
  refuse (req);
}

static void
refuse_rename (fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned flags)
{
  refuse (req);
}

static void
refuse_link (fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
  refuse (req);
}

static void
refuse_create (fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi)
{
  refuse (req);
}

static void
refuse_write (fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
              struct fuse_file_info *fi)
{
  refuse (req);
}

static void
refuse_fallocate (fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                  struct fuse_file_info *fi)
{
  refuse (req);
}

static void
refuse_setxattr (fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                 size_t size, int flags)
{
  refuse (req);
}

static void
refuse_removexattr (fuse_req_t req, fuse_ino_t ino, const char *name)
{
  refuse (req);
}

void
im_fuse_refuse_fill (struct fuse_lowlevel_ops *ops)
{
  ops->setattr = refuse_setattr;
  ops->mknod = refuse_mknod;
  ops->mkdir = refuse_mkdir;
  ops->unlink = refuse_remove;
  ops->rmdir = refuse_remove;
  ops->symlink = refuse_symlink;
  ops->rename = refuse_rename;
  ops->link = refuse_link;
  ops->create = refuse_create;
  ops->write = refuse_write;
  ops->fallocate = refuse_fallocate;
  ops->setxattr = refuse_setxattr;
  ops->removexattr = refuse_removexattr;
}
