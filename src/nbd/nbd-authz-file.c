/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading who may connect from a file of JSON. */
#include "base/error.h"
#include "nbd/nbd-authz.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
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

/* One member of a rule; VALUE NULL: it is no text. */
static bool
read_member (ImNbdAuthzRule *rule, const char *key, const char *value, GError **error)
{
  if (!value)
    return refuse (error, "what a rule says is text");
  if (strcmp (key, "match") == 0) {
    rule->match = g_strdup (value);
    return true;
  }
  if (strcmp (key, "policy") == 0)
    return im_nbd_authz_parse_policy (value, &rule->allow) ||
           refuse (error, "policy is neither allow nor deny");
  if (strcmp (key, "format") == 0)
    return im_nbd_authz_parse_format (value, &rule->glob) ||
           refuse (error, "format is neither exact nor glob");
  return refuse (error, "a rule has match, policy and format, and nothing else");
}

static bool
read_rule (ImNbdAuthzRule *rule, json_t *object, GError **error)
{
  const char *key;
  json_t *value;
  json_object_foreach (object, key, value)
  {
    if (!read_member (rule, key, json_string_value (value), error))
      return false;
  }
  return (rule->match && json_object_get (object, "policy")) ||
         refuse (error, "match or policy is missing");
}

static bool
read_rules (ImNbdAuthz *authz, const json_t *rules, GError **error)
{
  if (!json_is_array (rules))
    return refuse (error, "rules is no array");
  size_t n = json_array_size (rules);
  if (n > IM_NBD_AUTHZ_RULES_MAX) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT, "%zu rules, more than %u", n,
                 IM_NBD_AUTHZ_RULES_MAX);
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    json_t *rule = json_array_get (rules, i);
    bool read = json_is_object (rule) ? read_rule (im_nbd_authz_add (authz), rule, error)
                                      : refuse (error, "no object");
    if (!read) {
      g_prefix_error (error, "rules[%zu]: ", i);
      return false;
    }
  }
  return true;
}

static bool
read_list (ImNbdAuthz *authz, json_t *root, GError **error)
{
  if (!json_is_object (root))
    return refuse (error, "no JSON object");
  const char *key;
  json_t *value;
  json_object_foreach (root, key, value)
  {
    const char *policy = json_string_value (value);
    if (strcmp (key, "rules") == 0) {
      if (!read_rules (authz, value, error))
        return false;
    } else if (strcmp (key, "policy") != 0) {
      return refuse (error, "a list has rules and policy, and nothing else");
    } else if (!policy || !im_nbd_authz_parse_policy (policy, &authz->allow_others)) {
      return refuse (error, "policy is neither allow nor deny");
    }
  }
  return true;
}

/* Of two members by one name an administrator may mean either, so neither counts. */
static json_t *
parse (const char *text, size_t length, GError **error)
{
  json_error_t at;
  json_t *root = json_loadb (text, length, JSON_REJECT_DUPLICATES, &at);
  if (!root)
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "line %d, column %d: %s", at.line,
                 at.column, at.text);
  return root;
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
  json_auto_t *root = parse (text, length, error);
  g_autoptr (ImNbdAuthz) authz = im_nbd_authz_new ();
  if (root && read_list (authz, root, error))
    return g_steal_pointer (&authz);
  g_prefix_error (error, "%s: ", name);
  return NULL;
}
