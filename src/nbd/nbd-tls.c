/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading keys and certificates. */
#include "nbd/nbd-tls.h"
#include "base/error.h"
#include "nbd/nbd-tls-private.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <string.h>

/* Older versions of TLS are not spoken, whatever else the user allows. */
#define NO_OLD_VERSIONS ":-VERS-SSL3.0:-VERS-TLS1.0:-VERS-TLS1.1"
#define PRE_SHARED_KEYS ":+ECDHE-PSK:+DHE-PSK:+PSK"

/* Certificates in one file. */
enum { CHAIN_MAX = 16 };

static bool
set_failure (GError **error, const char *path, const char *text)
{
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "%s: %s", path, text);
  return false;
}

/* What a file holds; wiped when it goes, since it may be a key. */
typedef struct {
  char *path;
  gnutls_datum_t data; /* NULL: there is no such file */
} File;

static void
file_clear (File *file)
{
  if (file->data.data)
    explicit_bzero (file->data.data, file->data.size);
  g_free (file->data.data);
  g_free (file->path);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (File, file_clear)

/* Reads file->path.  REQUIRED: it has to be there. */
static bool
file_read (File *file, bool required, GError **error)
{
  g_autoptr (GError) failure = NULL;
  char *text;
  gsize length;
  if (g_file_get_contents (file->path, &text, &length, &failure)) {
    file->data = (gnutls_datum_t){(unsigned char *)text, (unsigned)length};
    return true;
  }
  if (!required && g_error_matches (failure, G_FILE_ERROR, G_FILE_ERROR_NOENT))
    return true;
  g_set_error_literal (error, IM_ERROR, IM_ERROR_NOT_FOUND, failure->message);
  return false;
}

/* DIR/NAME. */
static bool
file_read_in (File *file, const char *dir, const char *name, bool required,
              GError **error)
{
  file->path = g_build_filename (dir, name, NULL);
  return file_read (file, required, error);
}

static bool
load_authority (ImNbdTls *tls, const File *authority, const File *revoked, GError **error)
{
  int n = gnutls_certificate_set_x509_trust_mem (tls->certificates, &authority->data,
                                                 GNUTLS_X509_FMT_PEM);
  if (n <= 0)
    return set_failure (error, authority->path,
                        n < 0 ? gnutls_strerror (n) : "there is no certificate in it");
  if (!revoked->data.data)
    return true;
  n = gnutls_certificate_set_x509_crl_mem (tls->certificates, &revoked->data,
                                           GNUTLS_X509_FMT_PEM);
  return n >= 0 || set_failure (error, revoked->path, gnutls_strerror (n));
}

/* Finite fields of one's own; without them GnuTLS takes those of RFC 7919. */
static bool
load_dh_params (ImNbdTls *tls, const char *dir, GError **error)
{
  g_auto (File) file = {0};
  if (!file_read_in (&file, dir, "dh-params.pem", false, error))
    return false;
  if (!file.data.data)
    return true;
  int failure = gnutls_dh_params_init (&tls->dh_params);
  if (failure >= 0)
    failure =
        gnutls_dh_params_import_pkcs3 (tls->dh_params, &file.data, GNUTLS_X509_FMT_PEM);
  if (failure < 0)
    return set_failure (error, file.path, gnutls_strerror (failure));
  if (tls->certificates)
    gnutls_certificate_set_dh_params (tls->certificates, tls->dh_params);
  if (tls->psk_server)
    gnutls_psk_set_server_dh_params (tls->psk_server, tls->dh_params);
  return true;
}

/* Fails where the chain in CERTIFICATE is not one that AUTHORITY answers for today. */
static bool
verify_chain (gnutls_x509_trust_list_t list, const File *certificate, GError **error)
{
  gnutls_x509_crt_t chain[CHAIN_MAX];
  unsigned n = CHAIN_MAX, status = 0;
  int failure =
      gnutls_x509_crt_list_import (chain, &n, &certificate->data, GNUTLS_X509_FMT_PEM, 0);
  if (failure < 0)
    return set_failure (error, certificate->path, gnutls_strerror (failure));
  failure = gnutls_x509_trust_list_verify_crt (list, chain, n, 0, &status, NULL);
  for (unsigned i = 0; i < n; i++)
    gnutls_x509_crt_deinit (chain[i]);
  gnutls_datum_t text = {0};
  if (failure < 0)
    return set_failure (error, certificate->path, gnutls_strerror (failure));
  if (status == 0)
    return true;
  gnutls_certificate_verification_status_print (status, GNUTLS_CRT_X509, &text, 0);
  g_autofree char *reason = g_strdup (text.data ? (char *)text.data : "not trusted");
  gnutls_free (text.data);
  return set_failure (error, certificate->path, g_strchomp (reason));
}

static bool
check_sanity (const File *authority, const File *certificate, GError **error)
{
  gnutls_x509_trust_list_t list;
  int n = gnutls_x509_trust_list_init (&list, 0);
  if (n < 0)
    return set_failure (error, authority->path, gnutls_strerror (n));
  n = gnutls_x509_trust_list_add_trust_mem (list, &authority->data, NULL,
                                            GNUTLS_X509_FMT_PEM, 0, 0);
  bool ok = n > 0 ? verify_chain (list, certificate, error)
                  : set_failure (error, authority->path,
                                 n < 0 ? gnutls_strerror (n) : "there is no certificate");
  gnutls_x509_trust_list_deinit (list, 1);
  return ok;
}

/* This side's own certificate and its key; a client may have none. */
static bool
load_own (ImNbdTls *tls, const ImNbdTlsOptions *options, const File *authority,
          GError **error)
{
  g_auto (File) certificate = {0};
  g_auto (File) key = {0};
  bool client = options->client;
  if (!file_read_in (&certificate, options->dir,
                     client ? "client-cert.pem" : "server-cert.pem", !client, error) ||
      !file_read_in (&key, options->dir, client ? "client-key.pem" : "server-key.pem",
                     certificate.data.data, error))
    return false;
  if (!certificate.data.data)
    return true;
  if (options->sanity_check && !check_sanity (authority, &certificate, error))
    return false;
  int failure = gnutls_certificate_set_x509_key_mem2 (
      tls->certificates, &certificate.data, &key.data, GNUTLS_X509_FMT_PEM,
      options->password, 0);
  return failure >= 0 || set_failure (error, key.path, gnutls_strerror (failure));
}

static bool
load_certificates (ImNbdTls *tls, const ImNbdTlsOptions *options, GError **error)
{
  g_auto (File) authority = {0};
  g_auto (File) revoked = {0};
  if (gnutls_certificate_allocate_credentials (&tls->certificates) < 0)
    return set_failure (error, options->dir, "there is no memory for credentials");
  /* Who asks no clients for certificates need not know whose they would be. */
  bool needed = options->verify_peer || options->sanity_check;
  if (!file_read_in (&authority, options->dir, "ca-cert.pem", needed, error) ||
      !file_read_in (&revoked, options->dir, "ca-crl.pem", false, error))
    return false;
  return (!authority.data.data || load_authority (tls, &authority, &revoked, error)) &&
         load_own (tls, options, &authority, error) &&
         load_dh_params (tls, options->dir, error);
}

/* GnuTLS asks for the key of a user; 1: it does not exist, which the client shall not
 * find out. */
static int
find_key (gnutls_session_t session, const gnutls_datum_t *username, gnutls_datum_t *key)
{
  const ImNbdTls *tls = gnutls_session_get_ptr (session);
  GBytes *found = im_nbd_psk_find (tls->keys, username->data, username->size);
  if (!found)
    return 1;
  gsize length;
  const void *data = g_bytes_get_data (found, &length);
  key->data = gnutls_malloc (length);
  if (!key->data)
    return -1;
  memcpy (key->data, data, length);
  key->size = (unsigned)length;
  return 0;
}

static bool
set_client_key (ImNbdTls *tls, const char *username, const char *path, GError **error)
{
  GBytes *found = im_nbd_psk_find (tls->keys, username, strlen (username));
  if (!found) {
    g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND, "%s: there is no user '%s' in it",
                 path, username);
    return false;
  }
  gsize length;
  gnutls_datum_t key = {.data = (unsigned char *)g_bytes_get_data (found, &length)};
  key.size = (unsigned)length;
  int failure = gnutls_psk_allocate_client_credentials (&tls->psk_client);
  if (failure >= 0)
    failure = gnutls_psk_set_client_credentials (tls->psk_client, username, &key,
                                                 GNUTLS_PSK_KEY_RAW);
  return failure >= 0 || set_failure (error, path, gnutls_strerror (failure));
}

