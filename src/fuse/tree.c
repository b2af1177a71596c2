/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The names below a mount point, and what stat says of each. */
#include "fuse/tree.h"
#include "base/bytes.h"

#define STAT_BLOCK 512u

static void
node_free (void *data)
{
  ImNode *node = data;
  g_clear_pointer (&node->by_name, g_hash_table_unref);
  g_clear_pointer (&node->children, g_ptr_array_unref);
  g_free (node->name);
  g_free (node);
}

static ImNode *
add_node (ImFuseTree *tree, ImNode *parent, ImNodeKind kind, const char *name)
{
  ImNode *node = g_new0 (ImNode, 1);
  node->kind = kind;
  node->name = g_strdup (name);
  node->parent = parent ? parent : node;
  node->ino = tree->nodes->len + 1;
  atomic_init (&node->allocated, IM_NODE_UNMEASURED);
  if (kind == IM_NODE_DIRECTORY) {
    node->children = g_ptr_array_new ();
    node->by_name = g_hash_table_new (g_str_hash, g_str_equal);
  }
  g_ptr_array_add (tree->nodes, node);
  if (parent) {
    g_ptr_array_add (parent->children, node);
    g_hash_table_insert (parent->by_name, node->name, node);
  }
  return node;
}

/* The directory NAME below PARENT, made where it is missing; NULL where something else
 * has the name. */
static ImNode *
ensure_directory (ImFuseTree *tree, ImNode *parent, const char *name)
{
  ImNode *node = im_fuse_tree_lookup (parent, name);
  if (!node)
    return add_node (tree, parent, IM_NODE_DIRECTORY, name);
  return node->kind == IM_NODE_DIRECTORY ? node : NULL;
}

/* Adds PATH, "name" or "directory/name".  NULL where the name is taken: who came first
 * in the set keeps it. */
static ImNode *
add_path (ImFuseTree *tree, ImNodeKind kind, const char *path)
{
  ImNode *parent = im_fuse_tree_node (tree, 1);
  const char *slash = strchr (path, '/');
  if (slash) {
    g_autofree char *directory = g_strndup (path, (size_t)(slash - path));
    parent = ensure_directory (tree, parent, directory);
    path = slash + 1;
  }
  if (!parent || im_fuse_tree_lookup (parent, path))
    return NULL;
  return add_node (tree, parent, kind, path);
}

static ImFuseTree *
new_tree (const ImExportSet *set)
{
  ImFuseTree *tree = g_new0 (ImFuseTree, 1);
  tree->set = set;
  tree->nodes = g_ptr_array_new_with_free_func (node_free);
  return tree;
}

static void
add_links (ImFuseTree *tree)
{
  for (guint i = 0; i < tree->set->links->len; i++) {
    const ImExportLink *link = tree->set->links->pdata[i];
    g_autofree char *path = g_strdup_printf ("%s/%s", link->directory, link->name);
    ImNode *node = add_path (tree, IM_NODE_LINK, path);
    if (node)
      node->link = link;
  }
}

ImFuseTree *
im_fuse_tree_new (const ImExportSet *set)
{
  ImFuseTree *tree = new_tree (set);
  add_node (tree, NULL, IM_NODE_DIRECTORY, "");
  for (guint i = 0; i < set->blocks->len; i++) {
    const ImExport *block = set->blocks->pdata[i];
    ImNode *node = add_path (tree, IM_NODE_BLOCK, block->name);
    if (node)
      node->block = block;
  }
  for (guint i = 0; i < set->texts->len; i++) {
    const ImExportText *text = set->texts->pdata[i];
    ImNode *node = add_path (tree, IM_NODE_TEXT, text->name);
    if (node)
      node->text = text;
  }
  add_links (tree);
  return tree;
}

ImFuseTree *
im_fuse_tree_new_file (const ImExportSet *set)
{
  ImFuseTree *tree = new_tree (set);
  add_node (tree, NULL, IM_NODE_BLOCK, "")->block = set->blocks->pdata[0];
  return tree;
}

