/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Error domains and their translation into errno values. */
#include "base/error.h"

#include <errno.h>

G_DEFINE_QUARK (im - error - quark, im_error)
G_DEFINE_QUARK (im - errno - quark, im_errno)

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
