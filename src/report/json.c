/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --list, --info and --status as JSON.  docs/JSON.md says what each key means,
 * docs/info.schema.json says it to programs; a key that has been published keeps its
 * meaning. */
#include "config.h"
#include "report/json-build.h"
#include "report/words.h"

static void
add_file_times (JsonBuilder *json, const struct stat *st)
{
  g_autofree char *modified = im_format_time (st->st_mtime);
  g_autofree char *changed = im_format_time (st->st_ctime);
  im_json_add_string (json, "modified", modified);
  im_json_add_string (json, "changed", changed);
}

static void
add_file (JsonBuilder *json, const ImFile *file)
{
  const struct stat *st = im_file_stat (file);
  json_builder_begin_object (json);
  im_json_add_string (json, "path", im_file_path (file));
  im_json_add_number (json, "bytes", im_file_size (file));
  im_json_add_number (json, "occupies", (uint64_t)st->st_blocks * 512);
  add_file_times (json, st);
  json_builder_end_object (json);
}

/* The file that the image was opened by, and those that it consists of besides. */
static void
add_files (JsonBuilder *json, ImBlock *disk)
{
  const struct stat *st = im_file_stat (disk->file);
  g_autofree char *modified = im_format_time (st->st_mtime);
  im_json_add_number (json, "file-size", im_file_size (disk->file));
  im_json_add_number (json, "file-occupies", (uint64_t)st->st_blocks * 512);
  im_json_add_string (json, "file-modified", modified);
  json_builder_set_member_name (json, "files");
  json_builder_begin_array (json);
  add_file (json, disk->file);
  const ImFile *further;
  for (unsigned i = 0;
       disk->ops->further_file && (further = disk->ops->further_file (disk, i)); i++)
    add_file (json, further);
  json_builder_end_array (json);
}

static void
add_facts (JsonBuilder *json, ImBlock *disk)
{
  json_builder_set_member_name (json, "facts");
  if (!disk->ops->describe) {
    json_builder_begin_object (json);
    json_builder_end_object (json);
    return;
  }
  g_autoptr (GVariant) facts = g_variant_take_ref (disk->ops->describe (disk));
  json_builder_add_value (json, json_gvariant_serialize (facts));
}

static void
add_image (JsonBuilder *json, ImBlock *disk, unsigned depth)
{
  json_builder_begin_object (json);
  im_json_add_number (json, "depth", depth);
  im_json_add_string (json, "path", disk->file ? im_file_path (disk->file) : NULL);
  im_json_add_string (json, "format", disk->ops->name);
  im_json_add_number (json, "virtual-size", disk->size);
  if (disk->file)
    add_files (json, disk);
  add_facts (json, disk);
  json_builder_end_object (json);
}

/* An overlay, the image and its parents, in this order. */
static void
add_chain (JsonBuilder *json, const ImImage *image)
{
  json_builder_set_member_name (json, "chain");
  json_builder_begin_array (json);
  unsigned depth = 0;
  for (ImBlock *disk = image->disk; disk; disk = disk->parent)
    add_image (json, disk, depth++);
  json_builder_end_array (json);
}

/* Ends the outermost object; its text, with a newline. */
static char *
finish (JsonBuilder *json)
{
  json_builder_end_object (json);
  g_autoptr (JsonGenerator) generator = json_generator_new ();
  g_autoptr (JsonNode) root = json_builder_get_root (json);
  json_generator_set_pretty (generator, TRUE);
  json_generator_set_root (generator, root);
  g_autofree char *text = json_generator_to_data (generator, NULL);
  return g_strconcat (text, "\n", NULL);
}

char *
im_report_list_json (const ImImage *image, const ImPartitionTable *table, GError **error)
{
  g_autoptr (JsonBuilder) json = json_builder_new ();
  json_builder_begin_object (json);
  im_json_add_table (json, image->path, table);
  return finish (json);
}

