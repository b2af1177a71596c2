/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A FUSE server that does nothing: one file of zeros, for what FUSE itself costs. */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_READ = 1 << 20 };

static const double forever = 1e9;
static char zeros[MAX_READ];

static struct stat
attributes (fuse_req_t req)
{
  const uint64_t *size = fuse_req_userdata (req);
  return (struct stat){.st_ino = FUSE_ROOT_ID,
                       .st_mode = S_IFREG | 0400,
                       .st_nlink = 1,
                       .st_size = (off_t)*size};
}

static void
null_getattr (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
  (void)ino;
  (void)info;
  struct stat attr = attributes (req);
  fuse_reply_attr (req, &attr, forever);
}

static void
null_open (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
  (void)ino;
  info->direct_io = 1;
  fuse_reply_open (req, info);
}

static void
null_read (fuse_req_t req, fuse_ino_t ino, size_t length, off_t offset,
           struct fuse_file_info *info)
{
  (void)ino;
  (void)info;
  uint64_t size = *(const uint64_t *)fuse_req_userdata (req);
  uint64_t left = (uint64_t)offset < size ? size - (uint64_t)offset : 0;
  if (length > left)
    length = left;
  if (length > MAX_READ)
    length = MAX_READ;
  fuse_reply_buf (req, zeros, length);
}

static const struct fuse_lowlevel_ops ops = {
    .getattr = null_getattr,
    .open = null_open,
    .read = null_read,
};

static int
serve (struct fuse_session *session, const char *mountpoint)
{
  if (fuse_set_signal_handlers (session) != 0 ||
      fuse_session_mount (session, mountpoint) != 0)
    return 1;
  struct fuse_loop_config *config = fuse_loop_cfg_create ();
  fuse_loop_cfg_set_clone_fd (config, 1);
  int status = fuse_session_loop_mt (session, config);
  fuse_loop_cfg_destroy (config);
  fuse_session_unmount (session);
  return status == 0 || status == SIGTERM ? 0 : 1;
}

int
main (int argc, char **argv)
{
  if (argc != 3) {
    fprintf (stderr, "usage: null-fuse SIZE FILE\n");
    return 2;
  }
  uint64_t size = strtoull (argv[1], NULL, 10);
  char *words[] = {argv[0], "-oro", NULL};
  struct fuse_args args = FUSE_ARGS_INIT (2, words);
  struct fuse_session *session = fuse_session_new (&args, &ops, sizeof ops, &size);
  if (!session)
    return 1;
  int status = serve (session, argv[2]);
  fuse_session_destroy (session);
  return status;
}
