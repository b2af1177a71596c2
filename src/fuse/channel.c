/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A thread's own way to the kernel. */
#include "fuse/channel.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

struct ImFuseChannel {
  int fd;
  bool owned; /* fd is a clone, to be closed */
  void *buffer;
  ImFuseWatcher watcher; /* the thread's that receives; no watch: it is the only one */
};

static _Thread_local ImFuseChannel *current;

/* A clone of the connection FD; FD itself where the kernel has no such thing. */
static int
clone_connection (int fd, bool *ret_owned)
{
  int clone = open ("/dev/fuse", O_RDWR | O_CLOEXEC);
  uint32_t source = (uint32_t)fd;
  *ret_owned = clone >= 0 && ioctl (clone, FUSE_DEV_IOC_CLONE, &source) == 0;
  if (*ret_owned)
    return clone;
  if (clone >= 0)
    close (clone);
  return fd;
}

ImFuseChannel *
im_fuse_channel_new (int fd, ImFuseWatch *watch, GError **error)
{
  void *buffer = mmap (NULL, IM_FUSE_MAX_READ, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buffer == MAP_FAILED) {
    im_set_errno (error, errno, "a buffer of %u bytes", IM_FUSE_MAX_READ);
    return NULL;
  }
  ImFuseChannel *channel = g_new0 (ImFuseChannel, 1);
  channel->buffer = buffer;
  channel->fd = watch ? clone_connection (fd, &channel->owned) : fd;
  channel->watcher.watch = watch;
  return channel;
}

void
im_fuse_channel_free (ImFuseChannel *channel)
{
  if (channel->owned)
    close (channel->fd);
  munmap (channel->buffer, IM_FUSE_MAX_READ);
  g_free (channel);
}

void
im_fuse_channel_use (ImFuseChannel *channel)
{
  current = channel;
}

ImFuseChannel *
im_fuse_channel_used (void)
{
  return current;
}

void *
im_fuse_channel_buffer (void)
{
  return current->buffer;
}

ssize_t
im_fuse_channel_writev (const struct iovec *iov, int n)
{
  return writev (current->fd, iov, n);
}

ssize_t
im_fuse_channel_read (void *buf, size_t length)
{
  ImFuseWatcher *watcher = &current->watcher;
  if (!watcher->watch)
    return read (current->fd, buf, length);
  im_fuse_watch_begin (watcher);
  ssize_t got = read (current->fd, buf, length);
  if (got > 0)
    im_fuse_watch_got (watcher);
  return got;
}

void
im_fuse_channel_leave (void)
{
  im_fuse_watch_leave (&current->watcher);
}

void
im_fuse_channel_will_wait (void)
{
  if (current && current->watcher.watch)
    im_fuse_watch_leave (&current->watcher);
}

bool
im_fuse_channel_dares (void)
{
  return current && current->watcher.watch && im_fuse_watch_dares (&current->watcher);
}

void
im_fuse_channel_doubt (void)
{
  im_fuse_watch_doubt (&current->watcher);
}
