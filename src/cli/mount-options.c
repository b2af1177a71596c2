/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sorting the words of -o. */
#include "cli/mount-options.h"
#include "base/error.h"
#include "base/parse.h"

/* Passed on to FUSE and the kernel. */
static const char *const fuse_words[] = {
    "allow_other",  "allow_root", "default_permissions",
    "auto_unmount", "fsname",     "subtype",
    "max_read",     "io_uring",   NULL,
};

/* Meant for mount(8), init systems and kernels; they change nothing here. */
static const char *const ignored_words[] = {
    "rw",       "defaults",   "auto",     "noauto",     "user",          "nouser",
    "users",    "owner",      "group",    "nofail",     "_netdev",       "dev",
    "nodev",    "suid",       "nosuid",   "exec",       "noexec",        "async",
    "sync",     "atime",      "noatime",  "relatime",   "norelatime",    "strictatime",
    "diratime", "nodiratime", "lazytime", "nolazytime", "nostrictatime", "dirsync",
    "silent",   "loud",       "mand",     "nomand",     "comment",       NULL,
};

typedef bool (*SetFunc) (ImOptions *options, const char *value, GError **error);

static bool
set_ro (ImOptions *options, const char *value, GError **error)
{
  options->read_only = true;
  return true;
}

static bool
set_offset (ImOptions *options, const char *value, GError **error)
{
  return im_parse_size (value, "-o offset", &options->offset, error);
}

static bool
set_size (ImOptions *options, const char *value, GError **error)
{
  return im_parse_size (value, "-o size", &options->size, error);
}

static bool
set_partition (ImOptions *options, const char *value, GError **error)
{
  return im_parse_number (value, "-o partition", UINT32_MAX, &options->partition, error);
}

static bool
set_sector_size (ImOptions *options, const char *value, GError **error)
{
  return im_parse_size (value, "-o sector-size", &options->sector_size, error);
}

/* The list that VALUE points into lives as long as the options. */
static bool
set_format (ImOptions *options, const char *value, GError **error)
{
  options->format = g_intern_string (value);
  return true;
}

static bool
set_snapshot (ImOptions *options, const char *value, GError **error)
{
  options->snapshot = g_intern_string (value);
  return true;
}

static bool
set_temporary (ImOptions *options, const char *value, GError **error)
{
  options->temporary = true;
  return true;
}

static bool
set_overlay (ImOptions *options, const char *value, GError **error)
{
  options->overlay = g_intern_string (value);
  return true;
}

static bool
set_backing (ImOptions *options, const char *value, GError **error)
{
  options->backing = g_intern_string (value);
  return true;
}

static const struct {
  const char *word;
  bool takes_value;
  SetFunc set;
} own_words[] = {
    {"ro", false, set_ro},
    {"read-only", false, set_ro},
    {"offset", true, set_offset},
    {"size", true, set_size},
    {"sizelimit", true, set_size},
    {"partition", true, set_partition},
    {"sector-size", true, set_sector_size},
    {"format", true, set_format},
    {"load-snapshot", true, set_snapshot},
    {"snapshot", false, set_temporary},
    {"overlay", true, set_overlay},
    {"backing", true, set_backing},
};

static bool
apply_own (ImOptions *options, size_t i, const char *value, GError **error)
{
  if (own_words[i].takes_value != (value != NULL)) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "-o %s %s", own_words[i].word,
                 value ? "takes no value" : "needs a value");
    return false;
  }
  return own_words[i].set (options, value, error);
}

/* One word, with its value if any; what FUSE is to have goes to KEPT. */
static bool
apply_word (ImOptions *options, const char *whole, GPtrArray *kept, GError **error)
{
  const char *equals = strchr (whole, '=');
  g_autofree char *word =
      equals ? g_strndup (whole, (gsize)(equals - whole)) : g_strdup (whole);
  for (size_t i = 0; i < G_N_ELEMENTS (own_words); i++)
    if (strcmp (own_words[i].word, word) == 0)
      return apply_own (options, i, equals ? equals + 1 : NULL, error);
  if (g_strv_contains (fuse_words, word)) {
    g_ptr_array_add (kept, (void *)whole);
    return true;
  }
  if (g_strv_contains (ignored_words, word) || g_str_has_prefix (word, "x-") ||
      word[0] == '\0')
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "-o: '%s' is not known", word);
  return false;
}

bool
im_mount_options_apply (ImOptions *options, GError **error)
{
  if (!options->mount_options)
    return true;
  g_auto (GStrv) words = g_strsplit (options->mount_options, ",", -1);
  g_autoptr (GPtrArray) kept = g_ptr_array_new ();
  for (char **word = words; *word; word++)
    if (!apply_word (options, *word, kept, error))
      return false;
  g_ptr_array_add (kept, NULL);
  g_free (options->mount_options);
  options->mount_options = kept->len > 1 ? g_strjoinv (",", (char **)kept->pdata) : NULL;
  return im_options_check (options, error);
}
