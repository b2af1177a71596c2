/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2: what is to be told of an image. */
#include "base/error.h"
#include "formats/luks-key.h"
#include "formats/qcow2/qcow2-image.h"

/* Names come from the image; a GVariant's strings are UTF-8. */
static void
add_text (GVariantBuilder *facts, const char *key, const char *text)
{
  if (text)
    g_variant_builder_add (facts, "{sv}", key,
                           g_variant_new_take_string (g_utf8_make_valid (text, -1)));
}

static void
add_flag (GVariantBuilder *facts, const char *key, bool flag)
{
  g_variant_builder_add (facts, "{sv}", key, g_variant_new_boolean (flag));
}

static void
add_size (GVariantBuilder *facts, const char *key, uint64_t size)
{
  g_variant_builder_add (facts, "{sv}", key, g_variant_new_uint64 (size));
}

static void
add_features (GVariantBuilder *facts, const char *key, const Qcow2Extensions *extensions,
              Qcow2FeatureKind kind, uint64_t bits)
{
  GVariantBuilder names;

  if (bits == 0)
    return;
  g_variant_builder_init (&names, G_VARIANT_TYPE ("as"));
  for (unsigned bit = 0; bit < 64; bit++)
    if (bits >> bit & 1)
      g_variant_builder_add_value (
          &names, g_variant_new_take_string (qcow2_feature_name (extensions, kind, bit)));
  g_variant_builder_add (facts, "{sv}", key, g_variant_builder_end (&names));
}

static GVariant *
describe_snapshot (const Qcow2Snapshot *s, uint64_t current_size)
{
  g_autoptr (GDateTime) date = g_date_time_new_from_unix_utc (s->date_seconds);
  g_autofree char *when = g_date_time_format (date, "%Y-%m-%dT%H:%M:%SZ");
  GVariantBuilder facts;

  g_variant_builder_init (&facts, G_VARIANT_TYPE_VARDICT);
  add_text (&facts, "id", s->id);
  add_text (&facts, "name", s->name);
  add_text (&facts, "date", when);
  add_size (&facts, "virtual-size", s->has_size ? s->size : current_size);
  add_size (&facts, "vm-state-size", s->vm_state_size);
  add_size (&facts, "vm-clock-nanoseconds", s->clock_nanoseconds);
  return g_variant_builder_end (&facts);
}

/* A broken table spoils no disk: it is told in place of what it would say. */
static void
add_snapshots (GVariantBuilder *facts, const Qcow2Image *image)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) all = qcow2_snapshots_read (image->file, &image->header, &error);
  GVariantBuilder list;

  if (!all) {
    add_text (facts, "snapshots-error", error->message);
    return;
  }
  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  for (guint i = 0; i < all->len; i++)
    g_variant_builder_add_value (
        &list, describe_snapshot (g_ptr_array_index (all, i), image->header.size));
  g_variant_builder_add (facts, "{sv}", "snapshots", g_variant_builder_end (&list));
}

static GVariant *
bitmap_flags (uint32_t flags)
{
  static const char *const names[] = {"in-use", "auto", "extra-data-compatible"};
  GVariantBuilder list;

  g_variant_builder_init (&list, G_VARIANT_TYPE ("as"));
  for (unsigned bit = 0; bit < 32; bit++) {
    if (!(flags >> bit & 1))
      continue;
    if (bit < G_N_ELEMENTS (names))
      g_variant_builder_add (&list, "s", names[bit]);
    else
      g_variant_builder_add_value (
          &list, g_variant_new_take_string (g_strdup_printf ("bit %u", bit)));
  }
  return g_variant_builder_end (&list);
}

