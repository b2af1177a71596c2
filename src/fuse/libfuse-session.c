/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libfuse's side of a session: what it is told, and what it does its I/O through. */
#include "fuse/libfuse-session.h"
#include "base/error.h"
#include "base/log.h"
#include "fuse/channel.h"
#include <stdarg.h>

static void
log_libfuse (enum fuse_log_level level, const char *format, va_list arguments)
{
  g_autofree char *text = g_strdup_vprintf (format, arguments);
  g_strchomp (text);
  if (level <= FUSE_LOG_WARNING)
    im_log_warning ("%s", text);
  else
    im_log_verbose (2, "%s", text);
}

static ssize_t
write_reply (int fd, struct iovec *iov, int n, void *userdata)
{
  ImFuseServer *server = userdata;
  im_fuse_passthrough_amend (server->passthrough, iov, n);
  return im_fuse_channel_writev (iov, n);
}

static ssize_t
read_request (int fd, void *buf, size_t length, void *userdata)
{
  ImFuseServer *server = userdata;
  ssize_t got = im_fuse_channel_read (buf, length);
  if (got > 0)
    im_fuse_passthrough_see (server->passthrough, buf, (size_t)got);
  return got;
}

static const struct fuse_custom_io session_io = {
    .writev = write_reply,
    .read = read_request,
};

/* Gives FUSE the descriptor FD: with rings libfuse does its I/O itself, else through our
 * channels. */
static bool
attach (struct fuse_session *fuse, int fd, bool rings)
{
  g_autofree char *name = g_strdup_printf ("/dev/fd/%d", fd);
  return rings ? fuse_session_mount (fuse, name) == 0
               : fuse_session_custom_io (fuse, &session_io, fd) == 0;
}

static struct fuse_session *
new_session (ImFuseServer *server, const struct fuse_lowlevel_ops *ops, bool allow_root)
{
  g_autofree char *rings = server->ring ? im_fuse_ring_options () : NULL;
  g_autofree char *words =
      g_strconcat ("-o", allow_root ? "allow_root," : "", rings ? rings : "", NULL);
  char *argv[] = {(char *)"imgmount", words, NULL};
  struct fuse_args args = {.argc = allow_root || rings ? 2 : 1, .argv = argv};
  struct fuse_session *fuse = fuse_session_new (&args, ops, sizeof *ops, server);
  fuse_opt_free_args (&args);
  return fuse;
}

bool
im_libfuse_session_new (ImFuseServer *server, ImFuseMount *mount, unsigned threads,
                        GError **error)
{
  struct fuse_lowlevel_ops ops = {0};
  bool writable = !server->tree->set->read_only;
  server->splits_reads = mount->splits_reads;
  im_fuse_ops_fill (&ops);
  im_fuse_handle_fill (&ops);
  im_fuse_refuse_fill (&ops);
  if (writable)
    im_fuse_change_fill (&ops);
  if (mount->io_uring)
    server->ring = im_fuse_ring_new (&ops, writable, threads);
  fuse_set_log_func (log_libfuse);
  struct fuse_session *fuse = new_session (server, &ops, mount->allow_root);
  if (fuse && attach (fuse, mount->fd, mount->io_uring)) {
    mount->fd = -1;
    server->session = fuse;
    return true;
  }
  if (fuse)
    fuse_session_destroy (fuse);
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED, "libfuse refuses a session");
  return false;
}
