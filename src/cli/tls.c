/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From --tls-creds, --tls-authz and --tls-psk to what the NBD server uses. */
#include "config.h"

#if HAVE_NBD
#include "base/error.h"
#include "base/log.h"
#include "cli/authz.h"
#include "cli/keyring.h"
#include "cli/tls.h"

#include <string.h>

/* The object that OPTION names. */
static const ImObject *
find_object (const ImOptions *options, const char *option, const char *id, GError **error)
{
  const ImObject *object = im_object_find (options->objects, id);
  if (!object)
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "%s: there is no --object with id=%s",
                 option, id);
  return object;
}

/* A switch, or BY_DEFAULT where it was not given. */
static bool
take_switch (const ImObject *object, const char *key, const char *value, bool by_default,
             bool *ret_on, GError **error)
{
  *ret_on = by_default;
  return !value || im_object_parse_switch (value, ret_on) ||
         im_object_refuse (object, error, "%s=%s is neither on nor off", key, value);
}

/* What is common to both kinds of credentials; borrows. */
typedef struct {
  const char *dir, *endpoint, *priority, *verify_peer, *loaded;
  const char *sanity_check, *passwordid, *username;
} Properties;

static bool
read_properties (const ImObject *object, Properties *p, GError **error)
{
  const ImObjectProperty common[] = {{"dir", &p->dir},
                                     {"endpoint", &p->endpoint},
                                     {"priority", &p->priority},
                                     {"verify-peer", &p->verify_peer},
                                     {"loaded", &p->loaded},
                                     {"sanity-check", &p->sanity_check},
                                     {"passwordid", &p->passwordid}};
  ImObjectProperty psk[] = {common[0], common[1], common[2],
                            common[3], common[4], {"username", &p->username}};
  if (im_object_is (object, "tls-creds-psk"))
    return im_object_read (object, psk, G_N_ELEMENTS (psk), error);
  return im_object_read (object, common, G_N_ELEMENTS (common), error);
}

static bool
check_properties (const ImObject *object, const Properties *p, bool client,
                  GError **error)
{
  if (client && p->endpoint && strcmp (p->endpoint, "client") != 0)
    return im_object_refuse (object, error, "-L needs endpoint=client, not %s",
                             p->endpoint);
  if (!client && g_strcmp0 (p->endpoint, "server") != 0)
    return im_object_refuse (object, error, "a server needs endpoint=server, not %s",
                             p->endpoint ? p->endpoint : "client, the default");
  if (!p->dir)
    return im_object_refuse (object, error, "dir= is missing");
  if (p->username && !client)
    return im_object_refuse (object, error, "username= is for endpoint=client");
  return true;
}

/* The password for the key's file, or NULL with or without an error. */
static ImSecret *
load_password (const ImOptions *options, const ImObject *object, const Properties *p,
               GError **error)
{
  const ImObject *secret =
      p->passwordid ? im_object_find (options->objects, p->passwordid) : NULL;
  if (secret && im_object_is (secret, "secret"))
    return im_keyring_load (secret, error);
  if (p->passwordid)
    im_object_refuse (object, error, "there is no --object secret,id=%s", p->passwordid);
  return NULL;
}

static ImNbdTls *
open_object (const ImOptions *options, const ImObject *object, bool *ret_verifies,
             GError **error)
{
  Properties p = {0};
  ImNbdTlsOptions tls = {.pre_shared = im_object_is (object, "tls-creds-psk"),
                         .client = options->list_exports};
  if (!read_properties (object, &p, error) ||
      !check_properties (object, &p, tls.client, error) ||
      !take_switch (object, "verify-peer", p.verify_peer, true, &tls.verify_peer,
                    error) ||
      !take_switch (object, "sanity-check", p.sanity_check, true, &tls.sanity_check,
                    error))
    return NULL;
  g_autoptr (ImSecret) password = load_password (options, object, &p, error);
  if (p.passwordid && !password)
    return NULL;
  tls.dir = p.dir;
  tls.username = p.username;
  tls.priority = p.priority;
  tls.password = password ? (const char *)password->bytes : NULL;
  *ret_verifies = tls.verify_peer && !tls.pre_shared;
  ImNbdTls *result = im_nbd_tls_new (&tls, error);
  if (!result)
    g_prefix_error (error, "--object %s,id=%s: ", object->type, object->id);
  return result;
}

/* --tls-authz.  Without a certificate that was verified a client has no name. */
static bool
add_authz (const ImOptions *options, ImNbdTls *tls, bool verifies, GError **error)
{
  const ImObject *object =
      find_object (options, "--tls-authz", options->tls_authz, error);
  if (!object)
    return false;
  if (!verifies)
    return im_object_refuse (object, error,
                             "--tls-authz needs tls-creds-x509 with verify-peer=on");
  ImNbdAuthz *authz = im_authz_open (object, error);
  if (authz)
    im_nbd_tls_set_authz (tls, authz);
  return authz;
}

/* A socket's path, or an address to listen on, is no server's name. */
static bool
check_hostname (const ImOptions *options, bool verifies, GError **error)
{
  if (!options->list_exports || !verifies || options->tls_hostname ||
      !(options->socket || strcmp (options->bind, "0.0.0.0") == 0))
    return true;
  g_set_error_literal (error, IM_ERROR, IM_ERROR_USAGE,
                       "--tls-creds: whom is the server's certificate to be for? --bind "
                       "or --tls-hostname has to name it");
  return false;
}

static bool
open_creds (const ImOptions *options, ImNbdTls **ret_tls, GError **error)
{
  const ImObject *object =
      find_object (options, "--tls-creds", options->tls_creds, error);
  if (!object)
    return false;
  if (!g_str_has_prefix (object->type, "tls-creds-"))
    return im_object_refuse (object, error,
                             "--tls-creds needs tls-creds-x509 or tls-creds-psk");
  bool verifies;
  g_autoptr (ImNbdTls) tls = open_object (options, object, &verifies, error);
  if (!tls || !check_hostname (options, verifies, error) ||
      (options->tls_authz && !add_authz (options, tls, verifies, error)))
    return false;
  *ret_tls = g_steal_pointer (&tls);
  return true;
}

/* Who forgets --tls-creds should not think that he is safe. */
static void
warn_of_unused (const ImOptions *options)
{
  for (guint i = 0; i < options->objects->len; i++) {
    const ImObject *object = options->objects->pdata[i];
    if (im_object_is_for_nbd (object) &&
        g_strcmp0 (object->id, options->tls_creds) != 0 &&
        g_strcmp0 (object->id, options->tls_authz) != 0)
      im_log_warning ("--object %s,id=%s: no option uses it", object->type, object->id);
  }
}

static bool
open_psk_file (const char *path, ImNbdTls **ret_tls, GError **error)
{
  ImNbdTlsOptions tls = {.pre_shared = true, .psk_file = path};
  *ret_tls = im_nbd_tls_new (&tls, error);
  if (!*ret_tls)
    g_prefix_error (error, "--tls-psk: ");
  return *ret_tls;
}

bool
im_tls_open (const ImOptions *options, ImNbdTls **ret_tls, GError **error)
{
  *ret_tls = NULL;
  if (options->tls_creds && !open_creds (options, ret_tls, error))
    return false;
  if (options->tls_psk && !open_psk_file (options->tls_psk, ret_tls, error))
    return false;
  warn_of_unused (options);
  return true;
}
#endif
