/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading who may connect from a file of JSON. */
#include "base/error.h"
#include "nbd/nbd-authz.h"

#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Room for as many rules as a list may have, and no more. */
enum { FILE_MAX = 1 << 20 };

/* All of FD; ends with a NUL. */
static char *
read_text (int fd, const char *name, size_t *ret_length, GError **error)
{
  struct stat st;
  if (fstat (fd, &st) < 0 || !S_ISREG (st.st_mode) || st.st_size > FILE_MAX) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "%s: not a file, or one of over %d bytes", name, FILE_MAX);
    return NULL;
  }
  size_t room = (size_t)st.st_size, length = 0;
  g_autofree char *text = g_malloc (room + 1);
  ssize_t got = 1;
  while (length < room && got > 0) {
    got = read (fd, text + length, room - length);
    if (got < 0) {
      im_set_errno (error, errno, "%s", name);
      return NULL;
    }
    length += (size_t)got;
  }
  text[length] = '\0';
  *ret_length = length;
  return g_steal_pointer (&text);
}

static bool
refuse (GError **error, const char *what)
{
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "%s", what);
  return false;
}

/* The string that MEMBER of OBJECT is; NULL: it is none. */
static const char *
text_of (JsonObject *object, const char *member)
{
  JsonNode *node = json_object_get_member (object, member);
  return JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING
             ? json_node_get_string (node)
             : NULL;
}

static bool
read_rule (ImNbdAuthzRule *rule, JsonObject *object, GError **error)
{
  bool has_policy = false;
  g_autoptr (GList) members = json_object_get_members (object);
  for (GList *m = members; m; m = m->next) {
    const char *key = m->data, *value = text_of (object, key);
    if (!value)
      return refuse (error, "what a rule says is text");
    if (strcmp (key, "match") == 0) {
      g_free (rule->match);
      rule->match = g_strdup (value);
    } else if (strcmp (key, "policy") == 0) {
      has_policy = true;
      if (!im_nbd_authz_parse_policy (value, &rule->allow))
        return refuse (error, "policy is neither allow nor deny");
    } else if (strcmp (key, "format") != 0) {
      return refuse (error, "a rule has match, policy and format, and nothing else");
    } else if (!im_nbd_authz_parse_format (value, &rule->glob)) {
      return refuse (error, "format is neither exact nor glob");
    }
  }
  return (rule->match && has_policy) || refuse (error, "match or policy is missing");
}

static bool
read_rules (ImNbdAuthz *authz, JsonNode *node, GError **error)
{
  if (!JSON_NODE_HOLDS_ARRAY (node))
    return refuse (error, "rules is no array");
  JsonArray *rules = json_node_get_array (node);
  guint n = json_array_get_length (rules);
  if (n > IM_NBD_AUTHZ_RULES_MAX) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT, "%u rules, more than %u", n,
                 IM_NBD_AUTHZ_RULES_MAX);
    return false;
  }
  for (guint i = 0; i < n; i++) {
    JsonNode *rule = json_array_get_element (rules, i);
    bool read =
        JSON_NODE_HOLDS_OBJECT (rule)
            ? read_rule (im_nbd_authz_add (authz), json_node_get_object (rule), error)
            : refuse (error, "no object");
    if (!read) {
      g_prefix_error (error, "rules[%u]: ", i);
      return false;
    }
  }
  return true;
}

static bool
read_list (ImNbdAuthz *authz, JsonNode *root, GError **error)
{
  if (!root || !JSON_NODE_HOLDS_OBJECT (root))
    return refuse (error, "no JSON object");
  JsonObject *object = json_node_get_object (root);
  g_autoptr (GList) members = json_object_get_members (object);
  for (GList *m = members; m; m = m->next) {
    const char *key = m->data, *policy;
    if (strcmp (key, "rules") == 0) {
      if (!read_rules (authz, json_object_get_member (object, key), error))
        return false;
    } else if (strcmp (key, "policy") != 0) {
      return refuse (error, "a list has rules and policy, and nothing else");
    } else if (!(policy = text_of (object, key)) ||
               !im_nbd_authz_parse_policy (policy, &authz->allow_others)) {
      return refuse (error, "policy is neither allow nor deny");
    }
  }
  return true;
}

ImNbdAuthz *
im_nbd_authz_read (int folder, const char *name, GError **error)
{
  /* A pipe would be waited for. */
  int fd = openat (folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    im_set_errno (error, errno, "%s", name);
    return NULL;
  }
  size_t length = 0;
  g_autofree char *text = read_text (fd, name, &length, error);
  close (fd);
  if (!text)
    return NULL;
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (ImNbdAuthz) authz = im_nbd_authz_new ();
  if (json_parser_load_from_data (parser, text, (gssize)length, error) &&
      read_list (authz, json_parser_get_root (parser), error))
    return g_steal_pointer (&authz);
  g_prefix_error (error, "%s: ", name);
  return NULL;
}
