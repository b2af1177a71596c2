/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Greeting, and the options of fixed newstyle negotiation. */
#include "nbd/nbd-handshake.h"
#include "base/bytes.h"

/* One option at work: its number, its data, and where the answer goes. */
typedef struct {
  ImNbdHandshake *handshake;
  uint32_t number;
  ImCursor data;
  GByteArray *out;
} Option;

static void
append_be (GByteArray *out, uint64_t value, unsigned bytes)
{
  uint8_t wire[8];
  im_put_be64 (wire, value);
  g_byte_array_append (out, wire + 8 - bytes, bytes);
}

/* The head of a reply; LENGTH bytes are to follow. */
static void
reply_head (Option *option, uint32_t type, size_t length)
{
  append_be (option->out, IM_NBD_OPTION_REPLY_MAGIC, 8);
  append_be (option->out, option->number, 4);
  append_be (option->out, type, 4);
  append_be (option->out, length, 4);
}

static ImNbdStep
acknowledge (Option *option)
{
  reply_head (option, IM_NBD_REP_ACK, 0);
  return IM_NBD_STEP_AGAIN;
}

static ImNbdStep
refuse (Option *option, uint32_t type, const char *reason)
{
  size_t n = strlen (reason);
  reply_head (option, type, n);
  g_byte_array_append (option->out, (const uint8_t *)reason, (guint)n);
  return IM_NBD_STEP_AGAIN;
}

/* Whether the N bytes at TEXT are a string by the protocol's rules. */
static bool
is_string (const uint8_t *text, size_t n)
{
  return n <= IM_NBD_STRING_MAX && g_utf8_validate ((const char *)text, (gssize)n, NULL);
}

/* A string with its length of 32 bits before it.  False: it is none. */
static bool
take_string (ImCursor *data, const char **ret_text, size_t *ret_length)
{
  uint32_t n = im_cursor_be32 (data);
  const uint8_t *text = im_cursor_bytes (data, n);
  if (!text || !is_string (text, n))
    return false;
  *ret_text = (const char *)text;
  *ret_length = n;
  return true;
}

static void
reply_string_info (Option *option, uint16_t type, const char *text)
{
  size_t n = strlen (text);
  reply_head (option, IM_NBD_REP_INFO, 2 + n);
  append_be (option->out, type, 2);
  g_byte_array_append (option->out, (const uint8_t *)text, (guint)n);
}

static void
reply_info (Option *option, const ImNbdExport *export, uint16_t type)
{
  switch (type) {
  case IM_NBD_INFO_NAME:
    reply_string_info (option, type, export->name);
    break;
  case IM_NBD_INFO_DESCRIPTION:
    if (export->description)
      reply_string_info (option, type, export->description);
    break;
  case IM_NBD_INFO_BLOCK_SIZE:
    reply_head (option, IM_NBD_REP_INFO, 14);
    append_be (option->out, type, 2);
    append_be (option->out, 1, 4);
    append_be (option->out, export->preferred_size, 4);
    append_be (option->out, IM_NBD_MAX_BYTES, 4);
    break;
  default:
    break;
  }
}

/* What the session will be if EXPORT is chosen now. */
static ImNbdSession
session_with (const ImNbdHandshake *handshake, const ImNbdExport *export)
{
  ImNbdSession session = handshake->session;
  session.size = export->block->size;
  session.contexts = handshake->meta_export == export ? handshake->meta_contexts : 0;
  session.flags =
      im_nbd_exports_flags (handshake->exports, export, session.mode, session.contexts);
  return session;
}

static ImNbdStep
choose (ImNbdHandshake *handshake, const ImNbdExport *export)
{
  handshake->session = session_with (handshake, export);
  handshake->chosen = export;
  return IM_NBD_STEP_GO;
}

static ImNbdStep
option_export_name (Option *option)
{
  ImNbdHandshake *handshake = option->handshake;
  const ImNbdExport *export =
      is_string (option->data.data, option->data.length)
          ? im_nbd_exports_find (handshake->exports, (const char *)option->data.data,
                                 option->data.length)
          : NULL;
  /* This option's answer cannot say no. */
  if (!export || handshake->session.mode == IM_NBD_MODE_EXTENDED)
    return IM_NBD_STEP_CLOSE;
  choose (handshake, export);
  append_be (option->out, handshake->session.size, 8);
  append_be (option->out, handshake->session.flags, 2);
  if (!handshake->no_zeroes)
    for (unsigned i = 0; i < IM_NBD_EXPORT_NAME_ZEROES; i++)
      append_be (option->out, 0, 1);
  return IM_NBD_STEP_GO;
}

static ImNbdStep
option_list (Option *option)
{
  const GPtrArray *list = option->handshake->exports->list;
  for (guint i = 0; i < list->len; i++) {
    const ImNbdExport *export = g_ptr_array_index (list, i);
    const char *description = export->description ? export->description : "";
    size_t name_length = strlen (export->name), text_length = strlen (description);
    reply_head (option, IM_NBD_REP_SERVER, 4 + name_length + text_length);
    append_be (option->out, name_length, 4);
    g_byte_array_append (option->out, (const uint8_t *)export->name, (guint)name_length);
    g_byte_array_append (option->out, (const uint8_t *)description, (guint)text_length);
  }
  return acknowledge (option);
}

