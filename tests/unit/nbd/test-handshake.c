/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The handshake, as a function from bytes to bytes. */
#include "base/bytes.h"
#include "fixture.h"
#include "nbd/nbd-handshake.h"

/* A handshake and what it has answered. */
typedef struct {
  ImNbdHandshake handshake;
  GByteArray *out;
  size_t read; /* of out */
} Talk;

static void
talk_begin (Talk *talk)
{
  const uint8_t flags[4] = {0, 0, 0, 3};
  size_t used;
  talk->out = g_byte_array_new ();
  im_nbd_handshake_init (&talk->handshake, fixture_host ()->exports, talk->out);
  talk->read = IM_NBD_GREETING_SIZE;
  g_assert_cmpint (im_nbd_handshake_step (&talk->handshake, flags, 4, &used, talk->out),
                   ==, IM_NBD_STEP_AGAIN);
  g_assert_cmpuint (used, ==, 4);
}

static void
talk_end (Talk *talk)
{
  g_byte_array_unref (talk->out);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Talk, talk_end)

/* Puts numbers and strings one after another: "4" and "2" take a number of that many
 * bytes, "s" a string with its length, "z" a bare string. */
static GByteArray *
pack (const char *layout, ...)
{
  GByteArray *data = g_byte_array_new ();
  va_list args;
  va_start (args, layout);
  for (const char *p = layout; *p; p++) {
    uint8_t number[4];
    const char *text = *p == 's' || *p == 'z' ? va_arg (args, const char *) : NULL;
    im_put_be32 (number, text ? (uint32_t)strlen (text) : va_arg (args, unsigned));
    if (*p != 'z')
      g_byte_array_append (data, number + (*p == '2' ? 2 : 0), *p == '2' ? 2 : 4);
    if (text)
      g_byte_array_append (data, (const uint8_t *)text, (guint)strlen (text));
  }
  va_end (args);
  return data;
}

/* Sends an option whose data, of which it takes hold, is that. */
static ImNbdStep
talk_option (Talk *talk, uint32_t number, GByteArray *data)
{
  g_autoptr (GByteArray) wire = g_byte_array_new ();
  uint8_t head[IM_NBD_OPTION_HEADER_SIZE];
  size_t used;
  im_put_be64 (head, IM_NBD_OPTION_MAGIC);
  im_put_be32 (head + 8, number);
  im_put_be32 (head + 12, data->len);
  g_byte_array_append (wire, head, sizeof head);
  g_byte_array_append (wire, data->data, data->len);
  g_byte_array_unref (data);
  /* Whatever is missing of it, it waits for the rest. */
  for (size_t n = 0; n < wire->len; n += 1 + n / 8) {
    g_assert_cmpint (
        im_nbd_handshake_step (&talk->handshake, wire->data, n, &used, talk->out), ==,
        IM_NBD_STEP_MORE);
    g_assert_cmpuint (used, ==, 0);
  }
  /* And leaves what follows. */
  g_byte_array_append (wire, (const uint8_t *)"next", 4);
  ImNbdStep step =
      im_nbd_handshake_step (&talk->handshake, wire->data, wire->len, &used, talk->out);
  if (step != IM_NBD_STEP_CLOSE)
    g_assert_cmpuint (used, ==, wire->len - 4);
  return step;
}

/* Takes the next answer, which must be of TYPE to the option NUMBER; *ret_length of its
 * data, which is borrowed. */
static const uint8_t *
talk_reply (Talk *talk, uint32_t number, uint32_t type, size_t *ret_length)
{
  ImCursor c = im_cursor (talk->out->data + talk->read, talk->out->len - talk->read);
  g_assert_cmphex (im_cursor_be64 (&c), ==, IM_NBD_OPTION_REPLY_MAGIC);
  g_assert_cmpuint (im_cursor_be32 (&c), ==, number);
  g_assert_cmphex (im_cursor_be32 (&c), ==, type);
  size_t length = im_cursor_be32 (&c);
  const uint8_t *data = im_cursor_bytes (&c, length);
  g_assert_nonnull (data);
  talk->read += c.at;
  if (ret_length)
    *ret_length = length;
  return data;
}

