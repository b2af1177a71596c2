/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Building scripts.  Every byte of the fuzzer's means something, so that small changes of
 * it are small changes of the session. */
#include "nbd-script.h"
#include "base/bytes.h"
#include "nbd-host.h"

enum {
  OPTIONS_MAX = 24,
  REQUESTS_MAX = 64,
  BYTES_MAX = 192 << 10,  /* in one script */
  PAYLOAD_MAX = 48 << 10, /* sent whole; a longer one is cut short, and ends the script */
};

typedef struct {
  ImCursor data;
  Script *script;
} Builder;

static uint8_t
next_byte (Builder *b)
{
  return im_cursor_u8 (&b->data);
}

static uint16_t
next_short (Builder *b)
{
  return (uint16_t)(next_byte (b) << 8 | next_byte (b));
}

static void
append_be (GByteArray *out, uint64_t value, unsigned bytes)
{
  uint8_t wire[8];
  im_put_be64 (wire, value);
  g_byte_array_append (out, wire + 8 - bytes, bytes);
}

static void
append_string (GByteArray *out, const char *text)
{
  append_be (out, strlen (text), 4);
  g_byte_array_append (out, (const uint8_t *)text, (guint)strlen (text));
}

static void
put_option (Builder *b, uint32_t number, const GByteArray *data)
{
  Script *script = b->script;
  guint length = data ? data->len : 0;
  append_be (script->bytes, IM_NBD_OPTION_MAGIC, 8);
  append_be (script->bytes, number, 4);
  append_be (script->bytes, length, 4);
  if (length > 0)
    g_byte_array_append (script->bytes, data->data, length);
  g_array_append_val (script->options, number);
  if (number == IM_NBD_OPT_EXTENDED_HEADERS && length == 0)
    script->mode = IM_NBD_MODE_EXTENDED;
  if (number == IM_NBD_OPT_STRUCTURED_REPLY && length == 0)
    script->mode = MAX (script->mode, IM_NBD_MODE_STRUCTURED);
}

/* *ret_known: an export has it. */
static const char *
choose_name (Builder *b, bool *ret_known)
{
  static const char *const names[] = {"", "p1", "absent", "p\xff"};
  uint8_t choice = next_byte (b) % G_N_ELEMENTS (names);
  *ret_known = choice < 2;
  return names[choice];
}

static void
put_contexts (Builder *b, uint32_t number)
{
  static const char *const queries[] = {"base:allocation", "base:", "qemu:", "x:y",
                                        "base:allocation", ""};
  g_autoptr (GByteArray) data = g_byte_array_new ();
  bool known;
  append_string (data, choose_name (b, &known));
  uint8_t n = next_byte (b) % 5;
  append_be (data, n, 4);
  for (uint8_t i = 0; i < n; i++)
    append_string (data, queries[next_byte (b) % G_N_ELEMENTS (queries)]);
  put_option (b, number, data);
}

/* INFO and GO; true: it is granted. */
static bool
put_info (Builder *b, uint32_t number)
{
  g_autoptr (GByteArray) data = g_byte_array_new ();
  bool known;
  append_string (data, choose_name (b, &known));
  uint8_t n = next_byte (b) % 5;
  append_be (data, n, 2);
  for (uint8_t i = 0; i < n; i++)
    append_be (data, next_byte (b), 2);
  put_option (b, number, data);
  return known;
}

/* Any option but those that end the handshake, with any data. */
static void
put_rubbish (Builder *b)
{
  static const uint32_t numbers[] = {3, 4, 5, 6, 8, 9, 10, 11, 12, 0, 0x80000003};
  uint32_t number = numbers[next_byte (b) % G_N_ELEMENTS (numbers)];
  size_t wanted = next_byte (b), n = MIN (wanted, im_cursor_left (&b->data));
  g_autoptr (GByteArray) data = g_byte_array_new ();
  g_byte_array_append (data, im_cursor_bytes (&b->data, n), (guint)n);
  put_option (b, number, data);
}

static void
put_export_name (Builder *b)
{
  g_autoptr (GByteArray) data = g_byte_array_new ();
  bool known;
  const char *name = choose_name (b, &known);
  g_byte_array_append (data, (const uint8_t *)name, (guint)strlen (name));
  put_option (b, IM_NBD_OPT_EXPORT_NAME, data);
  b->script->transmits = known && b->script->mode != IM_NBD_MODE_EXTENDED;
}

/* One option.  False: the handshake is over. */
static bool
build_option (Builder *b)
{
  uint8_t choice = next_byte (b) % 16;
  switch (choice) {
  case 0:
  case 1:
  case 2:
    b->script->transmits = put_info (b, IM_NBD_OPT_GO);
    return !b->script->transmits;
  case 3:
    put_export_name (b);
    return false;
  case 4:
    put_option (b, IM_NBD_OPT_ABORT, NULL);
    return false;
  case 5:
    put_info (b, IM_NBD_OPT_INFO);
    return true;
  case 6:
    put_rubbish (b);
    return true;
  case 7:
  case 8:
    put_contexts (b, choice == 7 ? IM_NBD_OPT_LIST_META_CONTEXT
                                 : IM_NBD_OPT_SET_META_CONTEXT);
    return true;
  case 9:
  case 10:
    put_option (b, choice == 9 ? IM_NBD_OPT_LIST : IM_NBD_OPT_STARTTLS, NULL);
    return true;
  case 11:
  case 12:
    put_contexts (b, IM_NBD_OPT_SET_META_CONTEXT);
    return true;
  default:
    put_option (b,
                choice == 13 ? IM_NBD_OPT_STRUCTURED_REPLY : IM_NBD_OPT_EXTENDED_HEADERS,
                NULL);
    return true;
  }
}

