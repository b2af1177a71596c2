/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is answered to the kernel's requests. */
#pragma once

#include "fuse/measure.h"
#include "fuse/tree.h"
#include <fuse_lowlevel.h>

/* What the operations work with: the user data of the libfuse session. */
typedef struct {
  const ImFuseTree *tree;
  ImFuseMeasure *measure;  /* NULL: sizes stay estimates */
  atomic_bool initialised; /* INIT has come */
  atomic_bool aborting;    /* long searches give up */
  atomic_uint complaints;  /* errors logged so far */
} ImFuseServer;

/* Sets OPS' entries. */
void im_fuse_ops_fill (struct fuse_lowlevel_ops *ops);

/* In refuse.c: sets those that would change something, to say EROFS. */
void im_fuse_refuse_fill (struct fuse_lowlevel_ops *ops);
