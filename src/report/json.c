/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --list, --info and --status as JSON.  docs/JSON.md says what each key means; a key that
 * has been published keeps its meaning. */
#include "base/error.h"
#include "config.h"
#include "report/report.h"
#include "report/sfdisk.h"
#include "report/words.h"

#if HAVE_JSON

#include <json-glib/json-glib.h>

/* sfdisk tells the number of slots where it is another than this. */
#define USUAL_SLOTS 128u

static void
add_string (JsonBuilder *json, const char *key, const char *value)
{
  json_builder_set_member_name (json, key);
  if (!value) {
    json_builder_add_null_value (json);
    return;
  }
  g_autofree char *valid = g_utf8_make_valid (value, -1);
  json_builder_add_string_value (json, valid);
}

/* json-glib's integers are signed; what is larger can only be nonsense from a damaged
 * table, and becomes a floating-point number. */
static void
add_number (JsonBuilder *json, const char *key, uint64_t value)
{
  json_builder_set_member_name (json, key);
  if (value <= G_MAXINT64)
    json_builder_add_int_value (json, (gint64)value);
  else
    json_builder_add_double_value (json, (double)value);
}

static void
add_boolean (JsonBuilder *json, const char *key, bool value)
{
  json_builder_set_member_name (json, key);
  json_builder_add_boolean_value (json, value);
}

static void
add_strings (JsonBuilder *json, const char *key, const char *const *values, size_t n)
{
  json_builder_set_member_name (json, key);
  json_builder_begin_array (json);
  for (size_t i = 0; i < n; i++)
    json_builder_add_string_value (json, values[i]);
  json_builder_end_array (json);
}

/* Of the lesser schemes: the type's number as sfdisk has it, or its text. */
static void
add_other_type (JsonBuilder *json, const ImPartition *p)
{
  g_autofree char *code = g_strdup_printf ("%x", p->type_code);
  bool by_text = p->type_text && p->type_code == 0;
  add_string (json, "type", by_text ? p->type_text : code);
  if (p->name)
    add_string (json, "name", p->name);
}

/* The fields of sfdisk, with its names and types, and only where it has them too. */
static void
add_sfdisk_entry (JsonBuilder *json, const char *device, const ImPartition *p)
{
  g_autofree char *node = im_sfdisk_node (device, p->number);
  add_string (json, "node", node);
  add_number (json, "start", p->first_lba);
  add_number (json, "size", p->sectors);
  if (p->type_text || p->type_name) {
    add_other_type (json, p);
    return;
  }
  if (!p->type_guid) {
    g_autofree char *type = g_strdup_printf ("%x", p->mbr_type);
    add_string (json, "type", type);
    if (p->bootable)
      add_boolean (json, "bootable", true);
    return;
  }
  add_string (json, "type", p->type_guid);
  add_string (json, "uuid", p->unique_guid);
  if (p->name)
    add_string (json, "name", p->name);
  if (p->attributes != 0) {
    g_autofree char *attributes = im_sfdisk_attributes (p->attributes);
    add_string (json, "attrs", attributes);
  }
}

static void
add_partition (JsonBuilder *json, const char *device, const ImPartition *p)
{
  g_autofree char *file = p->size ? g_strdup_printf ("p%u", p->number) : NULL;
  g_autofree const char **flags = im_words_of_flags (p->flags);
  json_builder_begin_object (json);
  add_sfdisk_entry (json, device, p);
  add_string (json, "file", file);
  add_number (json, "number", p->number);
  add_number (json, "slot", p->slot);
  add_number (json, "level", p->level);
  if (p->inside)
    add_number (json, "inside", p->inside);
  add_boolean (json, "container", p->container);
  add_string (json, "type-name", im_partition_type_name (p));
  add_string (json, "partuuid", p->uuid);
  add_number (json, "last", p->last_lba);
  add_number (json, "offset", p->offset);
  add_number (json, "bytes", p->size);
  add_string (json, "source", im_word_of_source (p->source));
  add_number (json, "entry-offset", p->entry_at);
  add_strings (json, "flags", flags, g_strv_length ((char **)flags));
  json_builder_end_object (json);
}

static void
add_gpt (JsonBuilder *json, const ImPartitionTable *table)
{
  add_string (json, "source", im_word_of_source (table->source));
  json_builder_set_member_name (json, "checksums");
  json_builder_begin_object (json);
  add_string (json, "primary", im_word_of_check (table->primary));
  add_string (json, "backup", im_word_of_check (table->backup));
  json_builder_end_object (json);
  add_string (json, "mbr", im_word_of_mbr (table));
}

static void
add_sfdisk_table (JsonBuilder *json, const char *device, const ImPartitionTable *table)
{
  add_string (json, "label", im_word_of_label (table->kind));
  add_string (json, "id", table->id);
  add_string (json, "device", device);
  add_string (json, "unit", "sectors");
  if (table->kind == IM_TABLE_GPT) {
    add_number (json, "firstlba", table->first_lba);
    add_number (json, "lastlba", table->last_lba);
    if (table->slots != USUAL_SLOTS) {
      g_autofree char *slots = g_strdup_printf ("%u", table->slots);
      add_string (json, "table-length", slots);
    }
  }
  add_number (json, "sectorsize", table->sector_size);
}

