/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the options say of TLS. */
#pragma once

#include "cli/options.h"
#include "nbd/nbd-tls.h"

/* Reads the keys and certificates that a server, or with -L its client, is to use;
 * *ret_tls is NULL where it is to do without.  Errors are about options, or name files.
 */
bool im_tls_open (const ImOptions *options, ImNbdTls **ret_tls, GError **error);
