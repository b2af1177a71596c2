/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names, numbers and states of the kernel's NBD devices. */
#include "nbd/kernel-device.h"
#include "base/error.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Digits without a leading zero.  *TEXT moves behind them. */
static bool
parse_digits (const char **text, unsigned *ret_number)
{
  const char *start = *text;
  uint64_t number = 0;
  for (; g_ascii_isdigit (**text) && number <= IM_NBD_DEVICE_MAX; (*text)++)
    number = number * 10 + (unsigned)(**text - '0');
  *ret_number = (unsigned)number;
  return *text > start && number <= IM_NBD_DEVICE_MAX &&
         (*start != '0' || *text == start + 1);
}

bool
im_nbd_device_parse_name (const char *name, unsigned *ret_index, unsigned *ret_partition)
{
  *ret_partition = 0;
  if (!g_str_has_prefix (name, "nbd"))
    return false;
  name += strlen ("nbd");
  if (!parse_digits (&name, ret_index))
    return false;
  if (*name == '\0')
    return true;
  if (*name++ != 'p')
    return false;
  return parse_digits (&name, ret_partition) && *ret_partition > 0 && *name == '\0';
}

bool
im_nbd_device_check_module (GError **error)
{
  if (g_file_test ("/sys/module/nbd", G_FILE_TEST_IS_DIR))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND,
               "the kernel's NBD client is not there: the module nbd is not loaded");
  return false;
}

/* The kernel's name for the device that the node ST is, or "".  Caller frees. */
static char *
name_of_node (const struct stat *st)
{
  g_autofree char *link =
      g_strdup_printf ("/sys/dev/block/%u:%u", (unsigned)major (st->st_rdev),
                       (unsigned)minor (st->st_rdev));
  g_autofree char *target = realpath (link, NULL);
  return target ? g_path_get_basename (target) : g_strdup ("");
}

static bool
refuse (GError **error, const char *path, const char *what)
{
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "%s: %s", path, what);
  return false;
}

/* The kernel's name for the device at PATH; for one that is not there, that which its
 * path stands for.  Caller frees. */
static char *
name_of_device (const char *path, GError **error)
{
  struct stat st;
  bool there = stat (path, &st) == 0;
  int errnum = errno;
  if (!there && errnum == ENOENT && g_str_has_prefix (path, "/dev/nbd"))
    return g_strdup (path + strlen ("/dev/"));
  if (!there)
    im_set_errno (error, errnum, "%s", path);
  else if (!S_ISBLK (st.st_mode))
    refuse (error, path, "is no block device");
  else
    return name_of_node (&st);
  return NULL;
}

bool
im_nbd_device_find (const char *path, unsigned *ret_index, GError **error)
{
  g_autofree char *name = name_of_device (path, error);
  unsigned partition;
  if (!name)
    return false;
  if (!im_nbd_device_parse_name (name, ret_index, &partition))
    return refuse (error, path, "is no NBD device");
  if (partition != 0)
    return refuse (error, path, "is a partition, not a whole device");
  if (im_nbd_device_check_module (error))
    return true;
  g_prefix_error (error, "%s: ", path);
  return false;
}

bool
im_nbd_device_exists (unsigned index)
{
  g_autofree char *path = g_strdup_printf ("/sys/block/nbd%u", index);
  return g_file_test (path, G_FILE_TEST_EXISTS);
}

char *
im_nbd_device_path (unsigned index)
{
  return g_strdup_printf ("/dev/nbd%u", index);
}

char *
im_nbd_device_beacon (unsigned index)
{
  return g_strdup_printf ("nbd/%u", index);
}

/* The contents of the file NAME of block device INDEX, or NULL.  Caller frees. */
static char *
read_attribute (unsigned index, const char *name)
{
  g_autofree char *path = g_strdup_printf ("/sys/block/nbd%u/%s", index, name);
  char *text = NULL;
  g_file_get_contents (path, &text, NULL, NULL);
  return text;
}

pid_t
im_nbd_device_pid (unsigned index)
{
  g_autofree char *text = read_attribute (index, "pid");
  return text ? (pid_t)strtol (text, NULL, 10) : 0;
}

