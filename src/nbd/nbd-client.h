/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The other side of the handshake: a client of somebody's server, which may be hostile.
 * What it can make us hold or wait for is bounded. */
#pragma once

#include "nbd/nbd.h"
#include <stdint.h>

/* The longest reply to an option that we have a use for: two strings and their frame. */
#define IM_NBD_ANSWER_MAX (16u << 10)

/* All that a server may say in one session. */
#define IM_NBD_CLIENT_BUDGET (64u << 20)

typedef struct ImNbdClient ImNbdClient;

/* What the greeting tells. */
typedef enum {
  IM_NBD_GREETING_OLD,   /* one export, whose size and flags stand in the greeting */
  IM_NBD_GREETING_BARE,  /* newstyle, with an export's name as the only option */
  IM_NBD_GREETING_FIXED, /* newstyle, with all options */
} ImNbdGreeting;

/* Connects to where a server with OPTIONS would listen, and shakes hands as far as the
 * first option.  All of the session has to be over in options->handshake_limit. */
ImNbdClient *im_nbd_client_new (const ImNbdOptions *options, GError **error);

/* Hangs up: in order, by what the protocol has for it, where the server would understand.
 */
void im_nbd_client_free (ImNbdClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNbdClient, im_nbd_client_free)

ImNbdGreeting im_nbd_client_greeting (const ImNbdClient *client);
/* OLD alone: the export. */
uint64_t im_nbd_client_size (const ImNbdClient *client);
uint16_t im_nbd_client_flags (const ImNbdClient *client);

/* Encrypts from here on, once the server has agreed to; HOSTNAME is whom its certificate
 * has to be for, or NULL.  Both are borrowed.  On failure only freeing is left. */
bool im_nbd_client_start_tls (ImNbdClient *client, const ImNbdTls *tls,
                              const char *hostname, GError **error);

/* Sends OPTION with DATA. */
bool im_nbd_client_ask (ImNbdClient *client, uint32_t option, const GByteArray *data,
                        GError **error);

/* Receives one reply to OPTION: its type, and its data, which replaces what is in DATA.
 * An option's last reply is ACK or one with IM_NBD_REP_IS_ERROR set. */
bool im_nbd_client_answer (ImNbdClient *client, uint32_t option, uint32_t *ret_type,
                           GByteArray *data, GError **error);

/* Asks for OPTION, which has no data and is granted by a bare ACK.  *ret_granted: it was.
 */
bool im_nbd_client_request (ImNbdClient *client, uint32_t option, bool *ret_granted,
                            GError **error);
