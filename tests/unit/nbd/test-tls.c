/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS: who may connect, files of keys, and two ends of an encrypted stream. */
#include "base/error.h"
#include "config.h"
#include "fixture.h"
#include "nbd/nbd-authz.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAME "C=GB,O=Some,CN=one"

static void
test_authz_rules_in_order (void)
{
  g_autoptr (ImNbdAuthz) authz = im_nbd_authz_new ();
  g_assert_false (im_nbd_authz_allows (authz, NAME, NULL));
  *im_nbd_authz_add (authz) = (ImNbdAuthzRule){g_strdup (NAME), false, true};
  *im_nbd_authz_add (authz) = (ImNbdAuthzRule){g_strdup ("C=GB,*"), true, false};
  *im_nbd_authz_add (authz) = (ImNbdAuthzRule){g_strdup ("*"), false, true};
  authz->allow_others = true;
  g_assert_true (im_nbd_authz_allows (authz, NAME, NULL));
  g_assert_false (im_nbd_authz_allows (authz, NAME "x", NULL));
  g_assert_true (im_nbd_authz_allows (authz, "C=DE", NULL));
  authz->allow_others = false;
  g_assert_false (im_nbd_authz_allows (authz, "C=DE", NULL));
  g_assert_true (im_nbd_authz_allows (authz, "*", NULL));
}

#if HAVE_GNUTLS
#include "nbd/nbd-psk.h"

static void
test_psk_lines (void)
{
  static const char text[] = "one:00ff\r\n\ntwo:0A\none:11\n#6100:bb";
  g_autoptr (GError) error = NULL;
  g_autoptr (ImNbdPskKeys) keys = im_nbd_psk_parse (text, strlen (text), &error);
  g_assert_no_error (error);
  gsize n;
  const void *key = g_bytes_get_data (im_nbd_psk_find (keys, "one", 3), &n);
  g_assert_cmpmem (key, n, "\0\xff", 2);
  key = g_bytes_get_data (im_nbd_psk_find (keys, "two", 3), &n);
  g_assert_cmpmem (key, n, "\n", 1);
  key = g_bytes_get_data (im_nbd_psk_find (keys, "a\0", 2), &n);
  g_assert_cmpmem (key, n, "\xbb", 1);
  g_assert_null (im_nbd_psk_find (keys, "a", 1));
  g_assert_null (im_nbd_psk_find (keys, "", 0));
}

static void
test_psk_rubbish (void)
{
  static const char *const cases[] = {
      "",       "\n\n",    "one",    "one:",      "one:0",
      "one:0g", ":00",     "#:00",   "#6:00",     "one:00\nx",
      "#xx:00", "one:00 ", " :0 0 ", "one:00:11", "one:0\n00",
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_assert_null (im_nbd_psk_parse (cases[i], strlen (cases[i]), &error));
    g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
    g_assert_null (strstr (error->message, "0g"));
  }
  g_autofree char *zeros = g_strnfill (1026, '0');
  g_autofree char *line = g_strconcat ("one:", zeros, NULL);
  g_assert_null (im_nbd_psk_parse (line, strlen (line), NULL));
}

static const char *keys_path;

static ImNbdTls *
new_tls (bool client, const char *username)
{
  g_autoptr (GError) error = NULL;
  ImNbdTlsOptions options = {
      .client = client, .pre_shared = true, .psk_file = keys_path, .username = username};
  ImNbdTls *tls = im_nbd_tls_new (&options, &error);
  g_assert_no_error (error);
  return tls;
}

static void
test_missing_file_is_named (void)
{
  g_autoptr (GError) error = NULL;
  ImNbdTlsOptions options = {.pre_shared = true, .dir = "/nonexistent"};
  g_assert_null (im_nbd_tls_new (&options, &error));
  g_assert_nonnull (strstr (error->message, "/nonexistent/keys.psk"));
}