/* Parses what INFO and GO carry; *ret_wanted: the types asked for, as bits. */
static bool
parse_info (ImCursor data, const char **ret_name, size_t *ret_length,
            uint32_t *ret_wanted)
{
  if (!take_string (&data, ret_name, ret_length))
    return false;
  uint16_t n = im_cursor_be16 (&data);
  uint32_t wanted = 0;
  if (im_cursor_left (&data) != 2 * (size_t)n || data.overrun)
    return false;
  while (im_cursor_left (&data) > 0) {
    uint16_t type = im_cursor_be16 (&data);
    if (type < 32)
      wanted |= 1u << type;
  }
  *ret_wanted = wanted;
  return true;
}

static ImNbdStep
option_info_or_go (Option *option)
{
  const char *name;
  size_t length;
  uint32_t wanted;
  if (!parse_info (option->data, &name, &length, &wanted))
    return refuse (option, IM_NBD_REP_ERR_INVALID, "malformed request");
  const ImNbdExport *export =
      im_nbd_exports_find (option->handshake->exports, name, length);
  if (!export)
    return refuse (option, IM_NBD_REP_ERR_UNKNOWN, "no export of that name");
  ImNbdSession session = session_with (option->handshake, export);
  reply_head (option, IM_NBD_REP_INFO, 12);
  append_be (option->out, IM_NBD_INFO_EXPORT, 2);
  append_be (option->out, session.size, 8);
  append_be (option->out, session.flags, 2);
  for (uint16_t type = IM_NBD_INFO_EXPORT + 1; type < 32; type++)
    if (wanted & 1u << type)
      reply_info (option, export, type);
  acknowledge (option);
  return option->number == IM_NBD_OPT_GO ? choose (option->handshake, export)
                                         : IM_NBD_STEP_AGAIN;
}

/* Parses what both META_CONTEXT options carry; *ret_mask: what the queries select. */
static bool
parse_queries (Option *option, bool listing, const ImNbdExport **ret_export,
               uint32_t *ret_mask)
{
  ImCursor *data = &option->data;
  const char *text;
  size_t length;
  if (!take_string (data, &text, &length))
    return false;
  *ret_export = im_nbd_exports_find (option->handshake->exports, text, length);
  const ImNbdContexts *contexts = &option->handshake->exports->contexts;
  uint32_t n = im_cursor_be32 (data);
  *ret_mask = listing && n == 0 ? im_nbd_contexts_all (contexts) : 0;
  for (uint32_t i = 0; i < n; i++) {
    if (!take_string (data, &text, &length))
      return false;
    g_autofree char *query = g_strndup (text, length);
    *ret_mask |= im_nbd_contexts_match (contexts, query, listing);
  }
  return !data->overrun && im_cursor_left (data) == 0;
}

static ImNbdStep
option_meta_context (Option *option)
{
  ImNbdHandshake *handshake = option->handshake;
  bool listing = option->number == IM_NBD_OPT_LIST_META_CONTEXT;
  const ImNbdExport *export;
  uint32_t mask;
  /* The former choice is gone even where this one fails. */
  if (!listing)
    handshake->meta_export = NULL;
  if (handshake->session.mode == IM_NBD_MODE_SIMPLE)
    return refuse (option, IM_NBD_REP_ERR_INVALID, "needs structured replies");
  if (!parse_queries (option, listing, &export, &mask))
    return refuse (option, IM_NBD_REP_ERR_INVALID, "malformed request");
  if (!export)
    return refuse (option, IM_NBD_REP_ERR_UNKNOWN, "no export of that name");
  const ImNbdContexts *contexts = &handshake->exports->contexts;
  for (uint32_t id = 0; id < contexts->n; id++) {
    if (!(mask & 1u << id))
      continue;
    const char *name = contexts->items[id].name;
    reply_head (option, IM_NBD_REP_META_CONTEXT, 4 + strlen (name));
    append_be (option->out, listing ? 0 : id, 4);
    g_byte_array_append (option->out, (const uint8_t *)name, (guint)strlen (name));
  }
  if (!listing) {
    handshake->meta_export = export;
    handshake->meta_contexts = mask;
  }
  return acknowledge (option);
}

static ImNbdStep
option_structured_reply (Option *option)
{
  if (option->handshake->session.mode == IM_NBD_MODE_EXTENDED)
    return refuse (option, IM_NBD_REP_ERR_EXT_HEADER_REQD,
                   "extended headers are in use already");
  option->handshake->session.mode = IM_NBD_MODE_STRUCTURED;
  return acknowledge (option);
}

static ImNbdStep
option_extended_headers (Option *option)
{
  option->handshake->session.mode = IM_NBD_MODE_EXTENDED;
  return acknowledge (option);
}

static ImNbdStep
option_abort (Option *option)
{
  acknowledge (option);
  return IM_NBD_STEP_CLOSE;
}