static void
assert_nothing_more (const Talk *talk)
{
  g_assert_cmpuint (talk->read, ==, talk->out->len);
}

/* Sends an option that must be answered by TYPE alone, and the talk goes on. */
static void
assert_answer (Talk *talk, uint32_t number, GByteArray *data, uint32_t type)
{
  g_assert_cmpint (talk_option (talk, number, data), ==, IM_NBD_STEP_AGAIN);
  talk_reply (talk, number, type, NULL);
  assert_nothing_more (talk);
}

static void
test_greeting (void)
{
  g_autoptr (GByteArray) out = g_byte_array_new ();
  ImNbdHandshake handshake;
  im_nbd_handshake_init (&handshake, fixture_host ()->exports, out);
  g_assert_cmpmem (out->data, out->len, "NBDMAGICIHAVEOPT\0\3", 18);
}

static void
test_unknown_client_flags_close (void)
{
  static const uint32_t flags[] = {4, 7, 0x80000003, 0x10000};
  for (size_t i = 0; i < G_N_ELEMENTS (flags); i++) {
    g_autoptr (GByteArray) out = g_byte_array_new ();
    ImNbdHandshake handshake;
    uint8_t wire[4];
    size_t used;
    im_put_be32 (wire, flags[i]);
    im_nbd_handshake_init (&handshake, fixture_host ()->exports, out);
    g_assert_cmpint (im_nbd_handshake_step (&handshake, wire, 4, &used, out), ==,
                     IM_NBD_STEP_CLOSE);
  }
}

static void
test_export_name (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  g_assert_cmpint (talk_option (&talk, IM_NBD_OPT_EXPORT_NAME, pack ("z", "p1")), ==,
                   IM_NBD_STEP_GO);
  g_assert_cmpuint (talk.out->len - talk.read, ==, 10);
  g_assert_cmpuint (im_get_be64 (talk.out->data + talk.read), ==, 1 << 20);
  g_assert_cmpstr (talk.handshake.chosen->name, ==, "p1");
  g_assert_cmpint (talk.handshake.session.mode, ==, IM_NBD_MODE_SIMPLE);
}

static void
test_export_name_pads_for_old_clients (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  talk.handshake.no_zeroes = false;
  g_assert_cmpint (talk_option (&talk, IM_NBD_OPT_EXPORT_NAME, pack ("z", "")), ==,
                   IM_NBD_STEP_GO);
  g_assert_cmpuint (talk.out->len - talk.read, ==, 134);
}

static void
test_export_name_that_cannot_be_closes (void)
{
  const char *names[] = {"nope", "p1 ", "\xff"};
  for (size_t i = 0; i < G_N_ELEMENTS (names); i++) {
    g_auto (Talk) talk = {0};
    talk_begin (&talk);
    g_assert_cmpint (talk_option (&talk, IM_NBD_OPT_EXPORT_NAME, pack ("z", names[i])),
                     ==, IM_NBD_STEP_CLOSE);
    assert_nothing_more (&talk);
  }
}

static void
test_abort_is_acknowledged (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  g_assert_cmpint (talk_option (&talk, IM_NBD_OPT_ABORT, pack ("z", "ignored")), ==,
                   IM_NBD_STEP_CLOSE);
  talk_reply (&talk, IM_NBD_OPT_ABORT, IM_NBD_REP_ACK, NULL);
}

static void
test_list (void)
{
  g_auto (Talk) talk = {0};
  size_t n;
  talk_begin (&talk);
  g_assert_cmpint (talk_option (&talk, IM_NBD_OPT_LIST, pack ("")), ==,
                   IM_NBD_STEP_AGAIN);
  const uint8_t *data = talk_reply (&talk, IM_NBD_OPT_LIST, IM_NBD_REP_SERVER, &n);
  g_assert_cmpmem (data, n, "\0\0\0\0", 4);
  data = talk_reply (&talk, IM_NBD_OPT_LIST, IM_NBD_REP_SERVER, &n);
  g_assert_cmpmem (data, n, "\0\0\0\2p1the first", 15);
  talk_reply (&talk, IM_NBD_OPT_LIST, IM_NBD_REP_ACK, NULL);
  assert_nothing_more (&talk);
}