static void
add_bitmaps (GVariantBuilder *facts, Qcow2Image *image)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) all = qcow2_bitmaps_read (image, &error);
  GVariantBuilder list;

  /* Without this bit a program that knows no bitmaps may have written to the image. */
  add_flag (facts, "bitmaps-consistent",
            (image->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS) != 0);
  if (!all) {
    add_text (facts, "bitmaps-error", error->message);
    return;
  }
  g_variant_builder_init (&list, G_VARIANT_TYPE ("aa{sv}"));
  for (guint i = 0; i < all->len; i++) {
    const Qcow2Bitmap *b = g_ptr_array_index (all, i);

    g_variant_builder_open (&list, G_VARIANT_TYPE_VARDICT);
    add_text (&list, "name", b->name);
    add_size (&list, "granularity", UINT64_C (1) << b->granularity_bits);
    g_variant_builder_add (&list, "{sv}", "flags", bitmap_flags (b->flags));
    g_variant_builder_close (&list);
  }
  g_variant_builder_add (facts, "{sv}", "bitmaps", g_variant_builder_end (&list));
}

/* What the header's flags say, each by itself. */
static void
add_flags (GVariantBuilder *facts, const Qcow2Header *h)
{
  add_flag (facts, "lazy-refcounts", (h->compatible & QCOW2_COMPATIBLE_LAZY) != 0);
  add_flag (facts, "extended-l2",
            (h->incompatible & QCOW2_INCOMPATIBLE_EXTENDED_L2) != 0);
  add_flag (facts, "dirty", (h->incompatible & QCOW2_INCOMPATIBLE_DIRTY) != 0);
  add_flag (facts, "corrupt", (h->incompatible & QCOW2_INCOMPATIBLE_CORRUPT) != 0);
  if (h->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)
    add_flag (facts, "data-file-raw",
              (h->autoclear & QCOW2_AUTOCLEAR_DATA_FILE_RAW) != 0);
}

/* What the header of LUKS says, which was read and found good when the image was opened.
 */
static void
add_luks (GVariantBuilder *facts, const Qcow2Image *image)
{
  LuksArea area = {.file = image->file,
                   .at = image->extensions.crypt_offset,
                   .size = image->extensions.crypt_size};
  LuksHeader header;

  if (image->header.crypt_method == QCOW2_CRYPT_LUKS &&
      luks_header_read (&area, &header, NULL))
    luks_describe (&header, facts);
}

static void
add_header (GVariantBuilder *facts, const Qcow2Header *h)
{
  /* The words of `qemu-img create -o compat=`. */
  add_text (facts, "compat", h->version == 2 ? "0.10" : "1.1");
  add_size (facts, "cluster-size", UINT64_C (1) << h->cluster_bits);
  g_variant_builder_add (facts, "{sv}", "refcount-bits",
                         g_variant_new_uint32 (UINT32_C (1) << h->refcount_order));
  add_text (facts, "compression-type",
            h->compression == QCOW2_COMPRESSION_ZSTD ? "zstd" : "zlib");
  add_text (facts, "encryption", qcow2_crypt_name (h));
  add_flags (facts, h);
}

GVariant *
qcow2_describe (ImBlock *block)
{
  Qcow2Image *image = (Qcow2Image *)block;
  const Qcow2Header *h = &image->header;
  const Qcow2Extensions *e = &image->extensions;
  GVariantBuilder facts;

  g_variant_builder_init (&facts, G_VARIANT_TYPE_VARDICT);
  add_header (&facts, h);
  add_luks (&facts, image);
  add_text (&facts, "backing-file", image->backing_name);
  if (image->backing_name)
    add_text (&facts, "backing-format", e->backing_format);
  if (h->incompatible & QCOW2_INCOMPATIBLE_DATA_FILE)
    add_text (&facts, "data-file", e->data_file);
  if (image->snapshot)
    add_text (&facts, "snapshot-shown", image->snapshot->id);
  add_snapshots (&facts, image);
  if (e->has_bitmaps)
    add_bitmaps (&facts, image);
  add_features (&facts, "incompatible-features", e, QCOW2_FEATURE_INCOMPATIBLE,
                h->incompatible);
  add_features (&facts, "compatible-features", e, QCOW2_FEATURE_COMPATIBLE,
                h->compatible);
  add_features (&facts, "autoclear-features", e, QCOW2_FEATURE_AUTOCLEAR, h->autoclear);
  return g_variant_builder_end (&facts);
}

ImFile *
qcow2_further_file (ImBlock *block, unsigned i)
{
  const Qcow2Image *image = (Qcow2Image *)block;

  return i == 0 && image->data != image->file ? image->data : NULL;
}
