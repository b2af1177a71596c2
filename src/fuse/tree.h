/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The names below a mount point, and what stat says of each.  Built once from the export
 * set; only what is measured and counted changes afterwards. */
#pragma once

#include "export/export.h"
#include <stdatomic.h>

typedef enum {
  IM_NODE_DIRECTORY,
  IM_NODE_BLOCK,
  IM_NODE_TEXT,
  IM_NODE_LINK,
} ImNodeKind;

/* What a node's allocated size reads before it has been measured. */
#define IM_NODE_UNMEASURED UINT64_MAX

/* What the kernel may hold of a block's bytes; see coherence.h. */
typedef struct {
  atomic_uint handles;      /* open ones that read through the page cache */
  _Atomic uint64_t filled;  /* reads into the page cache, so far */
  _Atomic uint64_t emptied; /* what filled was before the page cache was last emptied */
} ImNodePages;

typedef struct ImNode ImNode;
struct ImNode {
  ImNodeKind kind;
  uint64_t ino; /* 1 is the root; the others follow without gaps */
  char *name;
  ImNode *parent;      /* the root's is itself */
  GPtrArray *children; /* DIRECTORY: borrowed nodes, in the order of the set */
  GHashTable *by_name; /* DIRECTORY: the same by name */
  union {
    const ImExport *block;
    const ImExportText *text;
    const ImExportLink *link;
  };
  _Atomic uint64_t allocated; /* BLOCK: bytes, or IM_NODE_UNMEASURED; set by the
                               * measuring thread */
  atomic_bool outdated;       /* BLOCK: written to since it was last measured */
  gint64 measure_again;       /* BLOCK: not before this time; the measure's lock */
  ImNodePages pages;          /* BLOCK */
  atomic_uint uses;           /* TEXT: of its handles' texts; see handle.c */
};

typedef struct {
  const ImExportSet *set; /* borrowed */
  GPtrArray *nodes;       /* owned; node i has inode number i + 1 */
} ImFuseTree;

/* The tree below a directory.  SET outlives it. */
ImFuseTree *im_fuse_tree_new (const ImExportSet *set);
/* A tree whose root is the set's first block itself: a regular file as mount point. */
ImFuseTree *im_fuse_tree_new_file (const ImExportSet *set);
void im_fuse_tree_free (ImFuseTree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImFuseTree, im_fuse_tree_free)

/* NULL: no such inode. */
ImNode *im_fuse_tree_node (const ImFuseTree *tree, uint64_t ino);
/* NULL: no such name, or PARENT is no directory.  Knows no "." and "..". */
ImNode *im_fuse_tree_lookup (const ImNode *parent, const char *name);

/* Fills *RET_STAT.  The size of a text is that of a rendering made for it here. */
void im_fuse_tree_stat (const ImFuseTree *tree, const ImNode *node,
                        struct stat *ret_stat);
/* What of im_fuse_tree_stat is always at hand: type, mode and inode number. */
mode_t im_fuse_tree_mode (const ImFuseTree *tree, const ImNode *node);

/* True when a later stat of NODE may say something else. */
bool im_fuse_tree_is_volatile (const ImFuseTree *tree, const ImNode *node);
