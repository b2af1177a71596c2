/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What sessions see of the keys and certificates. */
#pragma once

#include "nbd/nbd-psk.h"
#include "nbd/nbd-tls.h"
#include <gnutls/gnutls.h>

/* Const once made.  One of the credentials is set. */
struct ImNbdTls {
  bool client;
  bool verify_peer; /* with certificates alone */
  gnutls_priority_t priority;
  gnutls_certificate_credentials_t certificates;
  gnutls_psk_server_credentials_t psk_server;
  gnutls_psk_client_credentials_t psk_client;
  gnutls_dh_params_t dh_params; /* or NULL */
  ImNbdPskKeys *keys;           /* with psk_server */
  ImNbdAuthz *authz;            /* or NULL: everybody */
};
