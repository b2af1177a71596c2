/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking a server what it exports: the list, then each export's facts and contexts. */
#include "nbd/listing.h"
#include "base/bytes.h"
#include "base/error.h"
#include "nbd/nbd-client.h"
#include "nbd/nbd-proto.h"
#include <inttypes.h>
#include <string.h>

/* No server has so many; the bound is on what a hostile one can make us hold. */
#define EXPORTS_MAX  65536u
#define CONTEXTS_MAX 1024u

/* The facts of so many exports are asked for.  Servers bound the number of options that a
 * client may send, and each export takes two. */
#define DETAILS_MAX 256u

static void
listed_free (gpointer data)
{
  ImNbdListed *listed = data;
  g_free (listed->name);
  g_free (listed->description);
  g_free (listed->refusal);
  g_ptr_array_unref (listed->contexts);
  g_free (listed);
}

/* The server's text, whatever it is made of, as one that can be printed. */
static char *
clean (const uint8_t *bytes, size_t n)
{
  g_autofree char *terminated = g_strndup (n > 0 ? (const char *)bytes : "", n);
  return g_utf8_make_valid (terminated, -1);
}

static ImNbdListed *
add_export (ImNbdListing *listing, char *name, char *description)
{
  ImNbdListed *listed = g_new0 (ImNbdListed, 1);
  listed->name = name;
  listed->description = description;
  listed->contexts = g_ptr_array_new_with_free_func (g_free);
  g_ptr_array_add (listing->exports, listed);
  return listed;
}

static bool
set_malformed (const char *what, GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "the server's %s is malformed", what);
  return false;
}

/* A refusal, with what the server says to it. */
static bool
set_refused (const char *what, uint32_t type, const GByteArray *text, GError **error)
{
  g_autofree char *reason = clean (text->data, text->len);
  if (type == IM_NBD_REP_ERR_TLS_REQD)
    g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND, "the server wants TLS%s%s",
                 reason[0] ? ": " : "", reason);
  else
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "the server refuses %s with 0x%" PRIx32 "%s%s", what, type,
                 reason[0] ? ": " : "", reason);
  return false;
}

static bool
take_server (ImNbdListing *listing, const GByteArray *data, GError **error)
{
  ImCursor cursor = im_cursor (data->data, data->len);
  uint32_t n = im_cursor_be32 (&cursor);
  const uint8_t *name = im_cursor_bytes (&cursor, n);
  size_t left = im_cursor_left (&cursor);
  if (!name || n > IM_NBD_STRING_MAX || left > IM_NBD_STRING_MAX)
    return set_malformed ("list", error);
  if (listing->exports->len >= EXPORTS_MAX) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT, "the server lists more than %u exports",
                 EXPORTS_MAX);
    return false;
  }
  add_export (listing, clean (name, n), clean (im_cursor_bytes (&cursor, left), left));
  return true;
}

static bool
ask_list (ImNbdClient *client, ImNbdListing *listing, GError **error)
{
  g_autoptr (GByteArray) data = g_byte_array_new ();
  uint32_t type;
  if (!im_nbd_client_ask (client, IM_NBD_OPT_LIST, NULL, error))
    return false;
  do {
    if (!im_nbd_client_answer (client, IM_NBD_OPT_LIST, &type, data, error))
      return false;
    if (type & IM_NBD_REP_IS_ERROR)
      return set_refused ("to list", type, data, error);
    if (type == IM_NBD_REP_SERVER && !take_server (listing, data, error))
      return false;
  } while (type != IM_NBD_REP_ACK);
  return true;
}

static void
append_be32 (GByteArray *data, size_t value)
{
  uint8_t raw[4];
  im_put_be32 (raw, (uint32_t)value);
  g_byte_array_append (data, raw, sizeof raw);
}

static GByteArray *
question_on (const ImNbdListed *listed)
{
  GByteArray *question = g_byte_array_new ();
  size_t n = strlen (listed->name);
  append_be32 (question, n);
  g_byte_array_append (question, (const uint8_t *)listed->name, (guint)n);
  return question;
}

static bool
take_info (ImNbdListed *listed, const GByteArray *data, GError **error)
{
  ImCursor cursor = im_cursor (data->data, data->len);
  switch (im_cursor_be16 (&cursor)) {
  case IM_NBD_INFO_EXPORT:
    listed->size = im_cursor_be64 (&cursor);
    listed->flags = im_cursor_be16 (&cursor);
    listed->has_size = true;
    break;
  case IM_NBD_INFO_BLOCK_SIZE:
    listed->minimum = im_cursor_be32 (&cursor);
    listed->preferred = im_cursor_be32 (&cursor);
    listed->maximum = im_cursor_be32 (&cursor);
    break;
  default:
    break;
  }
  return !cursor.overrun || set_malformed ("information on an export", error);
}