static void
test_refusals (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  assert_answer (&talk, IM_NBD_OPT_LIST, pack ("z", "x"), IM_NBD_REP_ERR_INVALID);
  assert_answer (&talk, IM_NBD_OPT_STRUCTURED_REPLY, pack ("z", "x"),
                 IM_NBD_REP_ERR_INVALID);
  assert_answer (&talk, IM_NBD_OPT_EXTENDED_HEADERS, pack ("z", "x"),
                 IM_NBD_REP_ERR_INVALID);
  assert_answer (&talk, IM_NBD_OPT_STARTTLS, pack ("z", "x"), IM_NBD_REP_ERR_INVALID);
  assert_answer (&talk, IM_NBD_OPT_STARTTLS, pack (""), IM_NBD_REP_ERR_POLICY);
  assert_answer (&talk, 4, pack ("z", "peek"), IM_NBD_REP_ERR_UNSUP);
  assert_answer (&talk, 0, pack (""), IM_NBD_REP_ERR_UNSUP);
  assert_answer (&talk, 0xffffffff, pack ("z", "x"), IM_NBD_REP_ERR_UNSUP);
}

static void
test_tls_required (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  talk.handshake.tls_required = true;
  assert_answer (&talk, IM_NBD_OPT_LIST, pack (""), IM_NBD_REP_ERR_TLS_REQD);
  assert_answer (&talk, IM_NBD_OPT_GO, pack ("s2", "", 0), IM_NBD_REP_ERR_TLS_REQD);
  assert_answer (&talk, IM_NBD_OPT_STRUCTURED_REPLY, pack (""), IM_NBD_REP_ERR_TLS_REQD);
  assert_answer (&talk, 4, pack ("z", "peek"), IM_NBD_REP_ERR_TLS_REQD);
  assert_answer (&talk, IM_NBD_OPT_STARTTLS, pack ("z", "x"), IM_NBD_REP_ERR_INVALID);
  g_assert_cmpint (talk_option (&talk, IM_NBD_OPT_EXPORT_NAME, pack ("")), ==,
                   IM_NBD_STEP_CLOSE);
  g_assert_cmpint (talk_option (&talk, IM_NBD_OPT_ABORT, pack ("")), ==,
                   IM_NBD_STEP_CLOSE);
  talk_reply (&talk, IM_NBD_OPT_ABORT, IM_NBD_REP_ACK, NULL);
  assert_nothing_more (&talk);
}

static void
test_tls_forgets (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  assert_answer (&talk, IM_NBD_OPT_EXTENDED_HEADERS, pack (""), IM_NBD_REP_ACK);
  /* Nothing that was agreed on in the clear may hold, however it came about. */
  talk.handshake.tls_required = true;
  g_assert_cmpint (talk_option (&talk, IM_NBD_OPT_STARTTLS, pack ("")), ==,
                   IM_NBD_STEP_TLS);
  talk_reply (&talk, IM_NBD_OPT_STARTTLS, IM_NBD_REP_ACK, NULL);
  assert_answer (&talk, IM_NBD_OPT_STARTTLS, pack (""), IM_NBD_REP_ERR_INVALID);
  assert_answer (&talk, IM_NBD_OPT_SET_META_CONTEXT, pack ("s4", "", 0),
                 IM_NBD_REP_ERR_INVALID);
  assert_answer (&talk, IM_NBD_OPT_STRUCTURED_REPLY, pack (""), IM_NBD_REP_ACK);
}

static void
test_tls_needs_fixed_newstyle (void)
{
  g_auto (Talk) talk = {0};
  const uint8_t flags[4] = {0, 0, 0, 2};
  size_t used;
  talk.out = g_byte_array_new ();
  im_nbd_handshake_init (&talk.handshake, fixture_host ()->exports, talk.out);
  talk.handshake.tls_required = true;
  g_assert_cmpint (im_nbd_handshake_step (&talk.handshake, flags, 4, &used, talk.out), ==,
                   IM_NBD_STEP_CLOSE);
}

