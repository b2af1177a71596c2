/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who may connect, by name: the distinguished name in a client's certificate.  Const once
 * built, so any thread may ask. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Rules of one list. */
#define IM_NBD_AUTHZ_RULES_MAX 4096u

typedef struct {
  char *match; /* NULL: not said */
  bool glob;   /* match has wildcards; else it is the whole name */
  bool allow;
} ImNbdAuthzRule;

typedef struct {
  GPtrArray *rules;  /* of ImNbdAuthzRule, owned; the first that matches decides */
  bool allow_others; /* whom no rule matches */
  /* A file, read for each client, has the rules instead. */
  int folder; /* it is in; owned.  -1: there is no file */
  char *file; /* its name there */
} ImNbdAuthz;

ImNbdAuthz *im_nbd_authz_new (void);
void im_nbd_authz_free (ImNbdAuthz *authz);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNbdAuthz, im_nbd_authz_free)

/* Appends an empty rule, which denies. */
ImNbdAuthzRule *im_nbd_authz_add (ImNbdAuthz *authz);

/* "allow" or "deny"; "glob" or "exact".  False: it is neither. */
bool im_nbd_authz_parse_policy (const char *text, bool *ret_allow);
bool im_nbd_authz_parse_format (const char *text, bool *ret_glob);

/* The list in the file PATH, which QEMU's authz-list-file describes:
 *
 *   {"policy": "deny", "rules": [
 *     {"match": "CN=one", "policy": "allow", "format": "exact"}]}
 *
 * REFRESH: it is read again for each client, also when it was replaced by another. */
ImNbdAuthz *im_nbd_authz_open (const char *path, bool refresh, GError **error);

/* The list that the file NAME in FOLDER has now. */
ImNbdAuthz *im_nbd_authz_read (int folder, const char *name, GError **error);

/* False with or without an error: a list that cannot be read lets nobody in. */
bool im_nbd_authz_allows (const ImNbdAuthz *authz, const char *name, GError **error);