static void
test_bad_priority_is_named (void)
{
  g_autoptr (GError) error = NULL;
  ImNbdTlsOptions options = {
      .pre_shared = true, .psk_file = keys_path, .priority = "NORMAL:+NO-SUCH"};
  g_assert_null (im_nbd_tls_new (&options, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
  g_assert_nonnull (strstr (error->message, "NO-SUCH"));
}

/* Both ends of a stream on which TLS has begun. */
typedef struct {
  ImNbdTls *tls[2];
  ImNbdStream end[2]; /* the server, the client */
} Pair;

static void
pair_open (Pair *pair)
{
  int fds[2];
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  for (int i = 0; i < 2; i++) {
    pair->tls[i] = new_tls (i == 1, "one");
    im_nbd_stream_init (&pair->end[i], fds[i]);
    g_assert_true (im_nbd_stream_start_tls (&pair->end[i], pair->tls[i], NULL, NULL));
  }
  short events[2] = {POLLIN, POLLIN};
  while (events[0] || events[1])
    for (int i = 0; i < 2; i++) {
      g_autoptr (GError) error = NULL;
      if (events[i])
        im_nbd_stream_shake_hands (&pair->end[i], &events[i], &error);
      g_assert_no_error (error);
    }
}

static void
pair_close (Pair *pair)
{
  for (int i = 0; i < 2; i++) {
    im_nbd_stream_close (&pair->end[i]);
    im_nbd_tls_free (pair->tls[i]);
  }
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Pair, pair_close)

/* The byte at AT of what end I sends. */
static uint8_t
byte_at (int i, size_t at)
{
  return (uint8_t)(at * 31 + at / 4096 + (size_t)i);
}

enum { TOTAL = 6 << 20 };

typedef struct {
  Pair *pair;
  int i;
} Side;

/* Sends all in many small pieces and some large ones, as queues of replies are. */
static void *
send_all (void *data)
{
  Side *side = data;
  g_autofree uint8_t *bytes = g_malloc (TOTAL);
  for (size_t at = 0; at < TOTAL; at++)
    bytes[at] = byte_at (side->i, at);
  ImNbdStream *stream = &side->pair->end[side->i];
  for (size_t at = 0, sent; at < TOTAL; at += sent) {
    size_t left = TOTAL - at, first = MIN (left, 1 + at % 40),
           second = MIN (left - first, at % 3 ? 5000 : 300000);
    struct iovec iov[3] = {{bytes + at, first}, {NULL, 0}, {bytes + at + first, second}};
    ssize_t n;
    while ((n = im_nbd_stream_send (stream, iov, 3, false)) < 0) {
      g_assert_cmpint (errno, ==, EAGAIN);
      poll (&(struct pollfd){.fd = stream->fd, .events = POLLOUT}, 1, -1);
    }
    g_assert_cmpint (n, >, 0);
    g_assert_cmpint (n, <=, (ssize_t)(first + second));
    sent = (size_t)n;
  }
  return NULL;
}

static void *
receive_all (void *data)
{
  Side *side = data;
  uint8_t buf[70000];
  for (size_t at = 0; at < TOTAL;) {
    size_t wanted = MIN (1 + at % sizeof buf, TOTAL - at);
    ssize_t n = im_nbd_stream_receive (&side->pair->end[side->i], buf, wanted, true);
    if (n < 0 && errno == EAGAIN)
      continue;
    g_assert_cmpint (n, >, 0);
    for (ssize_t i = 0; i < n; i++)
      g_assert_cmpuint (buf[i], ==, byte_at (!side->i, at + (size_t)i));
    at += (size_t)n;
  }
  return NULL;
}

static void
test_both_ways_at_once (void)
{
  g_auto (Pair) pair = {0};
  pair_open (&pair);
  g_assert_false (pair.end[0].can_send_files);
  Side sides[2] = {{&pair, 0}, {&pair, 1}};
  pthread_t threads[4];
  for (int i = 0; i < 4; i++)
    g_assert_cmpint (
        pthread_create (&threads[i], NULL, i < 2 ? send_all : receive_all, &sides[i % 2]),
        ==, 0);
  for (int i = 0; i < 4; i++)
    pthread_join (threads[i], NULL);
}

static void
test_end (void)
{
  g_auto (Pair) pair = {0};
  uint8_t byte;
  pair_open (&pair);
  g_assert_cmpint (im_nbd_stream_receive (&pair.end[1], &byte, 1, false), ==, -1);
  g_assert_cmpint (errno, ==, EAGAIN);
  im_nbd_stream_finish (&pair.end[0]);
  g_assert_cmpint (im_nbd_stream_receive (&pair.end[1], &byte, 1, true), ==, 0);
  /* Without a word it is an end too. */
  im_nbd_stream_cut (&pair.end[1]);
  g_assert_cmpint (im_nbd_stream_receive (&pair.end[0], &byte, 1, true), ==, 0);
  struct iovec iov = {&byte, 1};
  g_assert_cmpint (im_nbd_stream_send (&pair.end[0], &iov, 1, false), ==, -1);
}

/* What end 0 finds where end 1 breaks the rules. */
static void
test_rubbish_in_the_stream (void)
{
  g_auto (Pair) pair = {0};
  uint8_t byte;
  pair_open (&pair);
  g_assert_cmpint (
      send (pair.end[1].fd, "\x17\x03\x03\0\x20rubbish, and more of it, and more", 37, 0),
      ==, 37);
  g_assert_cmpint (im_nbd_stream_receive (&pair.end[0], &byte, 1, true), ==, -1);
  g_assert_cmpint (errno, ==, ECONNRESET);
  g_assert_cmpint (im_nbd_stream_receive (&pair.end[0], &byte, 1, true), ==, -1);
}

static void
test_unknown_user (void)
{
  g_autoptr (ImNbdTls) server = new_tls (false, NULL);
  g_autofree char *other = g_strconcat (keys_path, ".other", NULL);
  g_assert_true (g_file_set_contents (other, "two:0011\n", -1, NULL));
  const char *path = keys_path;
  keys_path = other;
  g_autoptr (ImNbdTls) client = new_tls (true, "two");
  keys_path = path;
  const ImNbdTls *tls[2] = {server, client};
  int fds[2];
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  ImNbdStream ends[2];
  for (int i = 0; i < 2; i++) {
    im_nbd_stream_init (&ends[i], fds[i]);
    g_assert_true (im_nbd_stream_start_tls (&ends[i], tls[i], NULL, NULL));
  }
  bool ok = true;
  short events;
  for (int turn = 0; turn < 10 && ok; turn++)
    ok = im_nbd_stream_shake_hands (&ends[!(turn % 2)], &events, NULL);
  g_assert_false (ok);
  im_nbd_stream_close (&ends[0]);
  im_nbd_stream_close (&ends[1]);
  g_unlink (other);
}
#else

static void
test_absent (void)
{
  g_autoptr (GError) error = NULL;
  ImNbdTlsOptions options = {.pre_shared = true, .psk_file = "/nonexistent"};
  g_assert_null (im_nbd_tls_new (&options, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, "GnuTLS"));
}
#endif

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/nbd/authz/first-rule-that-matches-decides",
                   test_authz_rules_in_order);
#if HAVE_GNUTLS
  int fd = g_file_open_tmp ("imgmount-test-XXXXXX.psk", (char **)&keys_path, NULL);
  g_assert_cmpint (write (fd, "one:00112233\n", 13), ==, 13);
  close (fd);
  g_test_add_func ("/nbd/psk/lines", test_psk_lines);
  g_test_add_func ("/nbd/psk/rubbish-is-an-error", test_psk_rubbish);
  g_test_add_func ("/nbd/tls/missing-file-is-named", test_missing_file_is_named);
  g_test_add_func ("/nbd/tls/bad-priority-is-named", test_bad_priority_is_named);
  g_test_add_func ("/nbd/tls/both-ways-at-once", test_both_ways_at_once);
  g_test_add_func ("/nbd/tls/end", test_end);
  g_test_add_func ("/nbd/tls/rubbish-breaks-it", test_rubbish_in_the_stream);
  g_test_add_func ("/nbd/tls/unknown-user-is-not-let-in", test_unknown_user);
  int status = g_test_run ();
  g_unlink (keys_path);
  g_free ((char *)keys_path);
  return status;
#else
  g_test_add_func ("/nbd/tls/absent-says-so", test_absent);
  return g_test_run ();
#endif
}