/* What the server's last reply to the question on LISTED means. */
static void
note_refusal (ImNbdListed *listed, uint32_t type, const GByteArray *text)
{
  if (type == IM_NBD_REP_ERR_UNSUP || (type == IM_NBD_REP_ACK && listed->has_size))
    return;
  if (type == IM_NBD_REP_ACK) {
    listed->refusal = g_strdup ("neither size nor flags are told");
    return;
  }
  g_autoptr (GError) error = NULL;
  set_refused ("to tell of it", type, text, &error);
  listed->refusal = g_strdup (error->message);
}

/* *ret_known: the server knows the question.  That it does not tell of one export is no
 * failure. */
static bool
ask_info (ImNbdClient *client, ImNbdListed *listed, bool *ret_known, GError **error)
{
  static const uint8_t wanted[] = {0, 1, 0, IM_NBD_INFO_BLOCK_SIZE};
  g_autoptr (GByteArray) data = question_on (listed);
  uint32_t type;
  g_byte_array_append (data, wanted, sizeof wanted);
  if (!im_nbd_client_ask (client, IM_NBD_OPT_INFO, data, error))
    return false;
  do {
    if (!im_nbd_client_answer (client, IM_NBD_OPT_INFO, &type, data, error) ||
        (type == IM_NBD_REP_INFO && !take_info (listed, data, error)))
      return false;
  } while (type != IM_NBD_REP_ACK && !(type & IM_NBD_REP_IS_ERROR));
  *ret_known = type != IM_NBD_REP_ERR_UNSUP;
  note_refusal (listed, type, data);
  return true;
}

static bool
take_context (ImNbdListed *listed, const GByteArray *data, GError **error)
{
  if (data->len < 4)
    return set_malformed ("list of contexts", error);
  if (listed->contexts->len >= CONTEXTS_MAX) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "the server lists more than %u contexts of one export", CONTEXTS_MAX);
    return false;
  }
  g_ptr_array_add (listed->contexts, clean (data->data + 4, data->len - 4));
  return true;
}

static bool
ask_contexts (ImNbdClient *client, ImNbdListed *listed, GError **error)
{
  g_autoptr (GByteArray) data = question_on (listed);
  uint32_t type;
  append_be32 (data, 0); /* no query: all of them */
  if (!im_nbd_client_ask (client, IM_NBD_OPT_LIST_META_CONTEXT, data, error))
    return false;
  do {
    if (!im_nbd_client_answer (client, IM_NBD_OPT_LIST_META_CONTEXT, &type, data,
                               error) ||
        (type == IM_NBD_REP_META_CONTEXT && !take_context (listed, data, error)))
      return false;
  } while (type != IM_NBD_REP_ACK && !(type & IM_NBD_REP_IS_ERROR));
  return true;
}

/* Before all else: what is said in the clear is anybody's word. */
static bool
start_tls (ImNbdClient *client, const ImNbdOptions *options, GError **error)
{
  g_autoptr (GByteArray) data = g_byte_array_new ();
  uint32_t type;
  if (!im_nbd_client_ask (client, IM_NBD_OPT_STARTTLS, NULL, error) ||
      !im_nbd_client_answer (client, IM_NBD_OPT_STARTTLS, &type, data, error))
    return false;
  if (type & IM_NBD_REP_IS_ERROR)
    return set_refused ("TLS", type, data, error);
  if (type != IM_NBD_REP_ACK || data->len > 0)
    return set_malformed ("reply to STARTTLS", error);
  const char *by_address = options->socket_path ? NULL : options->bind;
  return im_nbd_client_start_tls (
      client, options->tls, options->tls_hostname ? options->tls_hostname : by_address,
      error);
}

static bool
ask_all (ImNbdClient *client, ImNbdListing *listing, GError **error)
{
  bool structured = true, known = true;
  if (!im_nbd_client_request (client, IM_NBD_OPT_EXTENDED_HEADERS, &listing->extended,
                              error) ||
      (!listing->extended && !im_nbd_client_request (client, IM_NBD_OPT_STRUCTURED_REPLY,
                                                     &structured, error)) ||
      !ask_list (client, listing, error))
    return false;
  guint n = MIN (listing->exports->len, DETAILS_MAX);
  for (guint i = 0; i < n && known; i++) {
    ImNbdListed *listed = g_ptr_array_index (listing->exports, i);
    if (!ask_info (client, listed, &known, error) ||
        (known && structured && !listed->refusal &&
         !ask_contexts (client, listed, error)))
      return false;
    listing->incomplete |= listed->refusal != NULL;
  }
  return true;
}

