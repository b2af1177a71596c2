/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A partition table as JSON: what sfdisk says, and more. */
#include "report/json-build.h"
#include "report/sfdisk.h"
#include "report/words.h"

/* sfdisk tells the number of slots where it is another than this. */
#define USUAL_SLOTS 128u

/* sfdisk aligns new partitions to 1 MiB, and says so where a disk is too small for that.
 */
#define SMALL_DISK (4u << 20)

/* Of the lesser schemes: the type's number as sfdisk has it, or its text. */
static void
add_other_type (json_t *json, const ImPartition *p)
{
  g_autofree char *code = g_strdup_printf ("%x", p->type_code);
  bool by_text = p->type_text && p->type_code == 0;
  im_json_add_string (json, "type", by_text ? p->type_text : code);
  if (p->name)
    im_json_add_string (json, "name", p->name);
}

/* The fields of sfdisk, with its names and types, and only where it has them too. */
static void
add_sfdisk_entry (json_t *json, const char *device, const ImPartition *p)
{
  g_autofree char *node = im_sfdisk_node (device, p->number);
  im_json_add_string (json, "node", node);
  im_json_add_number (json, "start", p->first_lba);
  im_json_add_number (json, "size", p->sectors);
  if (p->type_text || p->type_name) {
    add_other_type (json, p);
    return;
  }
  if (!p->type_guid) {
    g_autofree char *type = g_strdup_printf ("%x", p->mbr_type);
    im_json_add_string (json, "type", type);
    if (p->bootable)
      im_json_add_boolean (json, "bootable", true);
    return;
  }
  im_json_add_string (json, "type", p->type_guid);
  im_json_add_string (json, "uuid", p->unique_guid);
  if (p->name)
    im_json_add_string (json, "name", p->name);
  if (p->attributes != 0) {
    g_autofree char *attributes = im_sfdisk_attributes (p->attributes);
    im_json_add_string (json, "attrs", attributes);
  }
}

static void
add_partition (json_t *partitions, const char *device, const ImPartition *p)
{
  g_autofree char *file = p->size ? g_strdup_printf ("p%u", p->number) : NULL;
  g_autofree const char **flags = im_words_of_flags (p->flags);
  json_t *json = im_json_append_object (partitions);
  add_sfdisk_entry (json, device, p);
  im_json_add_string (json, "file", file);
  im_json_add_number (json, "number", p->number);
  im_json_add_number (json, "slot", p->slot);
  im_json_add_number (json, "level", p->level);
  if (p->inside)
    im_json_add_number (json, "inside", p->inside);
  im_json_add_boolean (json, "container", p->container);
  im_json_add_string (json, "type-name", im_partition_type_name (p));
  im_json_add_string (json, "partuuid", p->uuid);
  im_json_add_number (json, "last", p->last_lba);
  im_json_add_number (json, "offset", p->offset);
  im_json_add_number (json, "bytes", p->size);
  im_json_add_string (json, "source", im_word_of_source (p->source));
  im_json_add_number (json, "entry-offset", p->entry_at);
  im_json_add_strings (json, "flags", flags, g_strv_length ((char **)flags));
}

static void
add_gpt (json_t *json, const ImPartitionTable *table)
{
  im_json_add_string (json, "source", im_word_of_source (table->source));
  json_t *checksums = im_json_add_object (json, "checksums");
  im_json_add_string (checksums, "primary", im_word_of_check (table->primary));
  im_json_add_string (checksums, "backup", im_word_of_check (table->backup));
  im_json_add_string (json, "mbr", im_word_of_mbr (table));
}

static void
add_sfdisk_table (json_t *json, const char *device, const ImPartitionTable *table)
{
  im_json_add_string (json, "label", im_word_of_label (table->kind));
  im_json_add_string (json, "id", table->id);
  im_json_add_string (json, "device", device);
  im_json_add_string (json, "unit", "sectors");
  if (table->kind == IM_TABLE_GPT) {
    im_json_add_number (json, "firstlba", table->first_lba);
    im_json_add_number (json, "lastlba", table->last_lba);
    if (table->slots != USUAL_SLOTS) {
      g_autofree char *slots = g_strdup_printf ("%u", table->slots);
      im_json_add_string (json, "table-length", slots);
    }
  }
  if (table->disk_size <= SMALL_DISK) {
    g_autofree char *grain = g_strdup_printf ("%u", table->sector_size);
    im_json_add_string (json, "grain", grain);
  }
  im_json_add_number (json, "sectorsize", table->sector_size);
}

void
im_json_add_table (json_t *object, const char *device, const ImPartitionTable *table)
{
  if (!table) {
    im_json_add (object, "partitiontable", json_null ());
    return;
  }
  json_t *json = im_json_add_object (object, "partitiontable");
  add_sfdisk_table (json, device, table);
  im_json_add_number (json, "sectors", table->disk_sectors);
  im_json_add_number (json, "bytes", table->disk_size);
  if (table->kind == IM_TABLE_GPT)
    add_gpt (json, table);
  json_t *partitions = im_json_add_array (json, "partitions");
  for (guint i = 0; i < table->partitions->len; i++)
    add_partition (partitions, device, table->partitions->pdata[i]);
  im_json_add_strings (json, "warnings", (const char *const *)table->warnings->pdata,
                       table->warnings->len);
}