static bool
load_keys (ImNbdTls *tls, const ImNbdTlsOptions *options, GError **error)
{
  g_auto (File) file = {0};
  file.path = options->psk_file ? g_strdup (options->psk_file)
                                : g_build_filename (options->dir, "keys.psk", NULL);
  if (!file_read (&file, true, error))
    return false;
  tls->keys = im_nbd_psk_parse ((const char *)file.data.data, file.data.size, error);
  if (!tls->keys) {
    g_prefix_error (error, "%s: ", file.path);
    return false;
  }
  if (options->client)
    return set_client_key (tls, options->username ? options->username : "qemu", file.path,
                           error);
  if (gnutls_psk_allocate_server_credentials (&tls->psk_server) < 0)
    return set_failure (error, file.path, "there is no memory for credentials");
  gnutls_psk_set_server_credentials_function2 (tls->psk_server, find_key);
  return !options->dir || load_dh_params (tls, options->dir, error);
}

static bool
set_priority (ImNbdTls *tls, const ImNbdTlsOptions *options, GError **error)
{
  const char *wanted = options->priority ? options->priority : "NORMAL";
  g_autofree char *text = g_strconcat (wanted, options->pre_shared ? PRE_SHARED_KEYS : "",
                                       NO_OLD_VERSIONS, NULL);
  int failure = gnutls_priority_init (&tls->priority, text, NULL);
  if (failure >= 0)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "priority '%s': %s", wanted,
               gnutls_strerror (failure));
  return false;
}

