/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of who may connect. */
#include "nbd/nbd-authz.h"

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
  return authz;
}

void
im_nbd_authz_free (ImNbdAuthz *authz)
{
  if (!authz)
    return;
  g_ptr_array_unref (authz->rules);
  g_free (authz);
}

ImNbdAuthzRule *
im_nbd_authz_add (ImNbdAuthz *authz)
{
  ImNbdAuthzRule *rule = g_new0 (ImNbdAuthzRule, 1);
  g_ptr_array_add (authz->rules, rule);
  return rule;
}

static bool
rule_matches (const ImNbdAuthzRule *rule, const char *name)
{
  return rule->glob ? g_pattern_match_simple (rule->match, name)
                    : g_str_equal (rule->match, name);
}

bool
im_nbd_authz_allows (const ImNbdAuthz *authz, const char *name)
{
  for (guint i = 0; i < authz->rules->len; i++) {
    const ImNbdAuthzRule *rule = authz->rules->pdata[i];
    if (rule_matches (rule, name))
      return rule->allow;
  }
  return authz->allow_others;
}
