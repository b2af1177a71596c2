/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --list, --info and --status as JSON.  docs/JSON.md says what each key means,
 * docs/info.schema.json says it to programs; a key that has been published keeps its
 * meaning. */
#include "config.h"
#include "report/json-build.h"
#include "report/words.h"

#include <sys/random.h>

static void
add_file_times (json_t *json, const struct stat *st)
{
  g_autofree char *modified = im_format_time (st->st_mtime);
  g_autofree char *changed = im_format_time (st->st_ctime);
  im_json_add_string (json, "modified", modified);
  im_json_add_string (json, "changed", changed);
}

static void
add_file (json_t *files, const ImFile *file)
{
  const struct stat *st = im_file_stat (file);
  json_t *json = im_json_append_object (files);
  im_json_add_string (json, "path", im_file_path (file));
  im_json_add_number (json, "bytes", im_file_size (file));
  im_json_add_number (json, "occupies", (uint64_t)st->st_blocks * 512);
  add_file_times (json, st);
}

/* The file that the image was opened by, and those that it consists of besides. */
static void
add_files (json_t *json, ImBlock *disk)
{
  const struct stat *st = im_file_stat (disk->file);
  g_autofree char *modified = im_format_time (st->st_mtime);
  im_json_add_number (json, "file-size", im_file_size (disk->file));
  im_json_add_number (json, "file-occupies", (uint64_t)st->st_blocks * 512);
  im_json_add_string (json, "file-modified", modified);
  json_t *files = im_json_add_array (json, "files");
  add_file (files, disk->file);
  const ImFile *further;
  for (unsigned i = 0;
       disk->ops->further_file && (further = disk->ops->further_file (disk, i)); i++)
    add_file (files, further);
}

static void
add_facts (json_t *json, ImBlock *disk)
{
  if (!disk->ops->describe) {
    im_json_add_object (json, "facts");
    return;
  }
  g_autoptr (GVariant) facts = g_variant_take_ref (disk->ops->describe (disk));
  im_json_add_variant (json, "facts", facts);
}

static void
add_image (json_t *chain, ImBlock *disk, unsigned depth)
{
  json_t *json = im_json_append_object (chain);
  im_json_add_number (json, "depth", depth);
  im_json_add_string (json, "path", disk->file ? im_file_path (disk->file) : NULL);
  im_json_add_string (json, "format", disk->ops->name);
  im_json_add_number (json, "virtual-size", disk->size);
  if (disk->file)
    add_files (json, disk);
  add_facts (json, disk);
}

/* An overlay, the image and its parents, in this order. */
static void
add_chain (json_t *json, const ImImage *image)
{
  json_t *chain = im_json_add_array (json, "chain");
  unsigned depth = 0;
  for (ImBlock *disk = image->disk; disk; disk = disk->parent)
    add_image (chain, disk, depth++);
}

/* The outermost object, empty.  Jansson would look for the seed of its hashes in
 * /dev/urandom, but a daemon opens no path. */
static json_t *
new_root (void)
{
  size_t seed = 0;
  if (getrandom (&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed)
    json_object_seed (seed);
  return json_object ();
}

static int
append_text (const char *part, size_t length, void *text)
{
  g_string_append_len (text, part, (gssize)length);
  return 0;
}

/* The text of JSON, with a newline. */
static char *
finish (const json_t *json)
{
  GString *text = g_string_new (NULL);
  if (json_dump_callback (json, append_text, text, JSON_INDENT (2)) < 0)
    im_json_no_memory ();
  g_string_append_c (text, '\n');
  return g_string_free (text, FALSE);
}

char *
im_report_list_json (const ImImage *image, const ImPartitionTable *table, GError **error)
{
  json_auto_t *json = new_root ();
  im_json_add_table (json, image->path, table);
  return finish (json);
}

/* The image's own members, and what is handed out of it. */
static void
add_identity (json_t *json, const char *path, const ImReport *report)
{
  const ImImage *image = report->image;
  im_json_add_string (json, "path", path);
  im_json_add_string (json, "format", image->format->name);
  im_json_add_boolean (json, "probed", image->probed);
  im_json_add_number (json, "virtual-size", image->disk->size);
  json_t *disk = im_json_add_object (json, "disk");
  im_json_add_number (disk, "offset", report->disk_offset);
  im_json_add_number (disk, "bytes", report->disk->size);
  im_json_add_boolean (json, "read-only", report->read_only_because != NULL);
  im_json_add_string (json, "read-only-because", report->read_only_because);
}

char *
im_report_info_json (const ImReport *report, GError **error)
{
  json_auto_t *json = new_root ();
  im_json_add_string (json, "imgmount", IMGMOUNT_VERSION);
  add_identity (json, report->image->path, report);
  add_chain (json, report->image);
  im_json_add_table (json, report->image->path, report->table);
  im_json_add_damage (json, report, 0, report->disk->size, false);
  return finish (json);
}

static void
add_extraction (json_t *json, const ImProvenance *provenance)
{
  g_autofree char *begun = im_format_time (provenance->begun);
  g_autofree char *ended = im_format_time (provenance->ended);
  im_json_add_string (json, "extracted", provenance->what);
  im_json_add_string (json, "file", provenance->file);
  im_json_add_number (json, "offset", provenance->offset);
  im_json_add_number (json, "bytes", provenance->size);
  im_json_add_string (json, "begun", begun);
  im_json_add_string (json, "ended", ended);
  json_t *digests = im_json_add_object (json, "digests");
  for (size_t i = 0; provenance->digests[i]; i++)
    im_json_add_string (digests, provenance->digest_names[i], provenance->digests[i]);
}

char *
im_report_provenance_json (const ImReport *report, const ImProvenance *provenance,
                           GError **error)
{
  json_auto_t *json = new_root ();
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
add_served (json_t *list, const char *where, const ImServed *served)
{
  json_t *json = im_json_append_object (list);
  im_json_add_string (json, where, served->where);
  im_json_add_string (json, "image", served->image);
  im_json_add_boolean (json, "read-only", served->read_only);
  im_json_add_number (json, "user", served->user);
  if (served->pid)
    im_json_add_number (json, "pid", (uint64_t)served->pid);
  else
    im_json_add (json, "pid", json_null ());
  im_json_add_string (json, "state", im_word_of_state (served->state));
}

static void
add_all_served (json_t *json, const char *key, const char *where, const GPtrArray *list)
{
  json_t *array = im_json_add_array (json, key);
  for (guint i = 0; i < list->len; i++)
    add_served (array, where, list->pdata[i]);
}

char *
im_report_status_json (const GPtrArray *mounts, const GPtrArray *devices, GError **error)
{
  json_auto_t *json = new_root ();
  add_all_served (json, "mounts", "mountpoint", mounts);
  add_all_served (json, "devices", "device", devices);
  return finish (json);
}

bool
im_report_has_json (void)
{
  return true;
}
