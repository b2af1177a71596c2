/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is mounted where, read from the kernel's mountinfo. */
#include "base/mount-table.h"
#include "base/error.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Fields of a line, see proc(5); optional ones follow OPTIONS, ended by a "-". */
enum { FIELD_DEVICE = 2, FIELD_PATH = 4, FIELD_OPTIONS = 5, FIELDS_AFTER_DASH = 3 };

static void
entry_free (void *data)
{
  ImMountEntry *entry = data;
  g_free (entry->path);
  g_free (entry->type);
  g_free (entry->source);
  g_free (entry->super_options);
  g_free (entry);
}

static bool
is_octal (const char *p)
{
  return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' &&
         p[2] <= '7';
}

/* The kernel writes blanks, backslashes and '#' as three octal digits. */
static char *
unescape (const char *text)
{
  char *plain = g_malloc (strlen (text) + 1);
  size_t n = 0;
  for (const char *p = text; *p; p++) {
    if (*p == '\\' && is_octal (p + 1)) {
      plain[n++] = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
      p += 3;
    } else {
      plain[n++] = *p;
    }
  }
  plain[n] = '\0';
  return plain;
}

/* "ro" or "rw" comes first in both lists of options. */
static bool
begins_with_ro (const char *options)
{
  return strcmp (options, "ro") == 0 || g_str_has_prefix (options, "ro,");
}

static ImMountEntry *
parse_line (const char *line)
{
  g_auto (GStrv) fields = g_strsplit (line, " ", -1);
  guint n = g_strv_length (fields);
  guint dash = FIELD_OPTIONS + 1;
  while (dash < n && !g_str_equal (fields[dash], "-"))
    dash++;
  unsigned major, minor;
  if (n <= dash || n - dash <= FIELDS_AFTER_DASH ||
      sscanf (fields[FIELD_DEVICE], "%u:%u", &major, &minor) != 2)
    return NULL;
  ImMountEntry *entry = g_new0 (ImMountEntry, 1);
  entry->major = major;
  entry->minor = minor;
  entry->path = unescape (fields[FIELD_PATH]);
  entry->type = unescape (fields[dash + 1]);
  entry->source = unescape (fields[dash + 2]);
  entry->super_options = unescape (fields[dash + 3]);
  entry->read_only =
      begins_with_ro (fields[FIELD_OPTIONS]) || begins_with_ro (entry->super_options);
  return entry;
}

GPtrArray *
im_mount_table_parse (const char *text)
{
  GPtrArray *table = g_ptr_array_new_with_free_func (entry_free);
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line; line++) {
    ImMountEntry *entry = parse_line (*line);
    if (entry)
      g_ptr_array_add (table, entry);
  }
  return table;
}

GPtrArray *
im_mount_table_read (GError **error)
{
  g_autofree char *text = NULL;
  g_autoptr (GError) local = NULL;
  if (!g_file_get_contents ("/proc/self/mountinfo", &text, NULL, &local)) {
    im_set_errno (error, errno, "/proc/self/mountinfo");
    return NULL;
  }
  return im_mount_table_parse (text);
}

const ImMountEntry *
im_mount_table_at (GPtrArray *table, const char *path)
{
  for (guint i = table->len; i > 0; i--) {
    const ImMountEntry *entry = table->pdata[i - 1];
    if (g_str_equal (entry->path, path))
      return entry;
  }
  return NULL;
}

const ImMountEntry *
im_mount_table_of_device (GPtrArray *table, unsigned major, unsigned minor)
{
  for (guint i = table->len; i > 0; i--) {
    const ImMountEntry *entry = table->pdata[i - 1];
    if (entry->major == major && entry->minor == minor)
      return entry;
  }
  return NULL;
}

/* The number that follows PREFIX in one of ENTRY's options. */
static bool
find_number (const ImMountEntry *entry, const char *prefix, unsigned *ret_number)
{
  g_auto (GStrv) options = g_strsplit (entry->super_options, ",", -1);
  for (char **option = options; *option; option++) {
    if (g_str_has_prefix (*option, prefix) &&
        sscanf (*option + strlen (prefix), "%u", ret_number) == 1)
      return true;
  }
  return false;
}

bool
im_mount_entry_user (const ImMountEntry *entry, unsigned *ret_uid)
{
  return find_number (entry, "user_id=", ret_uid);
}

bool
im_mount_entry_group (const ImMountEntry *entry, unsigned *ret_gid)
{
  return find_number (entry, "group_id=", ret_gid);
}
