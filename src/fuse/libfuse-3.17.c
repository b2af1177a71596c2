/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libfuse 3.17 and later. */
#include "fuse/libfuse.h"

void
im_libfuse_want (struct fuse_conn_info *conn, uint32_t capabilities)
{
  fuse_set_feature_flag (conn, conn->capable_ext & capabilities);
}

void
im_libfuse_refuse (struct fuse_conn_info *conn, uint32_t capabilities)
{
  fuse_unset_feature_flag (conn, capabilities);
}

void
im_libfuse_passthrough_init (ImLibfusePassthrough *passthrough,
                             struct fuse_conn_info *conn)
{
  passthrough->offered = fuse_set_feature_flag (conn, FUSE_CAP_PASSTHROUGH);
  /* This one counts without ours. */
  conn->max_backing_stack_depth = passthrough->stack_depth - 1;
}

void
im_libfuse_passthrough_see (ImLibfusePassthrough *passthrough, const void *request,
                            size_t length)
{
  /* libfuse looks at INIT itself, … */
}

void
im_libfuse_passthrough_amend (ImLibfusePassthrough *passthrough, const struct iovec *iov,
                              int n)
{
  /* … and answers it. */
}

int32_t
im_libfuse_passthrough_open (fuse_req_t req, struct fuse_session *session, int fd)
{
  return fuse_passthrough_open (req, fd);
}

int
im_libfuse_passthrough_reply (fuse_req_t req, uint64_t handle, int32_t backing,
                              bool direct)
{
  struct fuse_file_info fi = {
      .fh = handle, .noflush = 1, .direct_io = direct, .backing_id = backing};
  return fuse_reply_open (req, &fi);
}
