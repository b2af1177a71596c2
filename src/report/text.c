/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --list and --info for people. */
#include "base/text.h"
#include "base/parse.h"
#include "report/report.h"
#include "report/words.h"

#define U64 "%" G_GUINT64_FORMAT

/* Keys with their indentation; the longest usual ones fit. */
#define FACT_WIDTH 24u

/* Chains are as long as image lets them be; facts nest one or two deep. */
#define MAX_FACT_DEPTH 8u

enum { NUMBER, FIRST, LAST, SECTORS, SIZE, TYPE, COLUMNS };

/* A listing is ready to be read at these widths; longer cells widen their column. */
static const struct {
  const char *title;
  unsigned width;
} columns[COLUMNS] = {
    [NUMBER] = {"#", 7},         [FIRST] = {"first", 10}, [LAST] = {"last", 11},
    [SECTORS] = {"sectors", 11}, [SIZE] = {"size", 10},   [TYPE] = {"type", 4},
};

/* One partition's line, before its cells are aligned. */
typedef struct {
  char *cells[COLUMNS];
  char *rest; /* name and remarks */
} Row;

static void
row_free (void *data)
{
  Row *row = data;
  for (int i = 0; i < COLUMNS; i++)
    g_free (row->cells[i]);
  g_free (row->rest);
  g_free (row);
}

/* The name in quotes, and in brackets what is remarkable. */
static char *
format_rest (const ImPartition *p)
{
  GString *rest = g_string_new (NULL);
  if (p->name) {
    g_autofree char *name = im_text_line (p->name, true);
    g_string_append_printf (rest, "\"%s\"", name);
  }
  g_autofree const char **flags = im_words_of_flags (p->flags);
  const char *separator = "[";
  const char *const boot[] = {p->bootable ? "bootable" : NULL, NULL};
  const char *const *lists[] = {boot, flags};
  if (rest->len && (boot[0] || flags[0]))
    g_string_append_c (rest, ' ');
  for (size_t i = 0; i < G_N_ELEMENTS (lists); i++) {
    for (const char *const *word = lists[i]; *word; word++) {
      g_string_append_printf (rest, "%s%s", separator, *word);
      separator = ", ";
    }
  }
  if (separator[0] == ',')
    g_string_append_c (rest, ']');
  return g_string_free (rest, FALSE);
}

static char *
format_sectors_size (const ImPartitionTable *table, uint64_t sectors)
{
  uint64_t bytes;
  return __builtin_mul_overflow (sectors, (uint64_t)table->sector_size, &bytes)
             ? g_strdup ("over 16 EiB")
             : im_format_size (bytes);
}

/* A number with a p is a file's name; what has no file has the bare number. */
static Row *
row_new (const ImPartitionTable *table, const ImPartition *p)
{
  Row *row = g_new0 (Row, 1);
  row->cells[NUMBER] = g_strdup_printf ("%s%u", p->size ? "p" : "", p->number);
  row->cells[FIRST] = g_strdup_printf (U64, p->first_lba);
  row->cells[LAST] = g_strdup_printf (U64, p->last_lba);
  row->cells[SECTORS] = g_strdup_printf (U64, p->sectors);
  row->cells[SIZE] = format_sectors_size (table, p->sectors);
  row->cells[TYPE] = im_text_line (im_partition_type_name (p), false);
  row->rest = format_rest (p);
  return row;
}

static void
append_row (GString *text, const unsigned widths[COLUMNS], char *const cells[COLUMNS],
            const char *rest)
{
  for (int i = 0; i < TYPE; i++)
    g_string_append_printf (text, "%*s", (int)widths[i], cells[i]);
  g_string_append_printf (text, "  %-*s  %s", (int)widths[TYPE], cells[TYPE], rest);
  while (text->len && text->str[text->len - 1] == ' ')
    g_string_truncate (text, text->len - 1);
  g_string_append_c (text, '\n');
}

