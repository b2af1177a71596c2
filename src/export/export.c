/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The set of things to hand out. */
#include "export/export.h"
#include "base/text.h"
#include <string.h>

/* The longest name that file systems take. */
#define NAME_MAX_BYTES 255

static void
export_free (gpointer data)
{
  ImExport *export = data;
  g_free (export->name);
  g_free (export->description);
  im_block_unref (export->block);
  g_free (export);
}

static void
text_free (gpointer data)
{
  ImExportText *text = data;
  g_free (text->name);
  g_free (text);
}

static void
bitmap_free (gpointer data)
{
  ImExportBitmap *bitmap = data;
  g_free (bitmap->name);
  im_bitmap_free (bitmap->bitmap);
  g_free (bitmap);
}

static void
link_free (gpointer data)
{
  ImExportLink *link = data;
  g_free (link->directory);
  g_free (link->name);
  g_free (link->target);
  g_free (link);
}

ImExportSet *
im_export_set_new (const char *image_path, const struct stat *image)
{
  ImExportSet *set = g_new0 (ImExportSet, 1);
  set->blocks = g_ptr_array_new_with_free_func (export_free);
  set->texts = g_ptr_array_new_with_free_func (text_free);
  set->links = g_ptr_array_new_with_free_func (link_free);
  set->bitmaps = g_ptr_array_new_with_free_func (bitmap_free);
  set->by_name = g_hash_table_new (g_str_hash, g_str_equal);
  set->link_names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  set->image = *image;
  set->image_path = g_strdup (image_path);
  set->read_only = true;
  return set;
}

void
im_export_set_free (ImExportSet *set)
{
  if (!set)
    return;
  g_hash_table_destroy (set->by_name);
  g_hash_table_destroy (set->link_names);
  g_ptr_array_unref (set->blocks);
  g_ptr_array_unref (set->texts);
  g_ptr_array_unref (set->links);
  g_ptr_array_unref (set->bitmaps);
  g_free (set->image_path);
  g_free (set);
}

void
im_export_set_add_block (ImExportSet *set, ImExportKind kind, const char *name,
                         const char *description, ImBlock *block, uint64_t offset)
{
  ImExport *export = g_new0 (ImExport, 1);
  export->kind = kind;
  export->name = g_strdup (name);
  export->description = g_strdup (description);
  export->block = im_block_ref (block);
  export->offset = offset;
  g_ptr_array_add (set->blocks, export);
  g_hash_table_insert (set->by_name, export->name, export);
}

void
im_export_set_add_text (ImExportSet *set, const char *name, char *(*render) (void *data),
                        void *data)
{
  ImExportText *text = g_new0 (ImExportText, 1);
  text->name = g_strdup (name);
  text->render = render;
  text->data = data;
  g_ptr_array_add (set->texts, text);
}

/* Whether the character may stand in a file name that people will type. */
static bool
is_safe (gunichar c)
{
  return c != '/' && !im_text_is_hidden (c);
}

/* NAME with every byte or character that a file name cannot have made '_', and cut to at
 * most MAX bytes.  Caller frees. */
static char *
safe_name (const char *name, size_t max)
{
  GString *safe = g_string_new (NULL);
  while (*name && safe->len < max) {
    gunichar c = g_utf8_get_char_validated (name, -1);
    bool valid = c != (gunichar)-1 && c != (gunichar)-2;
    size_t n = valid ? (size_t)(g_utf8_next_char (name) - name) : 1;
    if (safe->len + n > max)
      break;
    if (valid && is_safe (c))
      g_string_append_len (safe, name, (gssize)n);
    else
      g_string_append_c (safe, '_');
    name += n;
  }
  if (safe->len == 0 || strcmp (safe->str, ".") == 0 || strcmp (safe->str, "..") == 0)
    g_string_assign (safe, "_");
  return g_string_free (safe, FALSE);
}

/* "DIRECTORY/NAME", what the set of taken names is keyed by.  Caller frees. */
static char *
link_key (const char *directory, const char *name)
{
  return g_strconcat (directory, "/", name, NULL);
}

/* A safe name for NAME that DIRECTORY does not have yet: name, name-2, name-3, …  Each
 * name remembers the last number that was tried for it, so that many of one name, as an
 * image can have, do not take long. */
static char *
claim_name (ImExportSet *set, const char *directory, const char *name)
{
  char *candidate = safe_name (name, NAME_MAX_BYTES);
  g_autofree char *first_key = link_key (directory, candidate);
  unsigned number = GPOINTER_TO_UINT (g_hash_table_lookup (set->link_names, first_key));
  char *key = g_strdup (first_key);
  while (g_hash_table_contains (set->link_names, key)) {
    g_autofree char *suffix = g_strdup_printf ("-%u", ++number);
    g_autofree char *stem = safe_name (name, NAME_MAX_BYTES - strlen (suffix));
    g_free (candidate);
    candidate = g_strconcat (stem, suffix, NULL);
    g_free (key);
    key = link_key (directory, candidate);
  }
  g_hash_table_insert (set->link_names, key, GUINT_TO_POINTER (1));
  if (number > 1)
    g_hash_table_insert (set->link_names, g_steal_pointer (&first_key),
                         GUINT_TO_POINTER (number));
  return candidate;
}

void
im_export_set_add_link (ImExportSet *set, const char *directory, const char *name,
                        const char *target)
{
  ImExportLink *link = g_new0 (ImExportLink, 1);
  link->directory = g_strdup (directory);
  link->name = claim_name (set, directory, name);
  link->target = g_strdup (target);
  g_ptr_array_add (set->links, link);
}

void
im_export_set_add_bitmap (ImExportSet *set, const char *name, ImBitmap *bitmap)
{
  ImExportBitmap *entry = g_new0 (ImExportBitmap, 1);
  entry->name = g_strdup (name);
  entry->bitmap = bitmap;
  g_ptr_array_add (set->bitmaps, entry);
}

const ImExport *
im_export_set_find (const ImExportSet *set, const char *name)
{
  return g_hash_table_lookup (set->by_name, name);
}
