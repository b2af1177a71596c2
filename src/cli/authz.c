/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From --object authz-… to the list of who may connect. */
#include "config.h"

#if HAVE_NBD
#include "base/key-value.h"
#include "base/parse.h"
#include "cli/authz.h"

#include <string.h>

static bool
set_policy (const ImObject *object, const char *value, bool *ret_allow, GError **error)
{
  return im_nbd_authz_parse_policy (value, ret_allow) ||
         im_object_refuse (object, error, "policy '%s' is neither allow nor deny", value);
}

/* "NUMBER.FIELD", what follows "rules." in a key. */
static bool
take_rule (const ImObject *object, ImNbdAuthz *authz, const char *key, const char *value,
           GError **error)
{
  const char *dot = strchr (key, '.');
  g_autofree char *digits = g_strndup (key, dot ? (size_t)(dot - key) : 0);
  uint64_t number;
  if (!dot ||
      !im_parse_number (digits, "rules", IM_NBD_AUTHZ_RULES_MAX - 1, &number, NULL) ||
      number > authz->rules->len)
    return im_object_refuse (
        object, error, "'rules.%s' is not the next of rules.0.match, rules.1.…", key);
  ImNbdAuthzRule *rule =
      number < authz->rules->len ? authz->rules->pdata[number] : im_nbd_authz_add (authz);
  if (strcmp (dot, ".policy") == 0)
    return set_policy (object, value, &rule->allow, error);
  if (strcmp (dot, ".match") == 0) {
    g_free (rule->match);
    rule->match = g_strdup (value);
    return true;
  }
  return (strcmp (dot, ".format") == 0 &&
          im_nbd_authz_parse_format (value, &rule->glob)) ||
         im_object_refuse (object, error, "'rules.%s=%s' is not known", key, value);
}

static bool
take_authz_pair (const ImObject *object, ImNbdAuthz *authz, const ImKeyValue *pair,
                 GError **error)
{
  bool simple = im_object_is (object, "authz-simple");
  const char *value = pair->value ? pair->value : "";
  if (strcmp (pair->key, "id") == 0)
    return true;
  if (simple && strcmp (pair->key, "identity") == 0) {
    *im_nbd_authz_add (authz) = (ImNbdAuthzRule){g_strdup (value), false, true};
    return true;
  }
  if (!simple && strcmp (pair->key, "policy") == 0)
    return set_policy (object, value, &authz->allow_others, error);
  if (!simple && g_str_has_prefix (pair->key, "rules."))
    return take_rule (object, authz, pair->key + strlen ("rules."), value, error);
  return im_object_refuse (object, error, "'%s' is not known", pair->key);
}

static bool
has_key (const ImObject *object, const char *key)
{
  for (guint i = 1; i < object->pairs->len; i++)
    if (strcmp (((const ImKeyValue *)object->pairs->pdata[i])->key, key) == 0)
      return true;
  return false;
}

/* Each rule of a list says whom it is for, and what it is. */
static bool
check_rules (const ImObject *object, const ImNbdAuthz *authz, GError **error)
{
  static const char *const fields[] = {"match", "policy"};
  for (guint i = 0; i < authz->rules->len; i++)
    for (size_t f = 0; f < G_N_ELEMENTS (fields); f++) {
      g_autofree char *key = g_strdup_printf ("rules.%u.%s", i, fields[f]);
      if (!has_key (object, key))
        return im_object_refuse (object, error, "%s= is missing", key);
    }
  return true;
}

static ImNbdAuthz *
open_list (const ImObject *object, GError **error)
{
  g_autoptr (ImNbdAuthz) authz = im_nbd_authz_new ();
  for (guint i = 1; i < object->pairs->len; i++)
    if (!take_authz_pair (object, authz, object->pairs->pdata[i], error))
      return NULL;
  bool complete = true;
  if (!im_object_is (object, "authz-simple"))
    complete = check_rules (object, authz, error);
  else if (authz->rules->len != 1)
    complete = im_object_refuse (object, error, "identity= is needed, and once");
  return complete ? g_steal_pointer (&authz) : NULL;
}

static ImNbdAuthz *
open_file (const ImObject *object, GError **error)
{
  const char *filename = NULL, *refresh = NULL;
  const ImObjectProperty properties[] = {{"filename", &filename}, {"refresh", &refresh}};
  bool on = true;
  if (!im_object_read (object, properties, G_N_ELEMENTS (properties), error))
    return NULL;
  if (!filename || !*filename) {
    im_object_refuse (object, error, "filename= is missing");
    return NULL;
  }
  if (refresh && !im_object_parse_switch (refresh, &on)) {
    im_object_refuse (object, error, "refresh=%s is neither on nor off", refresh);
    return NULL;
  }
  ImNbdAuthz *authz = im_nbd_authz_open (filename, on, error);
  if (!authz)
    g_prefix_error (error, "--object %s,id=%s: ", object->type, object->id);
  return authz;
}

ImNbdAuthz *
im_authz_open (const ImObject *object, GError **error)
{
  if (im_object_is (object, "authz-list-file"))
    return open_file (object, error);
  if (g_str_has_prefix (object->type, "authz-"))
    return open_list (object, error);
  im_object_refuse (object, error,
                    "--tls-authz needs authz-simple, authz-list or authz-list-file");
  return NULL;
}
#endif