/* The image's own members, and what is handed out of it. */
static void
add_identity (JsonBuilder *json, const char *path, const ImReport *report)
{
  const ImImage *image = report->image;
  im_json_add_string (json, "path", path);
  im_json_add_string (json, "format", image->format->name);
  im_json_add_boolean (json, "probed", image->probed);
  im_json_add_number (json, "virtual-size", image->disk->size);
  json_builder_set_member_name (json, "disk");
  json_builder_begin_object (json);
  im_json_add_number (json, "offset", report->disk_offset);
  im_json_add_number (json, "bytes", report->disk->size);
  json_builder_end_object (json);
  im_json_add_boolean (json, "read-only", report->read_only_because != NULL);
  im_json_add_string (json, "read-only-because", report->read_only_because);
}

char *
im_report_info_json (const ImReport *report, GError **error)
{
  g_autoptr (JsonBuilder) json = json_builder_new ();
  json_builder_begin_object (json);
  im_json_add_string (json, "imgmount", IMGMOUNT_VERSION);
  add_identity (json, report->image->path, report);
  add_chain (json, report->image);
  im_json_add_table (json, report->image->path, report->table);
  im_json_add_damage (json, report, 0, report->disk->size, false);
  return finish (json);
}

static void
add_extraction (JsonBuilder *json, const ImProvenance *provenance)
{
  g_autofree char *begun = im_format_time (provenance->begun);
  g_autofree char *ended = im_format_time (provenance->ended);
  im_json_add_string (json, "extracted", provenance->what);
  im_json_add_string (json, "file", provenance->file);
  im_json_add_number (json, "offset", provenance->offset);
  im_json_add_number (json, "bytes", provenance->size);
  im_json_add_string (json, "begun", begun);
  im_json_add_string (json, "ended", ended);
  json_builder_set_member_name (json, "digests");
  json_builder_begin_object (json);
  for (size_t i = 0; provenance->digests[i]; i++)
    im_json_add_string (json, provenance->digest_names[i], provenance->digests[i]);
  json_builder_end_object (json);
}

char *
im_report_provenance_json (const ImReport *report, const ImProvenance *provenance,
                           GError **error)
{
  g_autoptr (JsonBuilder) json = json_builder_new ();
  json_builder_begin_object (json);
  im_json_add_string (json, "imgmount", IMGMOUNT_VERSION);
  add_extraction (json, provenance);
  add_identity (json, im_file_path (report->image->file), report);
  add_chain (json, report->image);
  im_json_add_table (json, report->image->path, report->table);
  im_json_add_damage (json, report, provenance->offset, provenance->size, true);
  return finish (json);
}

/* WHERE: what the place is called; nobody knows the image or the process: null. */
static void
add_served (JsonBuilder *json, const char *where, const ImServed *served)
{
  json_builder_begin_object (json);
  im_json_add_string (json, where, served->where);
  im_json_add_string (json, "image", served->image);
  im_json_add_boolean (json, "read-only", served->read_only);
  im_json_add_number (json, "user", served->user);
  if (served->pid)
    im_json_add_number (json, "pid", (uint64_t)served->pid);
  else
    im_json_add_string (json, "pid", NULL);
  im_json_add_string (json, "state", im_word_of_state (served->state));
  json_builder_end_object (json);
}

static void
add_all_served (JsonBuilder *json, const char *key, const char *where,
                const GPtrArray *list)
{
  json_builder_set_member_name (json, key);
  json_builder_begin_array (json);
  for (guint i = 0; i < list->len; i++)
    add_served (json, where, list->pdata[i]);
  json_builder_end_array (json);
}

char *
im_report_status_json (const GPtrArray *mounts, const GPtrArray *devices, GError **error)
{
  g_autoptr (JsonBuilder) json = json_builder_new ();
  json_builder_begin_object (json);
  add_all_served (json, "mounts", "mountpoint", mounts);
  add_all_served (json, "devices", "device", devices);
  return finish (json);
}

bool
im_report_has_json (void)
{
  return true;
}
