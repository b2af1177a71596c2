/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening what the options name and putting together what is handed out. */
#include "cli/pipeline.h"
#include "base/error.h"
#include "base/log.h"
#include "base/parse.h"
#include "cli/keyring.h"
#include "partition/gaps.h"

/* -l: ID_OR_NAME, or snapshot.id=…,snapshot.name=….  The parts live in *RET_PARTS. */
static bool
parse_snapshot (const char *text, ImOpenOptions *open, GStrv *ret_parts, GError **error)
{
  if (!g_str_has_prefix (text, "snapshot.")) {
    open->snapshot_any = text;
    return true;
  }
  *ret_parts = g_strsplit (text, ",", -1);
  for (char **part = *ret_parts; *part; part++) {
    if (g_str_has_prefix (*part, "snapshot.id=")) {
      open->snapshot_id = *part + strlen ("snapshot.id=");
    } else if (g_str_has_prefix (*part, "snapshot.name=")) {
      open->snapshot_name = *part + strlen ("snapshot.name=");
    } else {
      g_set_error (
          error, IM_ERROR, IM_ERROR_USAGE,
          "--load-snapshot: '%s' is neither snapshot.id= nor snapshot.name=", *part);
      return false;
    }
  }
  return true;
}

static void
parse_backing (const char *text, ImOpenOptions *open)
{
  if (!text || strcmp (text, "follow") == 0) {
    open->backing = IM_BACKING_FOLLOW;
  } else if (strcmp (text, "none") == 0) {
    open->backing = IM_BACKING_NONE;
  } else {
    open->backing = IM_BACKING_UNDER;
    open->backing_dir = text;
  }
}

/* Only forms that hand out the disk have a use for writing. */
static bool
serves (const ImOptions *options)
{
  return options->form == IM_FORM_MOUNT || options->form == IM_FORM_NBD;
}

/* -r wins over everything that writes, and -l implies it. */
static bool
may_write (const ImOptions *options)
{
  return serves (options) && !options->read_only && !options->snapshot;
}

/* Do writes go elsewhere than to the image? */
static bool
has_overlay (const ImOptions *options)
{
  return may_write (options) && (options->temporary || options->overlay);
}

/* A bitmap would have to follow what is written to its image; an overlay leaves that
 * alone. */
static bool
freezes_image (const ImOptions *options)
{
  return options->bitmaps->len > 0 && may_write (options) && !has_overlay (options);
}

/* Only looking does no harm while another process writes, which may be ourselves: what is
 * shown may then be a little old, and one line says so. */
static ImImage *
look_at_image (ImPipeline *pipeline, const ImOptions *options, ImOpenOptions *open,
               GError **error)
{
  g_autoptr (GError) failure = NULL;
  ImImage *image = im_image_open (options->image, open, pipeline->shared, &failure);
  if (image)
    return image;
  if (!g_error_matches (failure, IM_ERROR, IM_ERROR_LOCKED)) {
    g_propagate_error (error, g_steal_pointer (&failure));
    return NULL;
  }
  im_log_warning ("%s: another process writes to it: this may be out of date",
                  options->image);
  open->force_share = true;
  return im_image_open (options->image, open, pipeline->shared, error);
}

/* What is written is not encrypted in the overlay, though it would be in the image. */
static void
warn_of_plain_overlay (const ImPipeline *pipeline, const ImOptions *options)
{
  if (has_overlay (options) && pipeline->image->disk->encrypted)
    im_log_warning ("%s: the image is encrypted, the overlay is not", options->image);
}

static bool
open_image (ImPipeline *pipeline, const ImOptions *options, GError **error)
{
  g_auto (GStrv) parts = NULL;
  g_autoptr (ImKeyring) keyring = im_keyring_new (options->objects, error);
  if (!keyring)
    return false;
  ImOpenOptions open = {.format = options->format,
                        .node = options->node,
                        .find_key = im_keyring_find,
                        .find_key_data = keyring,
                        .force_share = options->force_share,
                        .writable = may_write (options) && !has_overlay (options) &&
                                    !freezes_image (options),
                        .cache = (ImCacheMode)options->cache,
                        .aio = (ImAio)options->aio};
  parse_backing (options->backing, &open);
  if (options->snapshot && !parse_snapshot (options->snapshot, &open, &parts, error))
    return false;
  pipeline->shared = im_resources_new (options->metadata_cache, options->chunk_cache);
  bool looks = options->form == IM_FORM_LIST || options->form == IM_FORM_INFO;
  pipeline->image = looks
                        ? look_at_image (pipeline, options, &open, error)
                        : im_image_open (options->image, &open, pipeline->shared, error);
  if (pipeline->image && freezes_image (options))
    pipeline->image->read_only_because = g_strdup (
        "its bitmaps could not follow what is written (-s and --overlay leave it "
        "as it is)");
  ImFileMode mode = {.writable = true, .cache = open.cache, .aio = open.aio};
  if (pipeline->image)
    warn_of_plain_overlay (pipeline, options);
  if (!pipeline->image ||
      (has_overlay (options) && !im_image_add_overlay (pipeline->image, options->overlay,
                                                       &mode, pipeline->shared, error)))
    return false;
  pipeline->image->disk->policy =
      (ImWritePolicy){.pass_discards = options->discard,
                      .detect_zeroes = (ImDetectZeroes)options->detect_zeroes,
                      .ignore_flushes = options->temporary};
  return true;
}

