/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who may connect, by name: the distinguished name in a client's certificate.  Const once
 * built, so any thread may ask. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
  char *match; /* NULL: not said */
  bool glob;   /* match has wildcards; else it is the whole name */
  bool allow;
} ImNbdAuthzRule;

typedef struct {
  GPtrArray *rules;  /* of ImNbdAuthzRule, owned; the first that matches decides */
  bool allow_others; /* whom no rule matches */
} ImNbdAuthz;

ImNbdAuthz *im_nbd_authz_new (void);
void im_nbd_authz_free (ImNbdAuthz *authz);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNbdAuthz, im_nbd_authz_free)

/* Appends an empty rule, which denies. */
ImNbdAuthzRule *im_nbd_authz_add (ImNbdAuthz *authz);

bool im_nbd_authz_allows (const ImNbdAuthz *authz, const char *name);