static void
test_malformed_info (void)
{
  g_autofree char *long_name = g_strnfill (IM_NBD_STRING_MAX + 1, 'x');
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  GByteArray *cases[] = {
      pack (""),
      pack ("2", 0),
      pack ("4z2", 3, "p1", 0),          /* the name swallows the count */
      pack ("4z2", 0xffffffff, "p1", 0), /* and everything */
      pack ("s", "p1"),                  /* no count */
      pack ("s2", "p1", 1),              /* a type is missing */
      pack ("s222", "p1", 1, 3, 3),      /* one too many */
      pack ("s2", "\xff", 0),            /* not UTF-8 */
      pack ("s2", long_name, 0),
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    assert_answer (&talk, i % 2 ? IM_NBD_OPT_INFO : IM_NBD_OPT_GO, cases[i],
                   IM_NBD_REP_ERR_INVALID);
}

static void
test_unknown_export (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  assert_answer (&talk, IM_NBD_OPT_INFO, pack ("s2", "nope", 0), IM_NBD_REP_ERR_UNKNOWN);
  assert_answer (&talk, IM_NBD_OPT_GO, pack ("s2", "nope", 0), IM_NBD_REP_ERR_UNKNOWN);
  assert_answer (&talk, IM_NBD_OPT_STRUCTURED_REPLY, pack (""), IM_NBD_REP_ACK);
  assert_answer (&talk, IM_NBD_OPT_SET_META_CONTEXT, pack ("s4", "nope", 0),
                 IM_NBD_REP_ERR_UNKNOWN);
}

/* The information that comes first and unasked. */
static void
assert_info_export (Talk *talk, uint32_t number, uint64_t size)
{
  size_t n;
  const uint8_t *data = talk_reply (talk, number, IM_NBD_REP_INFO, &n);
  g_assert_cmpuint (n, ==, 12);
  g_assert_cmpuint (im_get_be16 (data), ==, IM_NBD_INFO_EXPORT);
  g_assert_cmpuint (im_get_be64 (data + 2), ==, size);
}

static void
test_info (void)
{
  g_auto (Talk) talk = {0};
  size_t n;
  talk_begin (&talk);
  /* Twice the same, one unknown: each once, the unknown not at all. */
  g_assert_cmpint (talk_option (&talk, IM_NBD_OPT_INFO,
                                pack ("s2222222", "p1", 6, 3, 2, 1, 9, 3, 0xffff)),
                   ==, IM_NBD_STEP_AGAIN);
  assert_info_export (&talk, IM_NBD_OPT_INFO, 1 << 20);
  const uint8_t *data = talk_reply (&talk, IM_NBD_OPT_INFO, IM_NBD_REP_INFO, &n);
  g_assert_cmpmem (data, n, "\0\1p1", 4);
  data = talk_reply (&talk, IM_NBD_OPT_INFO, IM_NBD_REP_INFO, &n);
  g_assert_cmpmem (data, n, "\0\2the first", 11);
  data = talk_reply (&talk, IM_NBD_OPT_INFO, IM_NBD_REP_INFO, &n);
  g_assert_cmpmem (data, n, "\0\3\0\0\0\1\0\0\x10\0\2\0\0\0", 14);
  talk_reply (&talk, IM_NBD_OPT_INFO, IM_NBD_REP_ACK, NULL);
  assert_nothing_more (&talk);
  g_assert_null (talk.handshake.chosen);
}

static void
test_go (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  g_assert_cmpint (talk_option (&talk, IM_NBD_OPT_GO, pack ("s2", "", 0)), ==,
                   IM_NBD_STEP_GO);
  assert_info_export (&talk, IM_NBD_OPT_GO, DISK_SIZE);
  talk_reply (&talk, IM_NBD_OPT_GO, IM_NBD_REP_ACK, NULL);
  assert_nothing_more (&talk);
  g_assert_cmpuint (talk.handshake.session.size, ==, DISK_SIZE);
  g_assert_false (talk.handshake.session.flags & IM_NBD_FLAG_SEND_DF);
}

static void
test_extended_headers_win (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  assert_answer (&talk, IM_NBD_OPT_STRUCTURED_REPLY, pack (""), IM_NBD_REP_ACK);
  assert_answer (&talk, IM_NBD_OPT_EXTENDED_HEADERS, pack (""), IM_NBD_REP_ACK);
  assert_answer (&talk, IM_NBD_OPT_STRUCTURED_REPLY, pack (""),
                 IM_NBD_REP_ERR_EXT_HEADER_REQD);
  g_assert_cmpint (talk.handshake.session.mode, ==, IM_NBD_MODE_EXTENDED);
  g_assert_cmpint (talk_option (&talk, IM_NBD_OPT_EXPORT_NAME, pack ("")), ==,
                   IM_NBD_STEP_CLOSE);
}

static void
test_contexts_need_structured_replies (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  assert_answer (&talk, IM_NBD_OPT_LIST_META_CONTEXT, pack ("s4", "", 0),
                 IM_NBD_REP_ERR_INVALID);
  assert_answer (&talk, IM_NBD_OPT_SET_META_CONTEXT,
                 pack ("s4s", "", 1, "base:allocation"), IM_NBD_REP_ERR_INVALID);
}

/* Sends an option that must be answered by base:allocation and nothing else. */
static void
assert_allocation (Talk *talk, uint32_t number, GByteArray *data)
{
  size_t n;
  g_assert_cmpint (talk_option (talk, number, data), ==, IM_NBD_STEP_AGAIN);
  const uint8_t *reply = talk_reply (talk, number, IM_NBD_REP_META_CONTEXT, &n);
  g_assert_cmpmem (reply, n, "\0\0\0\0base:allocation", 19);
  talk_reply (talk, number, IM_NBD_REP_ACK, NULL);
  assert_nothing_more (talk);
}

static void
test_list_contexts (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  talk.handshake.session.mode = IM_NBD_MODE_STRUCTURED;
  const uint32_t list = IM_NBD_OPT_LIST_META_CONTEXT;
  assert_allocation (&talk, list, pack ("s4", "", 0));
  assert_allocation (&talk, list, pack ("s4s", "", 1, "base:"));
  assert_allocation (&talk, list,
                     pack ("s4sss", "", 3, "qemu:", "base:allocation", "base:"));
  assert_answer (&talk, list, pack ("s4s", "", 1, "qemu:"), IM_NBD_REP_ACK);
  assert_answer (&talk, list, pack ("s4s", "", 1, "nonsense"), IM_NBD_REP_ACK);
}

static void
test_malformed_queries (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  talk.handshake.session.mode = IM_NBD_MODE_STRUCTURED;
  GByteArray *cases[] = {
      pack (""),
      pack ("s", ""),
      pack ("s4s", "", 2, "base:"),
      pack ("s4ss", "", 1, "base:", "base:"),
      pack ("s4", "", 0xffffffff),
      pack ("s44z", "", 1, 9, "base:"),
      pack ("s4s", "", 1, "\xff:"),
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++)
    assert_answer (&talk,
                   i % 2 ? IM_NBD_OPT_LIST_META_CONTEXT : IM_NBD_OPT_SET_META_CONTEXT,
                   cases[i], IM_NBD_REP_ERR_INVALID);
}

static void
go (Talk *talk, const char *name)
{
  g_assert_cmpint (talk_option (talk, IM_NBD_OPT_GO, pack ("s2", name, 0)), ==,
                   IM_NBD_STEP_GO);
}

static void
test_set_context_is_for_one_export (void)
{
  const uint32_t set = IM_NBD_OPT_SET_META_CONTEXT;
  for (int other = 0; other < 2; other++) {
    g_auto (Talk) talk = {0};
    talk_begin (&talk);
    talk.handshake.session.mode = IM_NBD_MODE_STRUCTURED;
    assert_allocation (&talk, set,
                       pack ("s4ss", "p1", 2, "base:allocation", "base:allocation"));
    go (&talk, other ? "" : "p1");
    g_assert_cmphex (talk.handshake.session.contexts, ==, other ? 0 : 1);
  }
}

static void
test_set_context_forgets_the_former (void)
{
  const uint32_t set = IM_NBD_OPT_SET_META_CONTEXT;
  for (int i = 0; i < 3; i++) {
    g_auto (Talk) talk = {0};
    talk_begin (&talk);
    talk.handshake.session.mode = IM_NBD_MODE_STRUCTURED;
    assert_allocation (&talk, set, pack ("s4s", "", 1, "base:allocation"));
    if (i == 0)
      assert_answer (&talk, set, pack ("s4s", "", 1, "base:"), IM_NBD_REP_ACK);
    else if (i == 1)
      assert_answer (&talk, set, pack ("s4", "", 0), IM_NBD_REP_ACK);
    else
      assert_answer (&talk, set, pack ("s", ""), IM_NBD_REP_ERR_INVALID);
    go (&talk, "");
    g_assert_cmphex (talk.handshake.session.contexts, ==, 0);
  }
}

static void
test_bad_magic_closes (void)
{
  g_auto (Talk) talk = {0};
  uint8_t wire[16] = "IHAVEOPX";
  size_t used;
  talk_begin (&talk);
  g_assert_cmpint (im_nbd_handshake_step (&talk.handshake, wire, 16, &used, talk.out), ==,
                   IM_NBD_STEP_CLOSE);
}

static void
test_too_long_an_option_closes (void)
{
  g_auto (Talk) talk = {0};
  uint8_t wire[16] = "IHAVEOPT";
  size_t used;
  talk_begin (&talk);
  im_put_be32 (wire + 8, 99);
  im_put_be32 (wire + 12, IM_NBD_OPTION_MAX);
  g_assert_cmpint (im_nbd_handshake_step (&talk.handshake, wire, 16, &used, talk.out), ==,
                   IM_NBD_STEP_MORE);
  im_put_be32 (wire + 12, IM_NBD_OPTION_MAX + 1);
  g_assert_cmpint (im_nbd_handshake_step (&talk.handshake, wire, 16, &used, talk.out), ==,
                   IM_NBD_STEP_CLOSE);
}

static void
test_too_many_options_close (void)
{
  g_auto (Talk) talk = {0};
  talk_begin (&talk);
  for (unsigned i = 0; i < IM_NBD_OPTIONS_MAX; i++)
    assert_answer (&talk, 99, pack (""), IM_NBD_REP_ERR_UNSUP);
  g_assert_cmpint (talk_option (&talk, 99, pack ("")), ==, IM_NBD_STEP_CLOSE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, function) g_test_add_func ("/nbd/handshake/" path, function)
  ADD ("greeting", test_greeting);
  ADD ("unknown-client-flags-close", test_unknown_client_flags_close);
  ADD ("export-name", test_export_name);
  ADD ("export-name-pads-for-old-clients", test_export_name_pads_for_old_clients);
  ADD ("export-name-that-cannot-be-closes", test_export_name_that_cannot_be_closes);
  ADD ("abort-is-acknowledged", test_abort_is_acknowledged);
  ADD ("list", test_list);
  ADD ("refusals", test_refusals);
  ADD ("tls-required", test_tls_required);
  ADD ("tls-forgets", test_tls_forgets);
  ADD ("tls-needs-fixed-newstyle", test_tls_needs_fixed_newstyle);
  ADD ("malformed-info", test_malformed_info);
  ADD ("unknown-export", test_unknown_export);
  ADD ("info", test_info);
  ADD ("go", test_go);
  ADD ("extended-headers-win", test_extended_headers_win);
  ADD ("contexts-need-structured-replies", test_contexts_need_structured_replies);
  ADD ("list-contexts", test_list_contexts);
  ADD ("malformed-queries", test_malformed_queries);
  ADD ("set-context-is-for-one-export", test_set_context_is_for_one_export);
  ADD ("set-context-forgets-the-former", test_set_context_forgets_the_former);
  ADD ("bad-magic-closes", test_bad_magic_closes);
  ADD ("too-long-an-option-closes", test_too_long_an_option_closes);
  ADD ("too-many-options-close", test_too_many_options_close);
#undef ADD
  return g_test_run ();
}