/* The disk of the image, or the slice that --offset and --size make of it. */
static ImBlock *
choose_disk (const ImPipeline *pipeline, const ImOptions *options, GError **error)
{
  ImBlock *whole = pipeline->image->disk;
  if (options->offset == 0 && options->size == 0)
    return im_block_ref (whole);
  if (options->offset > whole->size) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "--offset: %" G_GUINT64_FORMAT
                 " is past the end of the disk (%" G_GUINT64_FORMAT " bytes)",
                 options->offset, whole->size);
    return NULL;
  }
  uint64_t size = options->size ? options->size : whole->size - options->offset;
  return im_slice_new (whole, options->offset, size, error);
}

/* With --damage=zero nobody gets an error, so this is where it is said. */
static void
log_damage (void *data, uint64_t offset, uint64_t length, const char *reason)
{
  const ImPipeline *pipeline = data;
  const char *path = pipeline->image->path;
  if (reason)
    im_log_warning ("%s: damaged: %" G_GUINT64_FORMAT
                    " bytes at disk offset %" G_GUINT64_FORMAT " read as zeros: %s",
                    path, length, offset, reason);
  else
    im_log_warning ("%s: more damage than %u ranges: the rest is not logged", path,
                    IM_DAMAGE_MAX);
}

/* Finds the disk and its table.  The table is read with errors where there is damage,
 * whatever is handed out in its place: zeros there would look like an empty one. */
static bool
find_disk (ImPipeline *pipeline, const ImOptions *options, GError **error)
{
  g_autoptr (ImBlock) disk = choose_disk (pipeline, options, error);
  if (!disk)
    return false;
  pipeline->damage = im_damage_new (options->zero_damage ? log_damage : NULL, pipeline);
  im_block_note_damage (disk, pipeline->damage);
  pipeline->table = im_partition_table_read (disk, (uint32_t)options->sector_size);
  pipeline->disk =
      options->zero_damage ? im_slice_new_filled (disk) : im_block_ref (disk);
  return true;
}

/* Why nothing can be written; NULL where it can. */
static const char *
read_only_because (const ImPipeline *pipeline, const ImOptions *options)
{
  if (im_block_is_writable (pipeline->disk))
    return NULL;
  if (pipeline->image->read_only_because)
    return pipeline->image->read_only_because;
  if (!serves (options))
    return "it was opened to look at it";
  return options->read_only ? "--read-only" : "--load-snapshot";
}

ImPipeline *
im_pipeline_open (const ImOptions *options, GError **error)
{
  g_autoptr (ImPipeline) pipeline = g_new0 (ImPipeline, 1);
  if (!open_image (pipeline, options, error) || !find_disk (pipeline, options, error))
    return NULL;
  pipeline->report =
      (ImReport){.image = pipeline->image,
                 .table = pipeline->table,
                 .disk = pipeline->disk,
                 .disk_offset = options->offset,
                 .read_only_because = read_only_because (pipeline, options),
                 .damage = pipeline->damage};
  return g_steal_pointer (&pipeline);
}

void
im_pipeline_free (ImPipeline *pipeline)
{
  if (!pipeline)
    return;
  im_export_set_free (pipeline->set);
  im_partition_table_free (pipeline->table);
  im_block_unref (pipeline->disk);
  im_image_free (pipeline->image);
  im_resources_free (pipeline->shared);
  im_damage_free (pipeline->damage);
  g_free (pipeline);
}

/* The sentence for a partition that is not there. */
static void
set_no_such_partition (const ImPartitionTable *table, uint64_t number, GError **error)
{
  g_autoptr (GString) there = g_string_new (NULL);
  for (guint i = 0; i < table->partitions->len; i++) {
    const ImPartition *partition = table->partitions->pdata[i];
    if (partition->number != 0 && partition->size != 0)
      g_string_append_printf (there, "%s%u", there->len ? ", " : "", partition->number);
  }
  g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND,
               "--partition: there is no partition %" G_GUINT64_FORMAT " (%s%s)", number,
               there->len ? "there are " : "the disk has none", there->str);
}

static ImBlock *
slice_partition (ImPipeline *pipeline, const ImPartition *partition, GError **error)
{
  return im_slice_new (pipeline->disk, partition->offset, partition->size, error);
}

