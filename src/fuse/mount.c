/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mounting and unmounting: by the kernel where that is allowed, else by fusermount3. */
#include "fuse/mount.h"
#include "base/error.h"
#include "base/log.h"
#include "fuse/fusermount.h"
#include "fuse/options.h"
#include "fuse/ring.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICE "/dev/fuse"
/* Four requests of the greatest size: beyond that nothing was gained. */
#define READ_AHEAD_KIB 4096u
/* So large are the pieces of a read that more than one thread is to work at: half a
 * processor's cache, so that the copy to the client finds there what was read. */
#define PIECE (256u << 10)
/* So long another mount at the same place is waited for: it takes milliseconds. */
#define HOLD_TRIES    200
#define HOLD_EVERY_US 10000

char *
im_fuse_mount_beacon (unsigned major, unsigned minor)
{
  return g_strdup_printf ("fuse/%u:%u", major, minor);
}

static bool
check_type (const char *mountpoint, mode_t *ret_type, GError **error)
{
  struct stat st;
  if (stat (mountpoint, &st) < 0) {
    if (errno == ENOTCONN)
      g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                   "a mount whose server has died is there; --unmount removes it");
    else
      im_set_errno (error, errno, "mount point");
    return false;
  }
  *ret_type = st.st_mode & S_IFMT;
  if (S_ISDIR (st.st_mode) || S_ISREG (st.st_mode))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "mount point: neither a directory nor a regular file");
  return false;
}

/* Is no image mounted at PATH? */
static bool
check_free (const char *path, GError **error)
{
  g_autoptr (GPtrArray) table = im_mount_table_read (error);
  if (!table)
    return false;
  const ImMountEntry *there = im_mount_table_at (table, path);
  if (!there || !g_str_equal (there->type, IM_FUSE_TYPE))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "mount point: %s is mounted there already", there->source);
  return false;
}

char *
im_fuse_mount_resolve (const char *mountpoint, mode_t *ret_type, GError **error)
{
  if (!check_type (mountpoint, ret_type, error))
    return NULL;
  g_autofree char *path = realpath (mountpoint, NULL);
  if (!path) {
    im_set_errno (error, errno, "mount point");
    return NULL;
  }
  return check_free (path, error) ? g_steal_pointer (&path) : NULL;
}

/* Holds PATH against others of us that would mount there at the same moment, as long as
 * the descriptor is open; -1 where that cannot be. */
static int
hold_mountpoint (const char *path)
{
  int fd = open (path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  for (int tries = 0; fd >= 0 && tries < HOLD_TRIES; tries++) {
    if (flock (fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
      break;
    g_usleep (HOLD_EVERY_US);
  }
  return fd;
}

static int
open_device (GError **error)
{
  int fd = open (DEVICE, O_RDWR | O_CLOEXEC);
  if (fd >= 0)
    return fd;
  if (errno == EACCES)
    im_set_errno (error, errno,
                  "%s, which must be readable and writable for all who mount "
                  "(mode 0666)",
                  DEVICE);
  else if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
    im_set_errno (error, errno, "the kernel has no FUSE, or its module is not loaded: %s",
                  DEVICE);
  else
    im_set_errno (error, errno, "%s", DEVICE);
  return -1;
}

static void
set_mount_error (const ImFuseMountOptions *options, GError **error)
{
  int errnum = errno;
  if (errnum == EINVAL && options->kernel[0])
    im_set_errno (error, errnum, "mount with the options %s", options->kernel);
  else if (errnum == ENODEV)
    im_set_errno (error, errnum, "the kernel has no FUSE, or its module is not loaded");
  else
    im_set_errno (error, errnum, "mount");
}

/* The device's descriptor, mounted; -1 with *ret_denied where only root may do that. */
static int
mount_directly (const char *path, mode_t type, const char *source,
                const ImFuseMountOptions *options, bool *ret_denied, GError **error)
{
  int fd = open_device (error);
  if (fd < 0)
    return -1;
  g_autofree char *more = im_fuse_mount_options_for_kernel (options);
  g_autofree char *data =
      g_strdup_printf ("fd=%d,rootmode=%o,user_id=%u,group_id=%u%s", fd, (unsigned)type,
                       getuid (), getgid (), more);
  unsigned long flags = MS_NOSUID | MS_NODEV | (options->read_only ? MS_RDONLY : 0);
  if (mount (source, path, IM_FUSE_TYPE, flags, data) == 0)
    return fd;
  *ret_denied = errno == EPERM;
  if (!*ret_denied)
    set_mount_error (options, error);
  close (fd);
  return -1;
}

/* What root mounts is for all whom the image's mode admits; the kernel checks it. */
static void
complete_options (ImFuseMountOptions *options)
{
  if (geteuid () == 0 && !options->allow_root)
    options->allow_other = true;
  if (options->allow_other)
    options->default_permissions = true;
}

/* Rings come with memory for the greatest read, and one thread for each processor as it
 * is; one processor gains nothing; and whoever writes has its requests in one piece. */
static bool
split_reads (ImFuseMountOptions *options)
{
  if (!options->read_only || options->io_uring || g_get_num_processors () < 2)
    return false;
  if (!options->max_read)
    options->piece = PIECE;
  return true;
}

static void
find_device (ImFuseMount *mount)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) table = im_mount_table_read (&error);
  const ImMountEntry *entry = table ? im_mount_table_at (table, mount->path) : NULL;
  if (!entry || !g_str_equal (entry->type, IM_FUSE_TYPE)) {
    im_log_verbose (1, "%s: not found in the mount table", mount->path);
    return;
  }
  mount->major = entry->major;
  mount->minor = entry->minor;
}

/* Rings keep the kernel's end open for a moment after their process was killed, which
 * fusermount3 takes for a server that lives. */
static bool
check_rings (const ImFuseMountOptions *options, GError **error)
{
  if (!options->auto_unmount)
    return im_fuse_ring_check (error);
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "-o io_uring and -o auto_unmount exclude each other");
  return false;
}