void
im_fuse_tree_free (ImFuseTree *tree)
{
  g_ptr_array_unref (tree->nodes);
  g_free (tree);
}

ImNode *
im_fuse_tree_node (const ImFuseTree *tree, uint64_t ino)
{
  return ino >= 1 && ino <= tree->nodes->len ? tree->nodes->pdata[ino - 1] : NULL;
}

ImNode *
im_fuse_tree_lookup (const ImNode *parent, const char *name)
{
  if (parent->kind != IM_NODE_DIRECTORY)
    return NULL;
  return g_hash_table_lookup (parent->by_name, name);
}

mode_t
im_fuse_tree_mode (const ImFuseTree *tree, const ImNode *node)
{
  mode_t read = 0400 | (tree->set->image.st_mode & 0444);
  mode_t write = 0200 | (tree->set->image.st_mode & 0222);
  switch (node->kind) {
  case IM_NODE_DIRECTORY:
    return S_IFDIR | read | read >> 2;
  case IM_NODE_LINK:
    return S_IFLNK | 0777;
  case IM_NODE_TEXT:
    return S_IFREG | read;
  default:
    return S_IFREG | read | (tree->set->read_only ? 0 : write);
  }
}

/* Before the tables have been read: below the size, so that copying tools ask for holes.
 * Never nothing, which some tools take for an empty file, unless that is certain. */
static uint64_t
blocks_of (const ImFuseTree *tree, const ImNode *node, uint64_t size)
{
  uint64_t allocated = atomic_load_explicit (&node->allocated, memory_order_acquire);
  if (allocated != IM_NODE_UNMEASURED)
    return im_max (im_div_up (allocated, STAT_BLOCK), tree->set->read_only ? 0 : 1);
  uint64_t below = size > STAT_BLOCK ? im_div_up (size, STAT_BLOCK) - 1 : 1;
  uint64_t image = (uint64_t)im_max ((uint64_t)tree->set->image.st_blocks, 1);
  return im_min (below, image);
}

static uint64_t
text_size (const ImNode *node)
{
  g_autofree char *text = node->text->render (node->text->data);
  return text ? strlen (text) : 0;
}

static nlink_t
directory_links (const ImNode *node)
{
  nlink_t links = 2;
  for (guint i = 0; i < node->children->len; i++)
    links += ((ImNode *)node->children->pdata[i])->kind == IM_NODE_DIRECTORY;
  return links;
}

void
im_fuse_tree_stat (const ImFuseTree *tree, const ImNode *node, struct stat *ret_stat)
{
  const struct stat *image = &tree->set->image;
  uint64_t size = 0, blocks = 0;
  if (node->kind == IM_NODE_BLOCK) {
    size = node->block->block->size;
    blocks = blocks_of (tree, node, size);
  } else if (node->kind == IM_NODE_TEXT) {
    size = text_size (node);
    blocks = im_div_up (size, STAT_BLOCK);
  } else if (node->kind == IM_NODE_LINK) {
    size = strlen (node->link->target);
  }
  *ret_stat = (struct stat){
      .st_ino = node->ino,
      .st_mode = im_fuse_tree_mode (tree, node),
      .st_nlink = node->kind == IM_NODE_DIRECTORY ? directory_links (node) : 1,
      .st_uid = image->st_uid,
      .st_gid = image->st_gid,
      .st_size = (off_t)size,
      .st_blksize = 4096,
      .st_blocks = (blkcnt_t)blocks,
      .st_atim = image->st_mtim,
      .st_mtim = image->st_mtim,
      .st_ctim = image->st_mtim,
  };
}

bool
im_fuse_tree_is_volatile (const ImFuseTree *tree, const ImNode *node)
{
  if (node->kind == IM_NODE_TEXT)
    return true;
  return node->kind == IM_NODE_BLOCK &&
         (!tree->set->read_only ||
          atomic_load_explicit (&node->allocated, memory_order_acquire) ==
              IM_NODE_UNMEASURED);
}
