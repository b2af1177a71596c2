/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding the passphrase for an image. */
#include "cli/keyring.h"
#include "base/error.h"

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

/* What a secret says of itself; borrows. */
typedef struct {
  const char *file, *data, *format;
} Source;

static bool
check_source (const ImObject *object, const Source *source, GError **error)
{
  if (!source->file == !source->data)
    return im_object_refuse (object, error,
                             "one of file= and data= is needed, and not both");
  if (source->format && strcmp (source->format, "raw") != 0 &&
      strcmp (source->format, "base64") != 0)
    return im_object_refuse (object, error, "format is neither raw nor base64");
  return true;
}

static ImSecret *
load (const Source *source, GError **error)
{
  g_autoptr (ImSecret) secret = source->file
                                    ? im_secret_read_file (source->file, error)
                                    : im_secret_new (source->data, strlen (source->data));
  if (!secret || !source->format || strcmp (source->format, "base64") != 0)
    return g_steal_pointer (&secret);
  return im_secret_decode_base64 (secret, error);
}

ImSecret *
im_keyring_load (const ImObject *object, GError **error)
{
  Source source = {0};
  const ImObjectProperty properties[] = {
      {"file", &source.file}, {"data", &source.data}, {"format", &source.format}};
  if (!im_object_read (object, properties, G_N_ELEMENTS (properties), error) ||
      !check_source (object, &source, error))
    return NULL;
  ImSecret *secret = load (&source, error);
  if (!secret)
    g_prefix_error (error, "--object secret,id=%s: ", object->id);
  return secret;
}

ImKeyring *
im_keyring_new (const GPtrArray *objects, GError **error)
{
  g_autoptr (ImKeyring) keyring = g_new0 (ImKeyring, 1);
  keyring->secrets = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, secret_free);
  keyring->answers = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, secret_free);
  for (guint i = 0; i < objects->len; i++) {
    const ImObject *object = objects->pdata[i];
    if (strcmp (object->type, "secret") != 0)
      continue;
    ImSecret *secret = im_keyring_load (object, error);
    if (!secret)
      return NULL;
    g_hash_table_insert (keyring->secrets, g_strdup (object->id), secret);
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
