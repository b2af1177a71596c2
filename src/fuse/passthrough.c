/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernel passthrough of a whole file. */
#include "fuse/passthrough.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The kernel's protocol 7.40, which older headers lack. */
#define INIT_PASSTHROUGH (1u << 5) /* of the upper half of the flags */

typedef struct {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
} BackingMap;

#define BACKING_OPEN _IOW (FUSE_DEV_IOC_MAGIC, 1, BackingMap)

struct ImFusePassthrough {
  const ImBlock *block;  /* borrowed: the disk */
  int fd;                /* its file, through the private mount */
  uint32_t stack_depth;  /* file systems on one another, ours included */
  uint64_t init;         /* the number of the INIT that offered it */
  bool offered, started; /* set before the threads that read them begin */
  int32_t id;
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
 * and keeps no access times.  -1 and errno. */
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
    again = open (path, O_RDONLY | O_CLOEXEC | O_NOATIME);
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
  passthrough->stack_depth = depth_above (fd);
  return passthrough;
}

void
im_fuse_passthrough_free (ImFusePassthrough *passthrough)
{
  if (!passthrough)
    return;
  if (passthrough->fd >= 0)
    close (passthrough->fd);
  g_free (passthrough);
}

void
im_fuse_passthrough_see (ImFusePassthrough *passthrough, const void *request,
                         size_t length)
{
  struct fuse_in_header header;
  struct fuse_init_in init;
  if (passthrough->started || length < sizeof header + sizeof init)
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
im_fuse_passthrough_amend (ImFusePassthrough *passthrough, const struct iovec *iov, int n)
{
  struct fuse_out_header header;
  struct fuse_init_out init;
  if (passthrough->started || !passthrough->offered || n != 2 ||
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

void
im_fuse_passthrough_start (ImFusePassthrough *passthrough, int connection)
{
  passthrough->started = true;
  BackingMap map = {.fd = passthrough->fd};
  int id = passthrough->offered ? ioctl (connection, BACKING_OPEN, &map) : -1;
  if (id > 0)
    passthrough->id = id;
  else
    im_log_verbose (1, "no kernel passthrough: %s",
                    passthrough->offered ? g_strerror (errno) : "this kernel has none");
  /* The kernel has its own reference now, or no use for it. */
  close (passthrough->fd);
  passthrough->fd = -1;
}

int32_t
im_fuse_passthrough_id (const ImFusePassthrough *passthrough, const ImBlock *block)
{
  return passthrough && block == passthrough->block ? passthrough->id : 0;
}