/* An offset or a length: likely ones, and those at the edges of something. */
static uint64_t
choose_number (Builder *b)
{
  uint8_t choice = next_byte (b) % 10;
  uint16_t n = next_short (b);
  switch (choice) {
  case 0:
    return n % 16;
  case 1:
    return n;
  case 2:
    return 512u * (n % (FUZZ_DISK_SIZE / 512u));
  case 3:
    return FUZZ_DISK_SIZE - n;
  case 4:
    return FUZZ_TURN * (n % 9u) + n / 9u % 3u - 1u;
  case 5:
    return FUZZ_DISK_SIZE - (n & 1u);
  case 6:
    return IM_NBD_MAX_BYTES + n % 3u - 1u;
  case 7:
    return UINT32_MAX - n;
  case 8:
    return UINT64_MAX - n;
  default:
    return 4096u * (n % 16u);
  }
}

static uint16_t
choose_flags (Builder *b, uint16_t type)
{
  uint8_t n = next_byte (b);
  if (n >= 0xf0)
    return next_short (b);
  /* Mostly none, or one; and in extended sessions writes mostly with their payload. */
  uint16_t flags = n & 0x80 ? (uint16_t)(1u << n % 6u) : 0;
  if (type == IM_NBD_CMD_WRITE && b->script->mode == IM_NBD_MODE_EXTENDED &&
      (n & 0x7f) != 0x7f)
    flags |= IM_NBD_CMD_FLAG_PAYLOAD_LEN;
  return flags;
}

/* False: it was cut short. */
static bool
put_payload (Builder *b, const ImNbdRequest *request)
{
  GByteArray *out = b->script->bytes;
  bool whole = request->payload <= PAYLOAD_MAX;
  guint n = whole ? (guint)request->payload : next_byte (b), at = out->len;
  if (n == 0)
    return whole;
  g_byte_array_set_size (out, at + n);
  memset (out->data + at, next_byte (b), n);
  if (request->type == IM_NBD_CMD_BLOCK_STATUS && n >= 8) {
    im_put_be64 (out->data + at, choose_number (b));
    for (guint i = 8; i + 4 <= n && i < 64; i += 4)
      im_put_be32 (out->data + at + i, next_byte (b) % 4);
  }
  return whole;
}

/* One request.  False: nothing that is answered follows. */
static bool
build_request (Builder *b)
{
  Script *script = b->script;
  uint8_t choice = next_byte (b);
  bool extended = script->mode == IM_NBD_MODE_EXTENDED;
  uint16_t type = choice < 0xf8 ? choice % 8 : next_short (b);
  uint32_t magic = extended ? IM_NBD_EXTENDED_REQUEST_MAGIC : IM_NBD_REQUEST_MAGIC;
  guint at = script->bytes->len;
  uint16_t flags = choose_flags (b, type);
  append_be (script->bytes, choice == 0xff ? next_short (b) : magic, 4);
  append_be (script->bytes, flags, 2);
  append_be (script->bytes, type, 2);
  append_be (script->bytes, script->requests->len, 8);
  append_be (script->bytes, choose_number (b), 8);
  append_be (script->bytes, choose_number (b), extended ? 8 : 4);
  ImNbdRequest request;
  const ImNbdSession session = {.mode = script->mode};
  if (!im_nbd_request_decode (script->bytes->data + at, &session, &request))
    return false;
  if (type == IM_NBD_CMD_DISC && !(flags & (uint16_t)~IM_NBD_CMD_FLAG_FUA))
    return false;
  if (!put_payload (b, &request))
    return false;
  g_array_append_val (script->requests, request);
  return true;
}

Script *
script_new (const uint8_t *data, size_t size)
{
  Script *script = g_new0 (Script, 1);
  script->bytes = g_byte_array_new ();
  script->options = g_array_new (FALSE, FALSE, sizeof (uint32_t));
  script->requests = g_array_new (FALSE, FALSE, sizeof (ImNbdRequest));
  Builder b = {im_cursor (data, size), script};
  uint8_t flags = next_byte (&b) & 3;
  append_be (script->bytes, flags, 4);
  script->no_zeroes = flags & IM_NBD_FLAG_NO_ZEROES;
  while (im_cursor_left (&b.data) > 0 && script->options->len < OPTIONS_MAX &&
         build_option (&b))
    continue;
  while (script->transmits && im_cursor_left (&b.data) > 0 &&
         script->requests->len < REQUESTS_MAX && script->bytes->len < BYTES_MAX &&
         build_request (&b))
    continue;
  return script;
}

void
script_free (Script *script)
{
  g_byte_array_unref (script->bytes);
  g_array_unref (script->options);
  g_array_unref (script->requests);
  g_free (script);
}