/* The member "partitiontable" of the object that is being built. */
static void
add_table (JsonBuilder *json, const char *device, const ImPartitionTable *table)
{
  json_builder_set_member_name (json, "partitiontable");
  if (!table) {
    json_builder_add_null_value (json);
    return;
  }
  json_builder_begin_object (json);
  add_sfdisk_table (json, device, table);
  add_number (json, "sectors", table->disk_sectors);
  add_number (json, "bytes", table->disk_size);
  if (table->kind == IM_TABLE_GPT)
    add_gpt (json, table);
  json_builder_set_member_name (json, "partitions");
  json_builder_begin_array (json);
  for (guint i = 0; i < table->partitions->len; i++)
    add_partition (json, device, table->partitions->pdata[i]);
  json_builder_end_array (json);
  add_strings (json, "warnings", (const char *const *)table->warnings->pdata,
               table->warnings->len);
  json_builder_end_object (json);
}

static void
add_file (JsonBuilder *json, const ImFile *file)
{
  const struct stat *st = im_file_stat (file);
  g_autofree char *modified = im_format_time (st->st_mtime);
  add_number (json, "file-size", im_file_size (file));
  add_number (json, "file-occupies", (uint64_t)st->st_blocks * 512);
  add_string (json, "file-modified", modified);
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
  add_number (json, "depth", depth);
  add_string (json, "path", disk->file ? im_file_path (disk->file) : NULL);
  add_string (json, "format", disk->ops->name);
  add_number (json, "virtual-size", disk->size);
  if (disk->file)
    add_file (json, disk->file);
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
  add_table (json, image->path, table);
  return finish (json);
}

char *
im_report_info_json (const ImImage *image, const ImPartitionTable *table, GError **error)
{
  g_autoptr (JsonBuilder) json = json_builder_new ();
  json_builder_begin_object (json);
  add_string (json, "imgmount", IMGMOUNT_VERSION);
  add_string (json, "path", image->path);
  add_string (json, "format", image->format->name);
  add_boolean (json, "probed", image->probed);
  add_number (json, "virtual-size", image->disk->size);
  add_chain (json, image);
  add_table (json, image->path, table);
  return finish (json);
}

static void
add_extraction (JsonBuilder *json, const ImProvenance *provenance)
{
  g_autofree char *begun = im_format_time (provenance->begun);
  g_autofree char *ended = im_format_time (provenance->ended);
  add_string (json, "extracted", provenance->what);
  add_string (json, "file", provenance->file);
  add_number (json, "offset", provenance->offset);
  add_number (json, "bytes", provenance->size);
  add_string (json, "begun", begun);
  add_string (json, "ended", ended);
  json_builder_set_member_name (json, "digests");
  json_builder_begin_object (json);
  for (size_t i = 0; provenance->digests[i]; i++)
    add_string (json, provenance->digest_names[i], provenance->digests[i]);
  json_builder_end_object (json);
}

char *
im_report_provenance_json (const ImImage *image, const ImPartitionTable *table,
                           const ImProvenance *provenance, GError **error)
{
  g_autoptr (JsonBuilder) json = json_builder_new ();
  json_builder_begin_object (json);
  add_string (json, "imgmount", IMGMOUNT_VERSION);
  add_extraction (json, provenance);
  add_string (json, "path", im_file_path (image->file));
  add_string (json, "format", image->format->name);
  add_boolean (json, "probed", image->probed);
  add_number (json, "virtual-size", image->disk->size);
  add_chain (json, image);
  add_table (json, image->path, table);
  return finish (json);
}

/* WHERE: what the place is called; nobody knows the image or the process: null. */
static void
add_served (JsonBuilder *json, const char *where, const ImServed *served)
{
  json_builder_begin_object (json);
  add_string (json, where, served->where);
  add_string (json, "image", served->image);
  add_boolean (json, "read-only", served->read_only);
  add_number (json, "user", served->user);
  if (served->pid)
    add_number (json, "pid", (uint64_t)served->pid);
  else
    add_string (json, "pid", NULL);
  add_string (json, "state", im_word_of_state (served->state));
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

#else

static char *
fail (GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED, "built without json-glib");
  return NULL;
}

char *
im_report_list_json (const ImImage *image, const ImPartitionTable *table, GError **error)
{
  return fail (error);
}

char *
im_report_info_json (const ImImage *image, const ImPartitionTable *table, GError **error)
{
  return fail (error);
}

char *
im_report_provenance_json (const ImImage *image, const ImPartitionTable *table,
                           const ImProvenance *provenance, GError **error)
{
  return fail (error);
}

char *
im_report_status_json (const GPtrArray *mounts, const GPtrArray *devices, GError **error)
{
  return fail (error);
}

bool
im_report_has_json (void)
{
  return false;
}

#endif
