/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernel passthrough of a whole file. */
#include "fuse/passthrough.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

struct ImFusePassthrough {
  const ImBlock *block;           /* borrowed: the disk */
  ImLibfusePassthrough agreement; /* set before the threads that read it begin */
  pthread_mutex_t lock;           /* guards what follows */
  int fd;     /* its file, through the private mount, until the kernel has it; or -1 */
  int32_t id; /* what the kernel calls it, or 0 */
  uint64_t passed, ours; /* open handles that the kernel reads, and that we do */
};

/* The file that is DISK from its first byte to its last, or NULL. */
static ImFile *
whole_file (ImBlock *disk)
{
  ImExtent extent;
  size_t n;
  /* What the kernel cannot read it would say itself. */
  if (disk->size == 0 || disk->fills_damage ||
      !im_block_map (disk, 0, disk->size, IM_MAP_WHERE, &extent, 1, &n, NULL))
    return NULL;
  bool whole = extent.kind == IM_EXTENT_FILE && extent.stable && !extent.crypt &&
               extent.at == 0 && extent.length == disk->size &&
               im_file_size (extent.file) == disk->size && im_file_fd (extent.file) >= 0;
  return whole && S_ISREG (im_file_stat (extent.file)->st_mode) ? extent.file : NULL;
}

/* FD's file once more, through a mount of its own that nobody sees, which takes no writes
 * and keeps no access times.  -1 and errno, also where its file system has no O_DIRECT:
 * who reads the disk so is then to be served by us. */
static int
open_privately (int fd)
{
  int tree = open_tree (fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  if (tree < 0)
    return -1;
  struct mount_attr attr = {
      .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME,
      .attr_clr = MOUNT_ATTR__ATIME,
  };
  int again = -1;
  if (mount_setattr (tree, "", AT_EMPTY_PATH, &attr, sizeof attr) == 0) {
    g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", tree);
    again = open (path, O_RDONLY | O_CLOEXEC | O_NOATIME | O_DIRECT);
  }
  int failed = errno;
  close (tree);
  errno = failed;
  return again;
}

/* One more where the file's own file system lies on others. */
static uint32_t
depth_above (int fd)
{
  struct statfs fs;
  return fstatfs (fd, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC ? 2 : 1;
}

ImFusePassthrough *
im_fuse_passthrough_new (const ImExportSet *set)
{
  const ImExport *disk = set->blocks->pdata[0];
  ImFile *file = set->read_only ? whole_file (disk->block) : NULL;
  if (!file || fcntl (im_file_fd (file), F_GETFL) & O_DIRECT)
    return NULL;
  int fd = open_privately (im_file_fd (file));
  if (fd < 0) {
    im_log_verbose (1, "no kernel passthrough: a private mount of %s: %s",
                    im_file_path (file), g_strerror (errno));
    return NULL;
  }
  ImFusePassthrough *passthrough = g_new0 (ImFusePassthrough, 1);
  passthrough->block = disk->block;
  passthrough->fd = fd;
  passthrough->agreement.stack_depth = depth_above (fd);
  pthread_mutex_init (&passthrough->lock, NULL);
  return passthrough;
}

void
im_fuse_passthrough_free (ImFusePassthrough *passthrough)
{
  if (!passthrough)
    return;
  if (passthrough->fd >= 0)
    close (passthrough->fd);
  pthread_mutex_destroy (&passthrough->lock);
  g_free (passthrough);
}

void
im_fuse_passthrough_init (ImFusePassthrough *passthrough, struct fuse_conn_info *conn)
{
  if (passthrough)
    im_libfuse_passthrough_init (&passthrough->agreement, conn);
}

void
im_fuse_passthrough_see (ImFusePassthrough *passthrough, const void *request,
                         size_t length)
{
  if (passthrough)
    im_libfuse_passthrough_see (&passthrough->agreement, request, length);
}

void
im_fuse_passthrough_amend (ImFusePassthrough *passthrough, const struct iovec *iov, int n)
{
  if (passthrough)
    im_libfuse_passthrough_amend (&passthrough->agreement, iov, n);
}

static void
close_file (ImFusePassthrough *passthrough)
{
  close (passthrough->fd);
  passthrough->fd = -1;
}

void
im_fuse_passthrough_start (ImFusePassthrough *passthrough)
{
  passthrough->agreement.agreed = true;
  if (passthrough->agreement.offered)
    return;
  im_log_verbose (1, "no kernel passthrough: this kernel has none");
  close_file (passthrough);
}

/* At the first open, since libfuse's own interface asks for a request. */
static void
give_file_locked (ImFusePassthrough *passthrough, fuse_req_t req,
                  struct fuse_session *session)
{
  passthrough->id = im_libfuse_passthrough_open (req, session, passthrough->fd);
  if (passthrough->id == 0)
    im_log_verbose (1, "no kernel passthrough: %s", g_strerror (errno));
  /* The kernel has its own reference now, or no use for it. */
  close_file (passthrough);
}

/* Counts OPEN among those that the kernel, or we, have in hand.  What the kernel calls
 * the file, or 0: it is ours. */
static int32_t
choose_locked (ImFusePassthrough *passthrough, const ImFusePassthroughOpen *open)
{
  bool ours = passthrough->id == 0 || passthrough->ours > 0 ||
              (open->direct && open->cuts && passthrough->passed == 0);
  *(ours ? &passthrough->ours : &passthrough->passed) += 1;
  return ours ? 0 : passthrough->id;
}

bool
im_fuse_passthrough_open (ImFusePassthrough *passthrough, fuse_req_t req,
                          struct fuse_session *session, const ImFusePassthroughOpen *open)
{
  if (!passthrough || open->block != passthrough->block)
    return false;
  pthread_mutex_lock (&passthrough->lock);
  if (passthrough->fd >= 0)
    give_file_locked (passthrough, req, session);
  int32_t id = choose_locked (passthrough, open);
  pthread_mutex_unlock (&passthrough->lock);
  if (id == 0)
    return false;
  if (im_libfuse_passthrough_reply (req, open->handle, id, open->direct) == -ENOENT)
    im_fuse_passthrough_release (passthrough, open->block, true);
  return true;
}

void
im_fuse_passthrough_release (ImFusePassthrough *passthrough, const ImBlock *block,
                             bool passed)
{
  if (!passthrough || block != passthrough->block)
    return;
  pthread_mutex_lock (&passthrough->lock);
  *(passed ? &passthrough->passed : &passthrough->ours) -= 1;
  pthread_mutex_unlock (&passthrough->lock);
}
