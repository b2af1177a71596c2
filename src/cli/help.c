/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What --help prints, from the table of options. */
#include "cli/help.h"
#include "cli/option-table.h"
#include "config.h"

static void
append_entry (GString *text, const ImOptionEntry *entry)
{
  g_autoptr (GString) names = g_string_new (NULL);
  if (entry->letter)
    g_string_append_printf (names, "-%c", entry->letter);
  else
    g_string_append (names, "  ");
  if (entry->name)
    g_string_append_printf (names, "%s--%s", entry->letter ? ", " : "  ", entry->name);
  if (entry->argument)
    g_string_append_printf (names, " %s", entry->argument);
  /* Padded by characters: an ellipsis is one. */
  int pad = 30 - (int)g_utf8_strlen (names->str, -1);
  g_string_append_printf (text, "  %s%*s  %s\n", names->str, MAX (pad, 0), "",
                          entry->help);
}

static void
append_section (GString *text, const char *title, bool (*belongs) (const ImOptionEntry *))
{
  g_string_append_printf (text, "\n%s\n", title);
  for (size_t i = 0; i < im_option_table_length; i++)
    if (belongs (&im_option_table[i]))
      append_entry (text, &im_option_table[i]);
}

static bool
is_form (const ImOptionEntry *entry)
{
  return entry->kind == IM_OPTION_FORM;
}

static bool
is_nbd (const ImOptionEntry *entry)
{
  return entry->kind != IM_OPTION_FORM && entry->forms == IM_FORM_NBD;
}

static bool
is_common (const ImOptionEntry *entry)
{
  return entry->kind != IM_OPTION_FORM && entry->forms != IM_FORM_NBD;
}

char *
im_help_text (void)
{
  GString *text = g_string_new (
      "imgmount " IMGMOUNT_VERSION ": hands out the bytes of a disk image\n\n"
      "  imgmount [OPTION...] IMAGE MOUNTPOINT    as files: disk, p1, p2, …\n"
      "  imgmount --nbd [OPTION...] IMAGE         over NBD\n"
      "  imgmount --nbd -c DEV [OPTION...] IMAGE  as the kernel's /dev/nbdX\n"
      "  imgmount --nbd -d DEV\n"
      "  imgmount --nbd -L [OPTION...]            what a server exports\n"
      "  imgmount --list [--json] IMAGE           the partition table\n"
      "  imgmount --info [--json] IMAGE           what is known of the image\n"
      "  imgmount --extract WHAT -O FILE IMAGE    copy out disk, p1, gaps/…\n"
      "  imgmount --verify IMAGE                  check what the image stores twice\n"
      "  imgmount --status [--json]               what is mounted or attached\n"
      "  imgmount --unmount MOUNTPOINT\n");
  append_section (text, "What to do:", is_form);
  append_section (text, "Options:", is_common);
  append_section (text, "With --nbd:", is_nbd);
  g_string_append (text, "\nSizes take K, M, G, T, P, E. The manual: man imgmount\n");
  return g_string_free (text, FALSE);
}