/* -P: that partition in the disk's place. */
static bool
add_only_partition (ImPipeline *pipeline, uint64_t number, GError **error)
{
  const ImPartition *partition =
      im_partition_table_find (pipeline->table, (unsigned)number);
  if (!partition) {
    set_no_such_partition (pipeline->table, number, error);
    return false;
  }
  g_autoptr (ImBlock) block = slice_partition (pipeline, partition, error);
  if (!block)
    return false;
  im_export_set_add_block (pipeline->set, IM_EXPORT_DISK, "disk", NULL, block,
                           partition->offset);
  return true;
}

static void
add_links (ImExportSet *set, const ImPartition *partition, const char *name)
{
  g_autofree char *target = g_strconcat ("../", name, NULL);
  if (partition->name && partition->name[0])
    im_export_set_add_link (set, "by-partlabel", partition->name, target);
  if (partition->uuid)
    im_export_set_add_link (set, "by-partuuid", partition->uuid, target);
}

static bool
add_partition (ImPipeline *pipeline, const ImPartition *partition, GError **error)
{
  g_autofree char *name = g_strdup_printf ("p%u", partition->number);
  g_autofree char *size = im_format_size (partition->size);
  const char *type = im_partition_type_name (partition);
  g_autofree char *description =
      partition->name && partition->name[0]
          ? g_strdup_printf ("%s \"%s\", %s", type, partition->name, size)
          : g_strdup_printf ("%s, %s", type, size);
  g_autoptr (ImBlock) block = slice_partition (pipeline, partition, error);
  if (!block)
    return false;
  im_export_set_add_block (pipeline->set, IM_EXPORT_PARTITION, name, description, block,
                           partition->offset);
  add_links (pipeline->set, partition, name);
  return true;
}

/* What no partition has, by first sector and number of sectors. */
static bool
add_gaps (ImPipeline *pipeline, GError **error)
{
  g_autoptr (GArray) gaps = im_partition_gaps (pipeline->table);
  for (guint i = 0; i < gaps->len; i++) {
    const ImGap *gap = &g_array_index (gaps, ImGap, i);
    g_autofree char *size = im_format_size (gap->size);
    g_autofree char *description = g_strdup_printf ("in no partition, %s", size);
    g_autofree char *name = g_strdup_printf (
        "gaps/%" G_GUINT64_FORMAT "-%" G_GUINT64_FORMAT, gap->first_lba, gap->sectors);
    g_autoptr (ImBlock) block =
        im_slice_new (pipeline->disk, gap->offset, gap->size, error);
    if (!block)
      return false;
    im_export_set_add_block (pipeline->set, IM_EXPORT_GAP, name, description, block,
                             gap->offset);
  }
  return true;
}

/* info.json, anew at each open. */
static char *
render_info (void *data)
{
  const ImPipeline *pipeline = data;
  g_autoptr (GError) error = NULL;
  char *text = im_report_info_json (&pipeline->report, &error);
  if (!text)
    im_log_warning ("info.json: %s", error->message);
  return text ? text : g_strdup ("");
}

static bool
add_disk_and_partitions (ImPipeline *pipeline, const ImOptions *options, GError **error)
{
  im_export_set_add_block (pipeline->set, IM_EXPORT_DISK, "disk", options->description,
                           pipeline->disk, 0);
  for (guint i = 0; i < pipeline->table->partitions->len; i++) {
    const ImPartition *partition = pipeline->table->partitions->pdata[i];
    if (partition->number != 0 && partition->size != 0 &&
        !add_partition (pipeline, partition, error))
      return false;
  }
  return !(options->gaps || options->form == IM_FORM_EXTRACT) ||
         add_gaps (pipeline, error);
}

static bool
is_repeated (const GPtrArray *names, guint index)
{
  for (guint i = 0; i < index; i++)
    if (strcmp (names->pdata[i], names->pdata[index]) == 0)
      return true;
  return false;
}

static bool
add_bitmaps (ImPipeline *pipeline, const ImOptions *options, GError **error)
{
  for (guint i = 0; i < options->bitmaps->len; i++) {
    const char *name = options->bitmaps->pdata[i];
    if (is_repeated (options->bitmaps, i)) {
      g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "--bitmap: \"%s\" is given twice",
                   name);
      return false;
    }
    ImBitmap *bitmap = im_block_open_bitmap (pipeline->disk, name, error);
    if (!bitmap) {
      g_prefix_error (error, "--bitmap: ");
      return false;
    }
    im_export_set_add_bitmap (pipeline->set, name, bitmap);
  }
  return true;
}

bool
im_pipeline_build_exports (ImPipeline *pipeline, const ImOptions *options, GError **error)
{
  const ImImage *image = pipeline->image;
  pipeline->set =
      im_export_set_new (im_file_path (image->file), im_file_stat (image->file));
  pipeline->set->read_only = !im_block_is_writable (pipeline->disk);
  if (im_report_has_json ())
    im_export_set_add_text (pipeline->set, "info.json", render_info, pipeline);
  pipeline->set->tells_depth = options->allocation_depth;
  if (!add_bitmaps (pipeline, options, error))
    return false;
  if (options->partition)
    return add_only_partition (pipeline, options->partition, error);
  return add_disk_and_partitions (pipeline, options, error);
}
