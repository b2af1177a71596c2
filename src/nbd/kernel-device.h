/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A device of the kernel's NBD client, by its number: what /sys and /dev tell of it. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The highest number that is taken for one; a minor has 20 bits. */
#define IM_NBD_DEVICE_MAX 0xfffffu

/* A node: the device itself, or one of its partitions. */
typedef struct {
  char *path; /* "/dev/nbd1p2" */
  unsigned major, minor;
} ImNbdNode;

/* True where NAME is "nbd" and a number, or, with *ret_partition, one of its partitions;
 * that is 0 for the disk. */
bool im_nbd_device_parse_name (const char *name, unsigned *ret_index,
                               unsigned *ret_partition);

/* The number of the device at PATH.  One that is not there, yet whose name is right, may
 * be made by attaching it.  IM_ERROR_NOT_FOUND: the kernel has no NBD client. */
bool im_nbd_device_find (const char *path, unsigned *ret_index, GError **error);

/* IM_ERROR_NOT_FOUND where the module is not loaded. */
bool im_nbd_device_check_module (GError **error);

bool im_nbd_device_exists (unsigned index);

/* "/dev/nbd1".  Caller frees. */
char *im_nbd_device_path (unsigned index);

/* The name that its server is found by, where /sys does not tell of it.  Caller frees. */
char *im_nbd_device_beacon (unsigned index);

/* The thread that attached it, or 0: it is free. */
pid_t im_nbd_device_pid (unsigned index);

/* What whoever attached it says that it is backed by, or NULL.  Caller frees. */
char *im_nbd_device_backend (unsigned index);

bool im_nbd_device_is_read_only (unsigned index);

/* Bytes, as the kernel sees them now. */
uint64_t im_nbd_device_size (unsigned index);

/* False where the module was told to look for no partitions. */
bool im_nbd_device_shows_partitions (unsigned index);

/* The disk and then the partitions that the kernel has for it: of ImNbdNode. */
GPtrArray *im_nbd_device_nodes (unsigned index);

/* True where the kernel has partition NUMBER of it, and a node for it is in /dev. */
bool im_nbd_device_has_partition (unsigned index, unsigned number);

/* Opens it for reading, and has the kernel look at its partition table where it has not
 * since the size last changed.  FLAGS: for open.  Returns the descriptor, or -1 and
 * errno. */
int im_nbd_device_open (unsigned index, int flags);

/* Has what was written through its nodes, and is in the page cache, written to it; a
 * failure is a warning. */
void im_nbd_device_flush (unsigned index);

/* Has the kernel look at the partition table of the device that is open as FD.  False and
 * errno; EINVAL: it never looks for one there, EBUSY: a partition is in use. */
bool im_nbd_device_read_table (int fd);

/* Has the kernel see that a device was detached: its partitions are gone then, unless
 * they are in use. */
void im_nbd_device_forget_partitions (unsigned index);
