/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers and sizes, read strictly and written briefly. */
#include "base/parse.h"
#include "base/bytes.h"
#include "base/error.h"

#include <errno.h>
#include <stdlib.h>

/* The number that TEXT begins with, and where it ends; NULL where there is none or it
 * does not fit. */
static const char *
parse_digits (const char *text, uint64_t *ret_value)
{
  if (!g_ascii_isdigit (text[0]))
    return NULL;
  char *end;
  errno = 0;
  unsigned long long value = strtoull (text, &end, 0);
  if (errno != 0 || end == text)
    return NULL;
  *ret_value = value;
  return end;
}

bool
im_parse_number (const char *text, const char *what, uint64_t max, uint64_t *ret_value,
                 GError **error)
{
  uint64_t value;
  const char *end = parse_digits (text, &value);
  if (!end || *end != '\0') {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "%s: '%s' is not a number", what, text);
    return false;
  }
  if (value > max) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "%s: %s is more than %" G_GUINT64_FORMAT, what, text, max);
    return false;
  }
  *ret_value = value;
  return true;
}

/* How far a suffix shifts, or -1; "" is 0. */
static int
suffix_shift (const char *suffix)
{
  static const char letters[] = "KMGTPE";
  if (suffix[0] == '\0')
    return 0;
  const char *at = strchr (letters, g_ascii_toupper (suffix[0]));
  return at && suffix[1] == '\0' ? 10 * (int)(at - letters + 1) : -1;
}

bool
im_parse_size (const char *text, const char *what, uint64_t *ret_value, GError **error)
{
  uint64_t value;
  const char *end = parse_digits (text, &value);
  int shift = end ? suffix_shift (end) : -1;
  if (shift < 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "%s: '%s' is not a size (a number, then K, M, G, T, P or E)", what,
                 text);
    return false;
  }
  if (!im_checked_mul (value, UINT64_C (1) << shift, ret_value)) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "%s: %s does not fit 64 bits", what,
                 text);
    return false;
  }
  return true;
}

char *
im_format_size (uint64_t bytes)
{
  static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024)
    return g_strdup_printf ("%u %s", (unsigned)bytes, bytes == 1 ? "byte" : "bytes");
  double value = (double)bytes / 1024;
  unsigned unit = 0;
  /* 1023.5 would be printed as "1024". */
  while (value >= 1023.5 && unit + 1 < G_N_ELEMENTS (units)) {
    value /= 1024;
    unit++;
  }
  char digits[G_ASCII_DTOSTR_BUF_SIZE];
  g_ascii_formatd (digits, sizeof digits, value >= 99.95 ? "%.0f" : "%.1f", value);
  if (g_str_has_suffix (digits, ".0"))
    digits[strlen (digits) - 2] = '\0';
  return g_strdup_printf ("%s %s", digits, units[unit]);
}
