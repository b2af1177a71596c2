/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libfuse before 3.17. */
#include "fuse/libfuse.h"
#include <linux/fuse.h>
#include <string.h>
#include <sys/ioctl.h>

/* The kernel's protocol 7.40, which older headers lack. */
#define INIT_PASSTHROUGH (1u << 5) /* of the upper half of the flags */
#define OPEN_PASSTHROUGH (1u << 7)

typedef struct {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
} BackingMap;

#define BACKING_OPEN _IOW (FUSE_DEV_IOC_MAGIC, 1, BackingMap)

void
im_libfuse_want (struct fuse_conn_info *conn, uint32_t capabilities)
{
  conn->want |= conn->capable & capabilities;
}

void
im_libfuse_refuse (struct fuse_conn_info *conn, uint32_t capabilities)
{
  conn->want &= ~capabilities;
}

void
im_libfuse_passthrough_init (ImLibfusePassthrough *passthrough,
                             struct fuse_conn_info *conn)
{
  /* Nothing here tells of it. */
}

void
im_libfuse_passthrough_see (ImLibfusePassthrough *passthrough, const void *request,
                            size_t length)
{
  struct fuse_in_header header;
  struct fuse_init_in init;
  if (passthrough->agreed || length < sizeof header + sizeof init)
    return;
  memcpy (&header, request, sizeof header);
  if (header.opcode != FUSE_INIT)
    return;
  memcpy (&init, (const char *)request + sizeof header, sizeof init);
  passthrough->offered =
      (init.flags & FUSE_INIT_EXT) != 0 && (init.flags2 & INIT_PASSTHROUGH) != 0;
  passthrough->init = header.unique;
}

void
im_libfuse_passthrough_amend (ImLibfusePassthrough *passthrough, const struct iovec *iov,
                              int n)
{
  struct fuse_out_header header;
  struct fuse_init_out init;
  if (passthrough->agreed || !passthrough->offered || n != 2 ||
      iov[0].iov_len != sizeof header || iov[1].iov_len != sizeof init)
    return;
  memcpy (&header, iov[0].iov_base, sizeof header);
  if (header.unique != passthrough->init || header.error != 0)
    return;
  memcpy (&init, iov[1].iov_base, sizeof init);
  init.flags |= FUSE_INIT_EXT;
  init.flags2 |= INIT_PASSTHROUGH;
  init.unused[0] = passthrough->stack_depth; /* max_stack_depth */
  memcpy (iov[1].iov_base, &init, sizeof init);
}

int32_t
im_libfuse_passthrough_open (fuse_req_t req, struct fuse_session *session, int fd)
{
  BackingMap map = {.fd = fd};
  int id = ioctl (fuse_session_fd (session), BACKING_OPEN, &map);
  return id > 0 ? id : 0;
}

int
im_libfuse_passthrough_reply (fuse_req_t req, uint64_t handle, int32_t backing,
                              bool direct)
{
  struct fuse_open_out out = {.fh = handle,
                              .open_flags = OPEN_PASSTHROUGH | FOPEN_NOFLUSH |
                                            (direct ? FOPEN_DIRECT_IO : 0),
                              .padding = (uint32_t)backing /* backing_id */};
  return fuse_reply_buf (req, (const char *)&out, sizeof out);
}
