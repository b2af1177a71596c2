/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is mounted where, read from the kernel's mountinfo; no mount is touched. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
  unsigned major, minor; /* its device, alone in the whole system while it lives */
  char *path;            /* the mount point, unescaped */
  char *type;
  char *source;
  char *super_options; /* "rw,user_id=0,group_id=0" */
  bool read_only;      /* here, or the file system as a whole */
} ImMountEntry;

/* Parses the text of a mountinfo file; lines that are none are left out.  Entries in the
 * file's order, so that of several at one place the last is on top. */
GPtrArray *im_mount_table_parse (const char *text);
/* This process's mounts. */
GPtrArray *im_mount_table_read (GError **error);

/* The one on top at PATH, or NULL. */
const ImMountEntry *im_mount_table_at (GPtrArray *table, const char *path);
/* The last of that device, or NULL. */
const ImMountEntry *im_mount_table_of_device (GPtrArray *table, unsigned major,
                                              unsigned minor);

/* The user who mounted a FUSE file system, and his group; false where the entry does not
 * tell. */
bool im_mount_entry_user (const ImMountEntry *entry, unsigned *ret_uid);
bool im_mount_entry_group (const ImMountEntry *entry, unsigned *ret_gid);
