/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mount options: FUSE's own words of the user's list, sorted.  Pure functions of text. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
  bool read_only;
  bool allow_other;         /* all users, not the mounting one alone */
  bool allow_root;          /* the mounting user and root */
  bool default_permissions; /* the kernel checks modes */
  bool auto_unmount;        /* fusermount3 unmounts when the server is gone */
  bool io_uring;            /* requests come by rings */
  bool max_read;            /* the user's own, which is among KERNEL */
  unsigned piece;           /* no read is of more bytes; 0: as many as there can be */
  char *source;             /* fsname=, or NULL */
  char *kernel;             /* all others, for the kernel; "" where there are none */
} ImFuseMountOptions;

/* Sorts TEXT, a comma-separated list without escapes, or NULL. */
void im_fuse_mount_options_parse (const char *text, ImFuseMountOptions *ret_options);
void im_fuse_mount_options_clear (ImFuseMountOptions *options);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (ImFuseMountOptions, im_fuse_mount_options_clear)

/* TEXT with '\' before every comma and backslash: one value of an option list. */
char *im_fuse_option_escape (const char *text);

/* What mount(2) is told of OPTIONS besides its flags: each begins with a comma. */
char *im_fuse_mount_options_for_kernel (const ImFuseMountOptions *options);

/* The list that fusermount3 is given, with SOURCE as the name of the file system. */
char *im_fuse_mount_options_for_fusermount (const ImFuseMountOptions *options,
                                            const char *source);