/* Fills RET_MOUNT's descriptors. */
static bool
mount_either_way (const char *path, mode_t type, const char *source,
                  const ImFuseMountOptions *options, ImFuseMount *ret_mount,
                  GError **error)
{
  bool by_fusermount = options->auto_unmount;
  if (!by_fusermount)
    ret_mount->fd = mount_directly (path, type, source, options, &by_fusermount, error);
  if (by_fusermount) {
    g_autofree char *list = im_fuse_mount_options_for_fusermount (options, source);
    ret_mount->fd = im_fusermount_mount (path, list, options->auto_unmount,
                                         &ret_mount->keeper, error);
  }
  return ret_mount->fd >= 0;
}

bool
im_fuse_mount_open (const char *path, mode_t type, const char *source,
                    const char *options, bool read_only, ImFuseMount *ret_mount,
                    GError **error)
{
  g_auto (ImFuseMountOptions) parsed = {0};
  im_fuse_mount_options_parse (options, &parsed);
  parsed.read_only = read_only;
  complete_options (&parsed);
  if (parsed.source)
    source = parsed.source;
  *ret_mount = (ImFuseMount){.fd = -1,
                             .keeper = -1,
                             .io_uring = parsed.io_uring,
                             .splits_reads = split_reads (&parsed)};
  if (parsed.io_uring && !check_rings (&parsed, error))
    return false;
  int hold = hold_mountpoint (path);
  /* Once more: opening the image took its time. */
  bool mounted = check_free (path, error) &&
                 mount_either_way (path, type, source, &parsed, ret_mount, error);
  if (hold >= 0)
    close (hold);
  if (!mounted)
    return false;
  ret_mount->path = g_strdup (path);
  ret_mount->allow_root = parsed.allow_root;
  find_device (ret_mount);
  return true;
}

void
im_fuse_mount_clear (ImFuseMount *mount)
{
  if (mount->fd >= 0)
    close (mount->fd);
  if (mount->keeper >= 0)
    close (mount->keeper);
  mount->fd = mount->keeper = -1;
  g_clear_pointer (&mount->path, g_free);
}

bool
im_fuse_mount_detach_path (const char *path, bool lazy, GError **error)
{
  if (umount2 (path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
    return true;
  if (errno == EPERM)
    return im_fusermount_unmount (path, lazy, error);
  if (errno == EBUSY)
    im_set_errno (error, errno, "unmount: files below it are open, or used by a device");
  else if (errno == EINVAL)
    g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND,
                 "no image is mounted there any more");
  else
    im_set_errno (error, errno, "unmount");
  return false;
}

/* A thread of a server that was killed can wait for a page that only the server itself
 * could have filled: it goes, and with it the server, when the kernel is told to give the
 * connection up.  The file is the mounting user's own. */
static void
abort_connection (const ImMountEntry *entry)
{
  g_autofree char *path =
      g_strdup_printf ("/sys/fs/fuse/connections/%u/abort", entry->minor);
  int fd = open (path, O_WRONLY | O_CLOEXEC);
  if (fd < 0)
    return;
  if (write (fd, "1", 1) < 0)
    im_log_verbose (1, "%s: %s", path, g_strerror (errno));
  close (fd);
}

bool
im_fuse_mount_remove_dead (const ImMountEntry *entry, GError **error)
{
  abort_connection (entry);
  /* Forced, root's umount gives the connection up as well. */
  if (umount2 (entry->path, UMOUNT_NOFOLLOW | MNT_DETACH | MNT_FORCE) == 0)
    return true;
  return im_fuse_mount_detach_path (entry->path, true, error);
}

/* The kernel drops a connection together with its last mount and handle. */
static bool
is_connected (int connection)
{
  struct pollfd poll_one = {.fd = connection};
  return poll (&poll_one, 1, 0) == 0;
}

bool
im_fuse_mount_detach (const ImFuseMount *mount, int connection, GError **error)
{
  g_autoptr (GPtrArray) table = im_mount_table_read (error);
  if (!table)
    return false;
  const ImMountEntry *ours = im_mount_table_of_device (table, mount->major, mount->minor);
  /* Asked after the table was read: what it says of the device is about our mount. */
  if (!ours || !is_connected (connection))
    return true;
  if (im_mount_table_at (table, ours->path) != ours) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "cannot unmount %s: something else is mounted over it", ours->path);
    return false;
  }
  return im_fuse_mount_detach_path (ours->path, true, error);
}

void
im_fuse_mount_raise_read_ahead (const ImFuseMount *mount)
{
  g_autofree char *path =
      g_strdup_printf ("/sys/class/bdi/%u:%u/read_ahead_kb", mount->major, mount->minor);
  int fd = open (path, O_WRONLY | O_CLOEXEC);
  if (fd < 0)
    return;
  if (dprintf (fd, "%u\n", READ_AHEAD_KIB) < 0)
    im_log_verbose (1, "%s: cannot be raised", path);
  close (fd);
}