/* Most runs have no use for TLS: it is not set up before im_nbd_tls_new asks for it. */
GNUTLS_SKIP_GLOBAL_INIT

ImNbdTls *
im_nbd_tls_new (const ImNbdTlsOptions *options, GError **error)
{
  int failure = gnutls_global_init ();
  if (failure < 0) {
    set_failure (error, "TLS", gnutls_strerror (failure));
    return NULL;
  }
  g_autoptr (ImNbdTls) tls = g_new0 (ImNbdTls, 1);
  tls->client = options->client;
  tls->verify_peer = options->verify_peer && !options->pre_shared;
  if (!set_priority (tls, options, error) ||
      !(options->pre_shared ? load_keys : load_certificates) (tls, options, error))
    return NULL;
  return g_steal_pointer (&tls);
}

void
im_nbd_tls_set_authz (ImNbdTls *tls, ImNbdAuthz *authz)
{
  im_nbd_authz_free (tls->authz);
  tls->authz = authz;
}

void
im_nbd_tls_free (ImNbdTls *tls)
{
  if (!tls)
    return;
  if (tls->certificates)
    gnutls_certificate_free_credentials (tls->certificates);
  if (tls->psk_server)
    gnutls_psk_free_server_credentials (tls->psk_server);
  if (tls->psk_client)
    gnutls_psk_free_client_credentials (tls->psk_client);
  if (tls->dh_params)
    gnutls_dh_params_deinit (tls->dh_params);
  if (tls->priority)
    gnutls_priority_deinit (tls->priority);
  im_nbd_psk_free (tls->keys);
  im_nbd_authz_free (tls->authz);
  g_free (tls);
  gnutls_global_deinit ();
}
