/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The export set as NBD clients see it: the disk under the name they are to use, each
 * partition under its own.  Const once built, so any thread may look. */
#pragma once

#include "export/export.h"
#include "nbd/nbd-meta.h"

typedef struct {
  char *name;        /* valid UTF-8, at most IM_NBD_STRING_MAX bytes */
  char *description; /* or NULL; the same */
  ImBlock *block;    /* borrowed from the set */
  uint64_t start;    /* of it, on the disk that bitmaps speak of */
  uint32_t preferred_size;
  bool writable;
} ImNbdExport;

typedef struct {
  GPtrArray *list;     /* of ImNbdExport; the disk first */
  GHashTable *by_name; /* name → ImNbdExport, borrowed from list: a hostile table may have
                        * tens of thousands of partitions */
  ImNbdContexts contexts; /* that can be selected, of each of them */
  bool multi;             /* a second client can connect */
} ImNbdExports;

/* NAME and DESCRIPTION (or NULL) are the disk's.  Fails where NAME is a partition's, or
 * no string that the protocol can carry. */
ImNbdExports *im_nbd_exports_new (const ImExportSet *set, const char *name,
                                  const char *description, bool multi, GError **error);
void im_nbd_exports_free (ImNbdExports *exports);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNbdExports, im_nbd_exports_free)

/* By the LENGTH bytes of a name, none of them NUL, or NULL. */
const ImNbdExport *im_nbd_exports_find (const ImNbdExports *exports, const char *name,
                                        size_t length);

/* The transmission flags for a session on EXPORT of MODE with those CONTEXTS selected. */
uint16_t im_nbd_exports_flags (const ImNbdExports *exports, const ImNbdExport *export,
                               ImNbdMode mode, uint32_t contexts);
