/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that never were files. */
#include "image.h"

ImImage
test_image (const char *path, TestDisk *disk)
{
  static const ImFormat format = {.name = "raw"};
  return (ImImage){
      .path = (char *)path, .format = &format, .probed = true, .disk = disk->block};
}

static bool
chain_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
           ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  extents[0] = (ImExtent){.offset = offset, .length = length, .kind = IM_EXTENT_PARENT};
  *ret_n = 1;
  return true;
}

static GVariant *
chain_describe (ImBlock *block)
{
  GVariantBuilder facts, snapshots;
  const char *const features[] = {"one", "two", NULL};
  const char *const none[] = {NULL};
  g_variant_builder_init (&facts, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (&facts, "{sv}", "cluster-size", g_variant_new_uint64 (65536));
  g_variant_builder_add (&facts, "{sv}", "dirty", g_variant_new_boolean (TRUE));
  g_variant_builder_add (&facts, "{sv}", "odd-text", g_variant_new_string ("a\nb"));
  g_variant_builder_add (&facts, "{sv}", "features", g_variant_new_strv (features, -1));
  g_variant_builder_add (&facts, "{sv}", "other-features", g_variant_new_strv (none, -1));
  g_variant_builder_init (&snapshots, G_VARIANT_TYPE ("aa{sv}"));
  g_variant_builder_open (&snapshots, G_VARIANT_TYPE_VARDICT);
  g_variant_builder_add (&snapshots, "{sv}", "id", g_variant_new_string ("1"));
  g_variant_builder_close (&snapshots);
  g_variant_builder_add (&facts, "{sv}", "snapshots", g_variant_builder_end (&snapshots));
  return g_variant_builder_end (&facts);
}

static void
chain_free (ImBlock *block)
{
  g_free (block);
}

static const ImBlockOps chain_ops = {
    .name = "test", .map = chain_map, .describe = chain_describe, .free = chain_free};

ImBlock *
test_chain_new (ImFile *file)
{
  ImBlock *parent = g_new0 (ImBlock, 1);
  im_block_init (parent, &chain_ops, 1024, NULL, NULL);
  im_block_set_file (parent, file);
  ImBlock *child = g_new0 (ImBlock, 1);
  im_block_init (child, &chain_ops, 1048576, parent, NULL);
  return child;
}
