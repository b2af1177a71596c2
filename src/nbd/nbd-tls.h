/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys and certificates for TLS, read once: nothing is opened when clients come. */
#pragma once

#include "nbd/nbd-authz.h"

typedef struct {
  bool client;     /* for the connecting side; else for a server */
  bool pre_shared; /* keys.psk; else certificates */

  /* Holds ca-cert.pem, ca-crl.pem (may be absent), server-cert.pem, server-key.pem (or
   * client-…, which both may be absent), dh-params.pem (may be absent); or keys.psk. */
  const char *dir;
  const char *psk_file; /* the keys, in DIR's place; NULL: DIR/keys.psk */
  const char *username; /* a client's, with pre-shared keys */
  const char *password; /* of an encrypted server-key.pem; NULL: there is none */
  const char *priority; /* GnuTLS's word for what may be agreed on; NULL: its default */
  bool verify_peer;     /* the other side has to have a certificate of the authority */
  bool sanity_check;    /* refuse certificates that no other side would take */
} ImNbdTlsOptions;

typedef struct ImNbdTls ImNbdTls;

/* Reads the files.  Errors name the file.  IM_ERROR_UNSUPPORTED: this build has no TLS.
 */
ImNbdTls *im_nbd_tls_new (const ImNbdTlsOptions *options, GError **error);
void im_nbd_tls_free (ImNbdTls *tls);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNbdTls, im_nbd_tls_free)

/* From now on only clients whose certificate's name AUTHZ allows are let in.  It becomes
 * TLS's.  Before any session. */
void im_nbd_tls_set_authz (ImNbdTls *tls, ImNbdAuthz *authz);