static void
append_rows (GString *text, const ImPartitionTable *table)
{
  g_autoptr (GPtrArray) rows = g_ptr_array_new_with_free_func (row_free);
  unsigned widths[COLUMNS];
  char *titles[COLUMNS];
  for (int i = 0; i < COLUMNS; i++) {
    widths[i] = columns[i].width;
    titles[i] = (char *)columns[i].title;
  }
  for (guint i = 0; i < table->partitions->len; i++) {
    Row *row = row_new (table, table->partitions->pdata[i]);
    g_ptr_array_add (rows, row);
    for (int c = 0; c < COLUMNS; c++)
      widths[c] = MAX (widths[c], (unsigned)strlen (row->cells[c]) + (c == TYPE ? 0 : 1));
  }
  if (rows->len > 0)
    append_row (text, widths, titles, "name");
  for (guint i = 0; i < rows->len; i++) {
    const Row *row = rows->pdata[i];
    append_row (text, widths, row->cells, row->rest);
  }
}

/* "20 GiB (21474836480 bytes)", or "512 bytes" alone. */
static char *
format_bytes (uint64_t bytes)
{
  g_autofree char *size = im_format_size (bytes);
  return bytes < 1024 ? g_steal_pointer (&size)
                      : g_strdup_printf ("%s (" U64 " bytes)", size, bytes);
}

static void
append_list (GString *text, const char *path, const ImPartitionTable *table)
{
  g_autofree char *name = im_text_line (path, false);
  g_autofree char *size = format_bytes (table->disk_size);
  g_string_append_printf (
      text, "%s: %s, " U64 " %s of %u bytes, ", name, size, table->disk_sectors,
      table->disk_sectors == 1 ? "sector" : "sectors", table->sector_size);
  if (table->kind == IM_TABLE_NONE)
    g_string_append (text, "no partition table\n");
  else
    g_string_append_printf (text, "%s%s%s\n", im_table_scheme (table->kind),
                            table->id ? " " : "", table->id ? table->id : "");
  append_rows (text, table);
  for (guint i = 0; i < table->warnings->len; i++)
    g_string_append_printf (text, "warning: %s\n", (char *)table->warnings->pdata[i]);
}

char *
im_report_list (const ImImage *image, const ImPartitionTable *table)
{
  GString *text = g_string_new (NULL);
  append_list (text, image->path, table);
  return g_string_free (text, FALSE);
}

/* KEY and VALUE, the values beneath one another. */
static void
append_fact (GString *text, unsigned indent, const char *key, const char *value)
{
  g_string_append_printf (text, "%*s%-*s  %s\n", (int)indent, "",
                          (int)(FACT_WIDTH - MIN (indent, FACT_WIDTH)), key, value);
}

static void
append_size (GString *text, unsigned indent, const char *key, uint64_t bytes)
{
  g_autofree char *value = format_bytes (bytes);
  append_fact (text, indent, key, value);
}

/* One line for a value that is not a dictionary. */
static char *
format_value (GVariant *value)
{
  if (g_variant_is_of_type (value, G_VARIANT_TYPE_STRING))
    return im_text_line (g_variant_get_string (value, NULL), false);
  if (g_variant_is_of_type (value, G_VARIANT_TYPE_BOOLEAN))
    return g_strdup (g_variant_get_boolean (value) ? "yes" : "no");
  if (g_variant_is_of_type (value, G_VARIANT_TYPE_STRING_ARRAY)) {
    g_autofree const char **words = g_variant_get_strv (value, NULL);
    g_autofree char *list = g_strjoinv (", ", (char **)words);
    return im_text_line (words[0] ? list : "none", false);
  }
  g_autofree char *printed = g_variant_print (value, FALSE);
  return im_text_line (printed, false);
}

static void append_facts (GString *text, unsigned indent, unsigned depth,
                          GVariant *facts);

