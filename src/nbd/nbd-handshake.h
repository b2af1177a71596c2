/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server's side of the handshake, as a function from what a client sent to what it is
 * answered: no sockets, no time. */
#pragma once

#include "nbd/nbd-exports.h"

/* The longest option: an export's name and many queries.  Whoever sends more is no
 * client. */
#define IM_NBD_OPTION_MAX (72u << 10)

/* Options that one connection may send; listing the contexts of each of a GPT's 128
 * partitions takes less. */
#define IM_NBD_OPTIONS_MAX 1024u

typedef enum {
  IM_NBD_STEP_MORE,  /* needs further bytes */
  IM_NBD_STEP_AGAIN, /* took a message; there may be another in what is left */
  IM_NBD_STEP_TLS,   /* send the answer, then encrypt; what was received beyond *ret_used
                      * is not to be looked at */
  IM_NBD_STEP_GO,    /* chosen and session are set; requests follow */
  IM_NBD_STEP_CLOSE, /* send the answer, if any, and hang up */
} ImNbdStep;

typedef struct {
  const ImNbdExports *exports;
  bool tls_required; /* the caller's to set */
  bool encrypted;    /* TLS was agreed on */
  bool greeted;      /* the client's flags were read */
  bool no_zeroes;    /* EXPORT_NAME's answer without padding */
  unsigned options;
  const ImNbdExport *meta_export; /* whose contexts were selected */
  uint32_t meta_contexts;
  const ImNbdExport *chosen;
  ImNbdSession session;
} ImNbdHandshake;

/* Begins one, and appends the greeting to OUT. */
void im_nbd_handshake_init (ImNbdHandshake *handshake, const ImNbdExports *exports,
                            GByteArray *out);

/* Takes at most one message from the LENGTH bytes at DATA: *ret_used of them, 0 with
 * MORE.  Its answer is appended to OUT.  No message is longer than IM_NBD_OPTION_HEADER +
 * IM_NBD_OPTION_MAX bytes. */
ImNbdStep im_nbd_handshake_step (ImNbdHandshake *handshake, const uint8_t *data,
                                 size_t length, size_t *ret_used, GByteArray *out);
