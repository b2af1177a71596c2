/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is answered to the kernel's requests. */
#pragma once

#include "fuse/coherence.h"
#include "fuse/measure.h"
#include "fuse/passthrough.h"
#include "fuse/ring.h"
#include "fuse/tree.h"
#include <fuse_lowlevel.h>

/* What the operations work with: the user data of the libfuse session. */
typedef struct {
  const ImFuseTree *tree;
  ImFuseMeasure *measure; /* NULL: sizes stay estimates */
  struct fuse_session *session;
  ImFuseCoherence *coherence;     /* NULL: nothing can be written */
  ImFusePassthrough *passthrough; /* NULL: the kernel asks us for every byte */
  ImFuseRing *ring;               /* NULL: no FUSE over io_uring */
  bool splits_reads;              /* const: as the mount does */
  atomic_bool initialised;        /* INIT has come */
  atomic_bool aborting;           /* long searches give up */
  atomic_uint complaints;         /* errors logged so far */
} ImFuseServer;

ImFuseServer *im_fuse_server_of (fuse_req_t req);
/* NULL: no such inode. */
ImNode *im_fuse_node_of (fuse_req_t req, fuse_ino_t ino);
/* Of what was rendered when NODE, a text, was opened. */
size_t im_fuse_text_length (ImNode *node, const struct fuse_file_info *fi);

/* Page-aligned memory of IM_FUSE_MAX_READ bytes, from which REQ is answered. */
void *im_fuse_buffer (fuse_req_t req);

/* Serves a read, a write, of a disk if that needs no waiting.  False: not served. */
bool im_fuse_read_at_once (fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                           const struct fuse_file_info *fi);
bool im_fuse_write_at_once (fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size,
                            off_t off, const struct fuse_file_info *fi);

/* Answers with NODE's attributes.  FI may be NULL. */
void im_fuse_reply_stat (fuse_req_t req, ImNode *node, const struct fuse_file_info *fi);
/* Logs an error of the disk below, unless there were too many. */
void im_fuse_complain (ImFuseServer *server, const ImNode *node, const GError *error);

/* Each sets those of OPS' entries that its file is about: names and attributes … */
void im_fuse_ops_fill (struct fuse_lowlevel_ops *ops);
/* … opening and reading … */
void im_fuse_handle_fill (struct fuse_lowlevel_ops *ops);
/* … whatever would change something, to be refused … */
void im_fuse_refuse_fill (struct fuse_lowlevel_ops *ops);
/* … and, instead of some of these, what changes a disk.  Needs the coherence. */
void im_fuse_change_fill (struct fuse_lowlevel_ops *ops);
