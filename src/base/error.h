/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What can go wrong, as GError domains, and how that reads as an errno. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Errors of content and of usage. */
#define IM_ERROR (im_error_quark ())
GQuark im_error_quark (void);

typedef enum {
  IM_ERROR_CORRUPT,     /* bytes of an image contradict the format */
  IM_ERROR_UNSUPPORTED, /* well-formed, but needs something this build lacks */
  IM_ERROR_LIMIT,       /* beyond a named limit */
  IM_ERROR_USAGE,       /* the command line contradicts itself */
  IM_ERROR_NOT_FOUND,   /* a snapshot, partition, export of that name is not there */
  IM_ERROR_LOCKED,      /* another process holds the image */
  IM_ERROR_RANGE,       /* a request outside the disk */
  IM_ERROR_WOULD_BLOCK, /* only with IM_MAP_NOWAIT: ask again without it */
} ImError;

/* Errors of the system below; the code is the errno. */
#define IM_ERRNO (im_errno_quark ())
GQuark im_errno_quark (void);

/* Sets an IM_ERRNO error: the formatted text, ": ", and strerror (ERRNUM). */
void im_set_errno (GError **error, int errnum, const char *format, ...)
    G_GNUC_PRINTF (3, 4);

/* The errno that stands for ERROR in a FUSE or NBD reply; positive. */
int im_error_to_errno (const GError *error);

/* Does ERROR tell of bytes that are bad, or that a medium does not give, rather than of
 * something that may be another time: memory, a lock, a wrong request? */
bool im_error_is_damage (const GError *error);
