/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mounting and unmounting: by the kernel where that is allowed, else by fusermount3. */
#pragma once

#include "base/mount-table.h"
#include <sys/types.h>

/* The file system type of every mount of ours. */
#define IM_FUSE_TYPE "fuse.imgmount"

/* The name that the server of the mount with this device is found by.  Caller frees. */
char *im_fuse_mount_beacon (unsigned major, unsigned minor);

/* One mount of ours. */
typedef struct {
  int fd;     /* the kernel's end: requests come from it */
  int keeper; /* while it is open fusermount3 waits to unmount, with auto_unmount; or -1
               */
  char *path; /* the mount point, resolved */
  bool allow_root;       /* only the mounting user and root are served */
  bool io_uring;         /* requests are to come by rings */
  bool splits_reads;     /* a large read past the page cache may come in pieces, which are
                          * under way at once where the kernel is left to cut it */
  unsigned major, minor; /* its device; 0:0 where the mount table did not tell */
} ImFuseMount;

/* The path of MOUNTPOINT without links, and whether it is a directory or a regular file;
 * anything else, and a place that a mount of ours has already, is an error. */
char *im_fuse_mount_resolve (const char *mountpoint, mode_t *ret_type, GError **error);

/* Mounts at PATH, as resolved.  TYPE: S_IFDIR or S_IFREG.  OPTIONS as the user gave
 * them, or NULL. */
bool im_fuse_mount_open (const char *path, mode_t type, const char *source,
                         const char *options, bool read_only, ImFuseMount *ret_mount,
                         GError **error);

/* Closes the descriptors; the place stays mounted, dead, unless it was detached. */
void im_fuse_mount_clear (ImFuseMount *mount);

/* Unmounts what is on top at PATH; LAZY: out of sight at once, gone when unused. */
bool im_fuse_mount_detach_path (const char *path, bool lazy, GError **error);

/* Removes ENTRY, on top at its place, whose server has died, whoever uses it: they get
 * errors from then on. */
bool im_fuse_mount_remove_dead (const ImMountEntry *entry, GError **error);

/* Detaches MOUNT lazily, wherever it is now.  CONNECTION is the kernel's descriptor,
 * which tells whether the device number still is ours: it goes to another mount at once.
 * True also when the mount is gone. */
bool im_fuse_mount_detach (const ImFuseMount *mount, int connection, GError **error);

/* Lets the kernel read ahead as much as goes into a few requests; needs root, and comes
 * after INIT, which sets it too.  Nothing happens where that fails. */
void im_fuse_mount_raise_read_ahead (const ImFuseMount *mount);