ImNbdListing *
im_nbd_list (const ImNbdOptions *options, GError **error)
{
  g_autoptr (ImNbdClient) client = im_nbd_client_new (options, error);
  if (!client)
    return NULL;
  g_autoptr (ImNbdListing) listing = g_new0 (ImNbdListing, 1);
  listing->exports = g_ptr_array_new_with_free_func (listed_free);
  ImNbdListed *only;
  if (options->tls && im_nbd_client_greeting (client) != IM_NBD_GREETING_FIXED) {
    g_set_error_literal (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                         "the server's protocol is too old for TLS");
    return NULL;
  }
  switch (im_nbd_client_greeting (client)) {
  case IM_NBD_GREETING_FIXED:
    if ((options->tls && !start_tls (client, options, error)) ||
        !ask_all (client, listing, error))
      return NULL;
    break;
  case IM_NBD_GREETING_BARE:
    g_set_error_literal (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                         "the server cannot list its exports");
    return NULL;
  case IM_NBD_GREETING_OLD:
    only = add_export (listing, g_strdup (""), g_strdup (""));
    only->has_size = true;
    only->size = im_nbd_client_size (client);
    only->flags = im_nbd_client_flags (client);
    break;
  }
  return g_steal_pointer (&listing);
}

void
im_nbd_listing_free (ImNbdListing *listing)
{
  if (!listing)
    return;
  g_ptr_array_unref (listing->exports);
  g_free (listing);
}

/* One line; control characters of VALUE are escaped. */
static void
append_line (GString *text, const char *before, const char *value, const char *after)
{
  g_string_append (text, before);
  for (const char *p = value; *p; p++)
    if ((unsigned char)*p < 0x20 || *p == 0x7f)
      g_string_append_printf (text, "\\x%02x", (unsigned char)*p);
    else
      g_string_append_c (text, *p);
  g_string_append (text, after);
}

static void
append_flags (GString *text, uint16_t flags)
{
  static const char *const names[] = {
      [1] = "readonly", [2] = "flush",  [3] = "fua",        [4] = "rotational",
      [5] = "trim",     [6] = "zeroes", [7] = "df",         [8] = "multi",
      [9] = "resize",   [10] = "cache", [11] = "fast-zero", [12] = "block-status-payload",
  };
  g_string_append_printf (text, "  flags: 0x%x (", flags);
  for (size_t bit = 0; bit < G_N_ELEMENTS (names); bit++)
    if (names[bit] && flags & 1u << bit)
      g_string_append_printf (text, " %s", names[bit]);
  g_string_append (text, " )\n");
}

static void
append_export (GString *text, const ImNbdListed *listed)
{
  append_line (text, " export: '", listed->name, "'\n");
  if (listed->description[0])
    append_line (text, "  description: ", listed->description, "\n");
  if (listed->has_size) {
    g_string_append_printf (text, "  size:  %" G_GUINT64_FORMAT "\n", listed->size);
    append_flags (text, listed->flags);
  }
  if (listed->refusal)
    append_line (text, "  refused: ", listed->refusal, "\n");
  if (listed->minimum) {
    g_string_append_printf (text, "  min block: %" G_GUINT32_FORMAT "\n",
                            listed->minimum);
    g_string_append_printf (text, "  opt block: %" G_GUINT32_FORMAT "\n",
                            listed->preferred);
    g_string_append_printf (text, "  max block: %" G_GUINT32_FORMAT "\n",
                            listed->maximum);
  }
}

char *
im_nbd_listing_text (const ImNbdListing *listing)
{
  GString *text = g_string_new (NULL);
  g_string_append_printf (text, "exports available: %u\n", listing->exports->len);
  for (guint i = 0; i < listing->exports->len; i++) {
    const ImNbdListed *listed = g_ptr_array_index (listing->exports, i);
    append_export (text, listed);
    g_string_append_printf (text, "  transaction size: %s\n",
                            listing->extended ? "64-bit" : "32-bit");
    if (listed->contexts->len > 0)
      g_string_append_printf (text, "  available meta contexts: %u\n",
                              listed->contexts->len);
    for (guint j = 0; j < listed->contexts->len; j++)
      append_line (text, "   ", listed->contexts->pdata[j], "\n");
  }
  return g_string_free (text, FALSE);
}
