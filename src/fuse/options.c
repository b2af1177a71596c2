/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mount options: FUSE's own words of the user's list, sorted. */
#include "fuse/options.h"
#include <string.h>

static bool *
find_switch (ImFuseMountOptions *options, const char *word)
{
  if (strcmp (word, "allow_other") == 0)
    return &options->allow_other;
  if (strcmp (word, "allow_root") == 0)
    return &options->allow_root;
  if (strcmp (word, "default_permissions") == 0)
    return &options->default_permissions;
  if (strcmp (word, "auto_unmount") == 0)
    return &options->auto_unmount;
  if (strcmp (word, "io_uring") == 0)
    return &options->io_uring;
  return NULL;
}

static void
apply_word (ImFuseMountOptions *options, const char *word, GString *kernel)
{
  bool *found = find_switch (options, word);
  if (found) {
    *found = true;
  } else if (g_str_has_prefix (word, "fsname=")) {
    g_free (options->source);
    options->source = g_strdup (word + strlen ("fsname="));
  } else if (word[0] != '\0' && !g_str_has_prefix (word, "subtype=")) {
    /* The subtype is how our mounts are told from others, and is not to be had. */
    options->max_read = options->max_read || g_str_has_prefix (word, "max_read=");
    g_string_append_printf (kernel, "%s%s", kernel->len ? "," : "", word);
  }
}

void
im_fuse_mount_options_parse (const char *text, ImFuseMountOptions *ret_options)
{
  g_autoptr (GString) kernel = g_string_new (NULL);
  g_auto (GStrv) words = g_strsplit (text ? text : "", ",", -1);
  *ret_options = (ImFuseMountOptions){.source = NULL};
  for (char **word = words; *word; word++)
    apply_word (ret_options, *word, kernel);
  ret_options->kernel = g_strdup (kernel->str);
}

void
im_fuse_mount_options_clear (ImFuseMountOptions *options)
{
  g_clear_pointer (&options->source, g_free);
  g_clear_pointer (&options->kernel, g_free);
}

char *
im_fuse_option_escape (const char *text)
{
  GString *escaped = g_string_new (NULL);
  for (const char *p = text; *p; p++) {
    if (*p == ',' || *p == '\\')
      g_string_append_c (escaped, '\\');
    g_string_append_c (escaped, *p);
  }
  return g_string_free (escaped, FALSE);
}

char *
im_fuse_mount_options_for_kernel (const ImFuseMountOptions *options)
{
  g_autofree char *piece =
      options->piece > 0 ? g_strdup_printf (",max_read=%u", options->piece) : NULL;
  return g_strconcat (options->allow_other || options->allow_root ? ",allow_other" : "",
                      options->default_permissions ? ",default_permissions" : "",
                      options->kernel[0] ? "," : "", options->kernel, piece, NULL);
}

char *
im_fuse_mount_options_for_fusermount (const ImFuseMountOptions *options,
                                      const char *source)
{
  g_autofree char *name = im_fuse_option_escape (source);
  g_autofree char *kernel = im_fuse_mount_options_for_kernel (options);
  return g_strconcat ("fsname=", name, ",subtype=imgmount,nosuid,nodev",
                      options->read_only ? ",ro" : ",rw",
                      options->auto_unmount ? ",auto_unmount" : "", kernel, NULL);
}
