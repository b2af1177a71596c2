/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A libfuse without FUSE over io_uring, or with one that is not to be used. */
#include "base/error.h"
#include "fuse/ring.h"

bool
im_fuse_ring_check (GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "-o io_uring: needs libfuse 3.19 or later, this build has %d.%d",
               FUSE_MAJOR_VERSION, FUSE_MINOR_VERSION);
  return false;
}

ImFuseRing *
im_fuse_ring_new (struct fuse_lowlevel_ops *ops, bool writable, unsigned threads)
{
  return NULL;
}

void
im_fuse_ring_free (ImFuseRing *ring)
{
}

char *
im_fuse_ring_options (void)
{
  return NULL;
}

void
im_fuse_ring_init (ImFuseRing *ring, struct fuse_conn_info *conn)
{
#ifdef FUSE_CAP_OVER_IO_URING /* libfuse 3.18 would take it from the environment */
  fuse_unset_feature_flag (conn, FUSE_CAP_OVER_IO_URING);
#endif
}

bool
im_fuse_ring_is_there (const ImFuseRing *ring, GError **error)
{
  return im_fuse_ring_check (error);
}

void *
im_fuse_ring_buffer (fuse_req_t req)
{
  return NULL;
}

bool
im_fuse_ring_answer (fuse_req_t req, void (*send) (void *data), void *data)
{
  return false;
}

void
im_fuse_ring_close (ImFuseRing *ring)
{
}

void
im_fuse_ring_stop (ImFuseRing *ring, struct fuse_session *fuse)
{
}