static ImNbdStep
option_starttls (Option *option)
{
  ImNbdHandshake *handshake = option->handshake;
  if (handshake->encrypted)
    return refuse (option, IM_NBD_REP_ERR_INVALID, "TLS is in use already");
  if (!handshake->tls_required)
    return refuse (option, IM_NBD_REP_ERR_POLICY, "this server does without TLS");
  acknowledge (option);
  handshake->encrypted = true;
  handshake->session = (ImNbdSession){0};
  handshake->meta_export = NULL;
  return IM_NBD_STEP_TLS;
}

static const struct {
  ImNbdStep (*handle) (Option *option);
  bool no_data; /* data with it is an error */
} options[] = {
    [IM_NBD_OPT_EXPORT_NAME] = {option_export_name, false},
    [IM_NBD_OPT_ABORT] = {option_abort, false},
    [IM_NBD_OPT_LIST] = {option_list, true},
    [IM_NBD_OPT_STARTTLS] = {option_starttls, true},
    [IM_NBD_OPT_INFO] = {option_info_or_go, false},
    [IM_NBD_OPT_GO] = {option_info_or_go, false},
    [IM_NBD_OPT_STRUCTURED_REPLY] = {option_structured_reply, true},
    [IM_NBD_OPT_LIST_META_CONTEXT] = {option_meta_context, false},
    [IM_NBD_OPT_SET_META_CONTEXT] = {option_meta_context, false},
    [IM_NBD_OPT_EXTENDED_HEADERS] = {option_extended_headers, true},
};

/* What may be said in the clear where TLS is required. */
static bool
is_allowed_in_clear (uint32_t number)
{
  return number == IM_NBD_OPT_STARTTLS || number == IM_NBD_OPT_ABORT;
}

static ImNbdStep
handle_option (Option *option)
{
  const ImNbdHandshake *handshake = option->handshake;
  if (handshake->tls_required && !handshake->encrypted &&
      !is_allowed_in_clear (option->number))
    return option->number == IM_NBD_OPT_EXPORT_NAME
               ? IM_NBD_STEP_CLOSE
               : refuse (option, IM_NBD_REP_ERR_TLS_REQD, "this server wants TLS");
  if (option->number >= G_N_ELEMENTS (options) || !options[option->number].handle)
    return refuse (option, IM_NBD_REP_ERR_UNSUP, "unknown option");
  if (options[option->number].no_data && option->data.length > 0)
    return refuse (option, IM_NBD_REP_ERR_INVALID, "this option has no data");
  return options[option->number].handle (option);
}

void
im_nbd_handshake_init (ImNbdHandshake *handshake, const ImNbdExports *exports,
                       GByteArray *out)
{
  *handshake = (ImNbdHandshake){.exports = exports};
  append_be (out, IM_NBD_MAGIC, 8);
  append_be (out, IM_NBD_OPTION_MAGIC, 8);
  append_be (out, IM_NBD_FLAG_FIXED_NEWSTYLE | IM_NBD_FLAG_NO_ZEROES, 2);
}

static ImNbdStep
take_client_flags (ImNbdHandshake *handshake, uint32_t flags)
{
  if (flags & ~(IM_NBD_FLAG_FIXED_NEWSTYLE | IM_NBD_FLAG_NO_ZEROES))
    return IM_NBD_STEP_CLOSE;
  /* Without fixed newstyle there is no TLS. */
  if (handshake->tls_required && !(flags & IM_NBD_FLAG_FIXED_NEWSTYLE))
    return IM_NBD_STEP_CLOSE;
  handshake->greeted = true;
  handshake->no_zeroes = (flags & IM_NBD_FLAG_NO_ZEROES) != 0;
  return IM_NBD_STEP_AGAIN;
}

ImNbdStep
im_nbd_handshake_step (ImNbdHandshake *handshake, const uint8_t *data, size_t length,
                       size_t *ret_used, GByteArray *out)
{
  ImCursor cursor = im_cursor (data, length);
  *ret_used = 0;
  if (!handshake->greeted) {
    uint32_t flags = im_cursor_be32 (&cursor);
    if (cursor.overrun)
      return IM_NBD_STEP_MORE;
    *ret_used = cursor.at;
    return take_client_flags (handshake, flags);
  }
  uint64_t magic = im_cursor_be64 (&cursor);
  uint32_t number = im_cursor_be32 (&cursor);
  uint32_t size = im_cursor_be32 (&cursor);
  if (cursor.overrun)
    return IM_NBD_STEP_MORE;
  if (magic != IM_NBD_OPTION_MAGIC || size > IM_NBD_OPTION_MAX ||
      handshake->options >= IM_NBD_OPTIONS_MAX)
    return IM_NBD_STEP_CLOSE;
  const uint8_t *body = im_cursor_bytes (&cursor, size);
  if (!body)
    return IM_NBD_STEP_MORE;
  handshake->options++;
  *ret_used = cursor.at;
  Option option = {handshake, number, im_cursor (body, size), out};
  return handle_option (&option);
}
