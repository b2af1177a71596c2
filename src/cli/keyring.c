/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding the passphrase for an image. */
#include "cli/keyring.h"
#include "base/error.h"
#include "base/key-value.h"

enum { ATTEMPTS = 3 }; /* to type it right */

struct ImKeyring {
  GHashTable *secrets; /* by their ids */
  GHashTable *answers; /* by the paths of images: what was typed for them */
};

static void
secret_free (void *secret)
{
  im_secret_free (secret);
}

/* One value of --object, taken apart; borrows. */
typedef struct {
  const char *id, *file, *data, *format;
} Object;

static bool
set_property (Object *object, const ImKeyValue *pair, GError **error)
{
  struct {
    const char *key;
    const char **field;
  } properties[] = {{"id", &object->id},
                    {"file", &object->file},
                    {"data", &object->data},
                    {"format", &object->format}};
  for (size_t i = 0; i < G_N_ELEMENTS (properties); i++) {
    if (strcmp (properties[i].key, pair->key) != 0)
      continue;
    *properties[i].field = pair->value ? pair->value : "";
    return true;
  }
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "--object secret: '%s' is not known, only id, file, data and format are",
               pair->key);
  return false;
}

/* secret,…, or qom-type=secret,… */
static bool
check_type (const ImKeyValue *first, GError **error)
{
  const char *type = first->key;
  if (first->value && strcmp (first->key, "qom-type") == 0)
    type = first->value;
  if (strcmp (type, "secret") == 0)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "--object: '%s' is not known, only secret is", type);
  return false;
}

static bool
check_object (const ImKeyring *keyring, const Object *object, GError **error)
{
  const char *wrong = NULL;
  if (!object->id || !*object->id)
    wrong = "id= is missing";
  else if (!object->file == !object->data)
    wrong = "one of file= and data= is needed, and not both";
  else if (g_hash_table_contains (keyring->secrets, object->id))
    wrong = "this id was given before";
  else if (object->format && strcmp (object->format, "raw") != 0 &&
           strcmp (object->format, "base64") != 0)
    wrong = "format is neither raw nor base64";
  if (wrong)
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "--object secret,id=%s: %s",
                 object->id ? object->id : "", wrong);
  return !wrong;
}

static ImSecret *
load (const Object *object, GError **error)
{
  g_autoptr (ImSecret) secret = object->file
                                    ? im_secret_read_file (object->file, error)
                                    : im_secret_new (object->data, strlen (object->data));
  if (secret && object->format && strcmp (object->format, "base64") == 0) {
    ImSecret *plain = im_secret_decode_base64 (secret, error);
    im_secret_free (secret);
    secret = plain;
  }
  if (!secret)
    g_prefix_error (error, "--object secret,id=%s: ", object->id);
  return g_steal_pointer (&secret);
}

static bool
add_object (ImKeyring *keyring, const char *text, GError **error)
{
  g_autoptr (GPtrArray) pairs = im_key_values_parse (text);
  Object object = {0};
  if (pairs->len == 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "--object: it is empty");
    return false;
  }
  if (!check_type (pairs->pdata[0], error))
    return false;
  for (guint i = 1; i < pairs->len; i++)
    if (!set_property (&object, pairs->pdata[i], error))
      return false;
  if (!check_object (keyring, &object, error))
    return false;
  ImSecret *secret = load (&object, error);
  if (secret)
    g_hash_table_insert (keyring->secrets, g_strdup (object.id), secret);
  return secret != NULL;
}

/* Of an argument of this process, all that follows "data=". */
static void
hide_data (char *text)
{
  char *data = strstr (text, ",data=");
  if (data)
    memset (data + strlen (",data="), '*', strlen (data + strlen (",data=")));
}

ImKeyring *
im_keyring_new (char *const *objects, size_t n, GError **error)
{
  g_autoptr (ImKeyring) keyring = g_new0 (ImKeyring, 1);
  keyring->secrets = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, secret_free);
  keyring->answers = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, secret_free);
  for (size_t i = 0; i < n; i++) {
    bool ok = add_object (keyring, objects[i], error);
    hide_data (objects[i]);
    if (!ok)
      return NULL;
  }
  return g_steal_pointer (&keyring);
}

void
im_keyring_free (ImKeyring *keyring)
{
  if (!keyring)
    return;
  g_hash_table_unref (keyring->secrets);
  g_hash_table_unref (keyring->answers);
  g_free (keyring);
}

static const ImSecret *
find_given (const ImKeyring *keyring, const char *id, GError **error)
{
  const ImSecret *secret = id ? g_hash_table_lookup (keyring->secrets, id) : NULL;
  GHashTableIter iter;
  void *only = NULL;
  if (id && !secret)
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "there is no --object secret,id=%s",
                 id);
  if (id)
    return secret;
  if (g_hash_table_size (keyring->secrets) > 1) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "encrypted, and which of several secrets is meant has to be said: "
                 "--image-opts with encrypt.key-secret=ID");
    return NULL;
  }
  g_hash_table_iter_init (&iter, keyring->secrets);
  g_hash_table_iter_next (&iter, NULL, &only);
  return only;
}

static const ImSecret *
ask (ImKeyring *keyring, const char *path, unsigned attempt, GError **error)
{
  /* The same image may be opened twice, for writing and then for reading. */
  const ImSecret *before =
      attempt == 0 ? g_hash_table_lookup (keyring->answers, path) : NULL;
  if (before || attempt == ATTEMPTS)
    return before;
  g_autofree char *prompt = g_strdup_printf (
      "%sPassphrase for %s: ", attempt > 0 ? "That was not it.\n" : "", path);
  ImSecret *answer = im_secret_ask (prompt, error);
  if (answer)
    g_hash_table_replace (keyring->answers, g_strdup (path), answer);
  else if (error && g_error_matches (*error, IM_ERROR, IM_ERROR_UNSUPPORTED))
    g_prefix_error (error, "encrypted: --object secret,id=ID,file=FILE gives the "
                           "passphrase, as ");
  return answer;
}

const ImSecret *
im_keyring_find (void *data, const char *path, const char *id, unsigned attempt,
                 GError **error)
{
  ImKeyring *keyring = data;
  if (!id && g_hash_table_size (keyring->secrets) == 0)
    return ask (keyring, path, attempt, error);
  /* What was given does not get better. */
  return attempt == 0 ? find_given (keyring, id, error) : NULL;
}