char *
im_nbd_device_backend (unsigned index)
{
  char *text = read_attribute (index, "backend");
  /* The kernel has added a newline; others are part of the name. */
  if (text && g_str_has_suffix (text, "\n"))
    text[strlen (text) - 1] = '\0';
  return text;
}

bool
im_nbd_device_is_read_only (unsigned index)
{
  g_autofree char *text = read_attribute (index, "ro");
  return text && strtol (text, NULL, 10) != 0;
}

uint64_t
im_nbd_device_size (unsigned index)
{
  g_autofree char *sectors = read_attribute (index, "size");
  return sectors ? g_ascii_strtoull (sectors, NULL, 10) * 512 : 0;
}

bool
im_nbd_device_shows_partitions (unsigned index)
{
  /* How many minors the disk and its partitions may have. */
  g_autofree char *range = read_attribute (index, "ext_range");
  return !range || g_ascii_strtoull (range, NULL, 10) > 1;
}

static void
node_free (gpointer data)
{
  ImNbdNode *node = data;
  g_free (node->path);
  g_free (node);
}

/* Adds the node of the device that the kernel calls NAME, at DIRECTORY in /sys. */
static void
add_node (GPtrArray *nodes, const char *directory, const char *name)
{
  g_autofree char *file = g_build_filename (directory, "dev", NULL);
  g_autofree char *text = NULL;
  unsigned major, minor;
  if (!g_file_get_contents (file, &text, NULL, NULL) ||
      sscanf (text, "%u:%u", &major, &minor) != 2)
    return;
  ImNbdNode *node = g_new0 (ImNbdNode, 1);
  node->path = g_strconcat ("/dev/", name, NULL);
  node->major = major;
  node->minor = minor;
  g_ptr_array_add (nodes, node);
}

GPtrArray *
im_nbd_device_nodes (unsigned index)
{
  GPtrArray *nodes = g_ptr_array_new_with_free_func (node_free);
  g_autofree char *disk = g_strdup_printf ("nbd%u", index);
  g_autofree char *directory = g_build_filename ("/sys/block", disk, NULL);
  add_node (nodes, directory, disk);
  GDir *dir = g_dir_open (directory, 0, NULL);
  for (const char *name; dir && (name = g_dir_read_name (dir));) {
    unsigned same, partition;
    if (!im_nbd_device_parse_name (name, &same, &partition))
      continue;
    g_autofree char *below = g_build_filename (directory, name, NULL);
    add_node (nodes, below, name);
  }
  if (dir)
    g_dir_close (dir);
  return nodes;
}

bool
im_nbd_device_has_partition (unsigned index, unsigned number)
{
  g_autofree char *path = g_strdup_printf ("/dev/nbd%up%u", index, number);
  g_autoptr (GPtrArray) nodes = im_nbd_device_nodes (index);
  struct stat st;
  for (guint i = 1; i < nodes->len; i++) {
    const ImNbdNode *node = nodes->pdata[i];
    if (strcmp (node->path, path) == 0)
      return stat (path, &st) == 0 && S_ISBLK (st.st_mode) &&
             st.st_rdev == makedev (node->major, node->minor);
  }
  return false;
}

int
im_nbd_device_open (unsigned index, int flags)
{
  g_autofree char *path = im_nbd_device_path (index);
  return open (path, O_RDONLY | O_CLOEXEC | flags);
}

bool
im_nbd_device_read_table (int fd)
{
  return ioctl (fd, BLKRRPART) == 0;
}

void
im_nbd_device_flush (unsigned index)
{
  g_autoptr (GPtrArray) nodes = im_nbd_device_nodes (index);
  for (guint i = 0; i < nodes->len; i++) {
    const ImNbdNode *node = nodes->pdata[i];
    int fd = open (node->path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fsync (fd) < 0)
      im_log_warning ("%s: flush: %s", node->path, g_strerror (errno));
    if (fd >= 0)
      close (fd);
  }
}

void
im_nbd_device_forget_partitions (unsigned index)
{
  int fd = im_nbd_device_open (index, 0);
  if (fd < 0)
    return;
  /* Opening it was enough, unless the module was told to look for no partitions. */
  g_autoptr (GPtrArray) nodes = im_nbd_device_nodes (index);
  if (nodes->len > 1)
    im_nbd_device_read_table (fd);
  close (fd);
}
