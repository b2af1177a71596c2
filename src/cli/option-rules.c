/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rules, as tables. */
#include "cli/option-rules.h"
#include "base/error.h"

typedef struct {
  const char *option, *other;
} Rule;

static const Rule excluding[] = {
    {"connect", "disconnect"},
    /* Beside the device only --socket listens. */
    {"connect", "port"},
    {"connect", "bind"},
    /* The kernel speaks no TLS. */
    {"connect", "tls-creds"},
    {"connect", "tls-psk"},
    {"tls-creds", "tls-psk"},
    /* The command finds the server on a unix socket, and ends it. */
    {"run", "port"},
    {"run", "bind"},
    {"run", "connect"},
    {"run", "fork"},
    /* Who goes to the background has another parent. */
    {"exit-with-parent", "fork"},
    {"exit-with-parent", "connect"},
    /* Bitmaps speak of the disk as it is now. */
    {"bitmap", "load-snapshot"},
};

/* The first has no meaning without the second, or where there are two such rules without
 * either. */
static const Rule needing[] = {
    {"force", "disconnect"},    {"ioctl", "connect"},          {"ioctl", "disconnect"},
    {"tls-authz", "tls-creds"}, {"tls-hostname", "tls-creds"}, {"timeout", "connect"},
    {"block-size", "connect"},  {"selinux-label", "socket"},   {"selinux-label", "run"},
};

/* All that --disconnect takes. */
static const char *const disconnecting[] = {"disconnect", "force", "ioctl", "verbose",
                                            NULL};

/* All that -L takes: where the server is, and what bears on no image; qemu-nbd draws the
 * line so, and what it lets stand has no meaning here either. */
static const char *const listing[] = {
    "port",      "bind",         "socket",     "handshake-limit",
    "verbose",   "read-only",    "snapshot",   "persistent",
    "shared",    "image-opts",   "pid-file",   "log",
    "object",    "trace",        "foreground", "detect-zeroes",
    "tls-creds", "tls-hostname", NULL,
};

bool
im_option_is_used (const GPtrArray *used, const char *name)
{
  for (guint i = 0; i < used->len; i++) {
    const ImOptionEntry *entry = used->pdata[i];
    if (g_strcmp0 (entry->name, name) == 0)
      return true;
  }
  return false;
}

static bool
check_excluding (const GPtrArray *used, GError **error)
{
  for (size_t i = 0; i < G_N_ELEMENTS (excluding); i++) {
    const Rule *rule = &excluding[i];
    if (!im_option_is_used (used, rule->option) || !im_option_is_used (used, rule->other))
      continue;
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "--%s and --%s exclude each other",
                 rule->option, rule->other);
    return false;
  }
  return true;
}

static bool
check_needing (const GPtrArray *used, GError **error)
{
  for (size_t i = 0; i < G_N_ELEMENTS (needing); i++) {
    const char *option = needing[i].option;
    bool met = !im_option_is_used (used, option);
    g_autoptr (GString) others = g_string_new (NULL);
    for (size_t j = 0; j < G_N_ELEMENTS (needing); j++) {
      if (g_strcmp0 (needing[j].option, option) != 0)
        continue;
      met = met || im_option_is_used (used, needing[j].other);
      g_string_append_printf (others, "%s--%s", others->len ? " or " : "",
                              needing[j].other);
    }
    if (met)
      continue;
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "--%s has no meaning without %s",
                 option, others->str);
    return false;
  }
  return true;
}

/* USED are all among TAKEN, but for the one of LETTER.  TITLE takes them. */
static bool
check_only (const GPtrArray *used, const char *title, char letter,
            const char *const *taken, GError **error)
{
  for (guint i = 0; i < used->len; i++) {
    const ImOptionEntry *entry = used->pdata[i];
    if (entry->letter == letter || (entry->name && g_strv_contains (taken, entry->name)))
      continue;
    const char letters[] = {'-', entry->letter, '\0'};
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "%s%s has no meaning with %s",
                 entry->name ? "--" : letters, entry->name ? entry->name : "", title);
    return false;
  }
  return true;
}

static bool
is_used_by_letter (const GPtrArray *used, char letter)
{
  for (guint i = 0; i < used->len; i++)
    if (((const ImOptionEntry *)used->pdata[i])->letter == letter)
      return true;
  return false;
}

static bool
check_modes (const GPtrArray *used, GError **error)
{
  bool lists = is_used_by_letter (used, 'L');
  if (!lists && im_option_is_used (used, "tls-hostname")) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "--tls-hostname has no meaning without -L");
    return false;
  }
  if (lists)
    return check_only (used, "-L", 'L', listing, error);
  return !im_option_is_used (used, "disconnect") ||
         check_only (used, "--disconnect", 'd', disconnecting, error);
}

bool
im_option_rules_check (const GPtrArray *used, GError **error)
{
  return check_excluding (used, error) && check_modes (used, error) &&
         check_needing (used, error);
}
