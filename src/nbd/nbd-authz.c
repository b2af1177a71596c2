/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of who may connect. */
#include "nbd/nbd-authz.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void
rule_free (void *data)
{
  ImNbdAuthzRule *rule = data;
  g_free (rule->match);
  g_free (rule);
}

ImNbdAuthz *
im_nbd_authz_new (void)
{
  ImNbdAuthz *authz = g_new0 (ImNbdAuthz, 1);
  authz->rules = g_ptr_array_new_with_free_func (rule_free);
  authz->folder = -1;
  return authz;
}

void
im_nbd_authz_free (ImNbdAuthz *authz)
{
  if (!authz)
    return;
  g_ptr_array_unref (authz->rules);
  if (authz->folder >= 0)
    close (authz->folder);
  g_free (authz->file);
  g_free (authz);
}

ImNbdAuthzRule *
im_nbd_authz_add (ImNbdAuthz *authz)
{
  ImNbdAuthzRule *rule = g_new0 (ImNbdAuthzRule, 1);
  g_ptr_array_add (authz->rules, rule);
  return rule;
}

bool
im_nbd_authz_parse_policy (const char *text, bool *ret_allow)
{
  *ret_allow = g_str_equal (text, "allow");
  return *ret_allow || g_str_equal (text, "deny");
}

bool
im_nbd_authz_parse_format (const char *text, bool *ret_glob)
{
  *ret_glob = g_str_equal (text, "glob");
  return *ret_glob || g_str_equal (text, "exact");
}

ImNbdAuthz *
im_nbd_authz_open (const char *path, bool refresh, GError **error)
{
  g_autofree char *dir = g_path_get_dirname (path);
  int folder = open (dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) {
    im_set_errno (error, errno, "%s", dir);
    return NULL;
  }
  g_autofree char *name = g_path_get_basename (path);
  g_autoptr (ImNbdAuthz) authz = im_nbd_authz_read (folder, name, error);
  if (!authz && strcmp (dir, ".") != 0)
    g_prefix_error (error, "%s/", strcmp (dir, "/") == 0 ? "" : dir);
  if (!authz || !refresh) {
    close (folder);
    return g_steal_pointer (&authz);
  }
  authz->folder = folder;
  authz->file = g_steal_pointer (&name);
  return g_steal_pointer (&authz);
}

static bool
rule_matches (const ImNbdAuthzRule *rule, const char *name)
{
  return rule->glob ? g_pattern_match_simple (rule->match, name)
                    : g_str_equal (rule->match, name);
}

static bool
list_allows (const ImNbdAuthz *authz, const char *name)
{
  for (guint i = 0; i < authz->rules->len; i++) {
    const ImNbdAuthzRule *rule = authz->rules->pdata[i];
    if (rule_matches (rule, name))
      return rule->allow;
  }
  return authz->allow_others;
}

bool
im_nbd_authz_allows (const ImNbdAuthz *authz, const char *name, GError **error)
{
  if (authz->folder < 0)
    return list_allows (authz, name);
  g_autoptr (ImNbdAuthz) now = im_nbd_authz_read (authz->folder, authz->file, error);
  return now && list_allows (now, name);
}
