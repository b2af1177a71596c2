/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The names that sfdisk gives to partitions and attributes, so that a script written for
 * its JSON finds them in ours. */
#include "report/sfdisk.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* Folders of links whose partitions udev names with "-part". */
static bool
is_link_folder (const char *device)
{
  static const char *const folders[] = {"/dev/disk/by-id", "/dev/disk/by-path",
                                        "/dev/mapper"};
  for (size_t i = 0; i < G_N_ELEMENTS (folders); i++)
    if (g_str_has_prefix (device, folders[i]))
      return true;
  return false;
}

/* There, the name is what exists: with nothing between, with "p", or else "-part". */
static char *
existing_node (const char *device, unsigned number)
{
  static const char *const infixes[] = {"", "p"};
  for (size_t i = 0; i < G_N_ELEMENTS (infixes); i++) {
    g_autofree char *node = g_strdup_printf ("%s%s%u", device, infixes[i], number);
    if (access (node, F_OK) == 0)
      return g_steal_pointer (&node);
  }
  return g_strdup_printf ("%s-part%u", device, number);
}

char *
im_sfdisk_node (const char *device, unsigned number)
{
  size_t length = strlen (device);
  if (is_link_folder (device))
    return existing_node (device, number);
  if (g_str_has_suffix (device, "disc"))
    return g_strdup_printf ("%.*spart%u", (int)(length - strlen ("disc")), device,
                            number);
  const char *infix = length > 0 && g_ascii_isdigit (device[length - 1]) ? "p" : "";
  return g_strdup_printf ("%s%s%u", device, infix, number);
}

char *
im_sfdisk_attributes (uint64_t attributes)
{
  /* Bits 48 and up belong to the partition's type and have numbers only. */
  static const char *const names[] = {"RequiredPartition", "NoBlockIOProtocol",
                                      "LegacyBIOSBootable"};
  GString *text = g_string_new (NULL);
  for (unsigned bit = 0; bit < G_N_ELEMENTS (names); bit++)
    if (attributes >> bit & 1)
      g_string_append_printf (text, "%s%s", text->len ? " " : "", names[bit]);
  if (attributes >> 48)
    g_string_append_printf (text, "%sGUID", text->len ? " " : "");
  char separator = ':';
  for (unsigned bit = 48; bit < 64; bit++) {
    if (attributes >> bit & 1) {
      g_string_append_printf (text, "%c%u", separator, bit);
      separator = ',';
    }
  }
  return g_string_free (text, text->len == 0);
}
