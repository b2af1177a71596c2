/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a fuzzer's bytes to what a client says, from its flags to its end, with what the
 * server has to answer. */
#pragma once

#include "nbd/nbd-request.h"
#include <glib.h>

typedef struct {
  GByteArray *bytes; /* all that is said */
  bool no_zeroes;
  GArray *options; /* of uint32_t: those that are answered, in their order */
  bool transmits;  /* the last of them was granted, and requests follow */
  ImNbdMode mode;  /* of these */
  GArray
      *requests; /* of ImNbdRequest: those that are answered; the cookie is the index */
} Script;

Script *script_new (const uint8_t *data, size_t size);
void script_free (Script *script);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Script, script_free)