/* Dictionaries, and arrays of them, become indented blocks. */
static void
append_value (GString *text, unsigned indent, unsigned depth, const char *key,
              GVariant *value)
{
  bool dictionary = g_variant_is_of_type (value, G_VARIANT_TYPE_VARDICT);
  bool list = g_variant_is_of_type (value, G_VARIANT_TYPE ("aa{sv}"));
  if ((!dictionary && !list) || depth == MAX_FACT_DEPTH) {
    g_autofree char *printed = format_value (value);
    append_fact (text, indent, key, printed);
    return;
  }
  gsize n = list ? g_variant_n_children (value) : 1;
  for (gsize i = 0; i < n; i++) {
    g_autoptr (GVariant) facts =
        list ? g_variant_get_child_value (value, i) : g_variant_ref (value);
    g_string_append_printf (text, "%*s%s\n", (int)indent, "", key);
    append_facts (text, indent + 2, depth + 1, facts);
  }
}

static void
append_facts (GString *text, unsigned indent, unsigned depth, GVariant *facts)
{
  GVariantIter iter;
  const char *key;
  GVariant *value;
  g_variant_iter_init (&iter, facts);
  while (g_variant_iter_next (&iter, "{&sv}", &key, &value)) {
    g_autofree char *words = g_strdelimit (g_strdup (key), "-", ' ');
    if (g_str_has_suffix (key, "-size") &&
        g_variant_is_of_type (value, G_VARIANT_TYPE_UINT64))
      append_size (text, indent, words, g_variant_get_uint64 (value));
    else
      append_value (text, indent, depth, words, value);
    g_variant_unref (value);
  }
}

static void
append_file (GString *text, const ImFile *file)
{
  const struct stat *st = im_file_stat (file);
  g_autofree char *modified = im_format_time (st->st_mtime);
  append_size (text, 2, "file size", im_file_size (file));
  append_size (text, 2, "file occupies", (uint64_t)st->st_blocks * 512);
  append_fact (text, 2, "file modified", modified);
}

/* One image of the chain. */
static void
append_image (GString *text, ImBlock *disk, const char *format)
{
  append_fact (text, 2, "format", format);
  append_size (text, 2, "virtual size", disk->size);
  if (disk->file)
    append_file (text, disk->file);
  if (!disk->ops->describe)
    return;
  g_autoptr (GVariant) facts = g_variant_take_ref (disk->ops->describe (disk));
  append_facts (text, 2, 0, facts);
}

/* What was met of it until now: the partition table has been read, and no more. */
static void
append_damage (GString *text, const ImReport *report)
{
  uint64_t unlisted;
  if (!report->damage)
    return;
  g_autoptr (GArray) ranges =
      im_damage_list (report->damage, 0, report->disk->size, &unlisted);
  if (ranges->len == 0)
    return;
  g_string_append_printf (text, "damage, read as %s:\n",
                          report->disk->fills_damage ? "zeros" : "errors");
  for (guint i = 0; i < ranges->len; i++) {
    const ImDamageRange *range = &g_array_index (ranges, ImDamageRange, i);
    g_autofree char *size = format_bytes (range->length);
    g_autofree char *reason = im_text_line (range->reason, false);
    g_string_append_printf (text, "  at disk offset " U64 ", %s: %s\n", range->offset,
                            size, reason);
  }
  if (unlisted > 0)
    g_string_append_printf (text, "  and more, " U64 " bytes\n", unlisted);
}

char *
im_report_info (const ImReport *report)
{
  const ImImage *image = report->image;
  GString *text = g_string_new (NULL);
  g_autofree char *path = im_text_line (image->path, false);
  g_string_append_printf (text, "%s\n", path);
  append_image (text, image->disk, image->format->name);
  unsigned depth = 0;
  for (ImBlock *parent = image->disk->parent; parent; parent = parent->parent) {
    g_autofree char *name =
        im_text_line (parent->file ? im_file_path (parent->file) : "?", false);
    g_string_append_printf (text, "parent %u: %s\n", ++depth, name);
    append_image (text, parent, parent->ops->name);
  }
  append_damage (text, report);
  return g_string_free (text, FALSE);
}
