/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Error domains and their translation into errno values. */
#include "base/error.h"

#include <errno.h>
#include <stdatomic.h>

/* What NAME is to GLib, kept in *QUARK.  Unlike GLib's macro for this it may be called by
 * several threads at once, in C's terms too. */
static GQuark
quark_of (_Atomic (GQuark) *quark, const char *name)
{
  GQuark known = atomic_load_explicit (quark, memory_order_relaxed);
  if (known == 0) {
    known = g_quark_from_static_string (name);
    atomic_store_explicit (quark, known, memory_order_relaxed);
  }
  return known;
}

GQuark
im_error_quark (void)
{
  static _Atomic (GQuark) quark;
  return quark_of (&quark, "im-error-quark");
}

GQuark
im_errno_quark (void)
{
  static _Atomic (GQuark) quark;
  return quark_of (&quark, "im-errno-quark");
}

void
im_set_errno (GError **error, int errnum, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, IM_ERRNO, errnum, "%s: %s", text, g_strerror (errnum));
}

int
im_error_to_errno (const GError *error)
{
  if (error->domain == IM_ERRNO)
    return error->code > 0 ? error->code : EIO;
  if (error->domain != IM_ERROR)
    return EIO;
  switch ((ImError)error->code) {
  case IM_ERROR_RANGE:
  case IM_ERROR_USAGE:
    return EINVAL;
  case IM_ERROR_UNSUPPORTED:
    return ENOTSUP;
  case IM_ERROR_LIMIT:
    return ENOMEM;
  case IM_ERROR_NOT_FOUND:
    return ENOENT;
  case IM_ERROR_LOCKED:
    return EBUSY;
  case IM_ERROR_WOULD_BLOCK:
    return EAGAIN;
  case IM_ERROR_CORRUPT:
    break;
  }
  return EIO;
}

bool
im_error_is_damage (const GError *error)
{
  if (error->domain == IM_ERROR)
    return error->code == IM_ERROR_CORRUPT;
  if (error->domain != IM_ERRNO)
    return false;
  switch (error->code) {
  case EIO:
  case ENODATA:   /* a medium error, past the page cache */
  case EILSEQ:    /* a wrong checksum there */
  case EREMOTEIO: /* a target's, likewise */
  case EBADMSG:   /* a file system's wrong checksum */
  case EUCLEAN:   /* a file system that contradicts itself */
    return true;
  default:
    return false;
  }
}
