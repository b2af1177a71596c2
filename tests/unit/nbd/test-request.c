/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests: decoding, and every check by table. */
#include "base/bytes.h"
#include "nbd/nbd-request.h"
#include <errno.h>
#include <glib.h>

#define GIB (UINT64_C (1) << 30)

enum {
  READ = IM_NBD_CMD_READ,
  WRITE = IM_NBD_CMD_WRITE,
  DISC = IM_NBD_CMD_DISC,
  FLUSH = IM_NBD_CMD_FLUSH,
  TRIM = IM_NBD_CMD_TRIM,
  CACHE = IM_NBD_CMD_CACHE,
  ZEROES = IM_NBD_CMD_WRITE_ZEROES,
  STATUS = IM_NBD_CMD_BLOCK_STATUS,
};

enum {
  RO = IM_NBD_FLAG_HAS_FLAGS | IM_NBD_FLAG_READ_ONLY | IM_NBD_FLAG_SEND_FLUSH |
       IM_NBD_FLAG_SEND_FUA | IM_NBD_FLAG_SEND_CACHE | IM_NBD_FLAG_SEND_DF,
  RW = IM_NBD_FLAG_HAS_FLAGS | IM_NBD_FLAG_SEND_FLUSH | IM_NBD_FLAG_SEND_FUA |
       IM_NBD_FLAG_SEND_TRIM | IM_NBD_FLAG_SEND_WRITE_ZEROES | IM_NBD_FLAG_SEND_CACHE |
       IM_NBD_FLAG_SEND_DF,
  BARE = IM_NBD_FLAG_HAS_FLAGS,
};

enum {
  FUA = IM_NBD_CMD_FLAG_FUA,
  DF = IM_NBD_CMD_FLAG_DF,
  ONE = IM_NBD_CMD_FLAG_REQ_ONE,
  NO_HOLE = IM_NBD_CMD_FLAG_NO_HOLE,
  FAST = IM_NBD_CMD_FLAG_FAST_ZERO,
  PAYLOAD = IM_NBD_CMD_FLAG_PAYLOAD_LEN,
};

static const struct {
  const char *name;
  uint16_t session_flags;
  uint16_t type, flags;
  uint64_t offset, length;
  uint32_t error;
} cases[] = {
    {"read", RO, READ, 0, 0, 4096, 0},
    {"read-with-df-and-fua", RO, READ, DF | FUA, 0, 4096, 0},
    {"read-nothing", RO, READ, 0, 8 * GIB, 0, 0},
    {"read-32-mib", RO, READ, 0, 0, 32 << 20, 0},
    {"read-more", RO, READ, 0, 0, (32 << 20) + 1, IM_NBD_EINVAL},
    {"read-more-with-df", RO, READ, DF, 0, (32 << 20) + 1, IM_NBD_EOVERFLOW},
    {"read-last-byte", RO, READ, 0, 8 * GIB - 1, 1, 0},
    {"read-past-the-end", RO, READ, 0, 8 * GIB - 1, 2, IM_NBD_EINVAL},
    {"read-at-2^64-1", RO, READ, 0, UINT64_MAX, 1, IM_NBD_EINVAL},
    {"read-sum-wraps", RO, READ, 0, UINT64_MAX - 1, 4096, IM_NBD_EINVAL},
    {"read-with-df-not-offered", BARE, READ, DF, 0, 512, IM_NBD_EINVAL},
    {"read-with-fua-not-offered", BARE, READ, FUA, 0, 512, IM_NBD_EINVAL},
    {"read-with-no-hole", RO, READ, NO_HOLE, 0, 512, IM_NBD_EINVAL},
    {"read-with-unknown-flag", RO, READ, 1 << 9, 0, 512, IM_NBD_EINVAL},
    {"read-with-payload", RO, READ, PAYLOAD, 0, 512, IM_NBD_EINVAL},
    {"write-read-only", RO, WRITE, 0, 0, 512, IM_NBD_EPERM},
    {"write-read-only-past-the-end", RO, WRITE, 0, 8 * GIB, 512, IM_NBD_EPERM},
    {"zeroes-read-only", RO, ZEROES, 0, 0, 512, IM_NBD_EPERM},
    {"trim-read-only", RO, TRIM, 0, 0, 512, IM_NBD_EPERM},
    {"fast-zero-read-only", RO, ZEROES, FAST, 0, 512, IM_NBD_EINVAL},
    {"write", RW, WRITE, FUA, 0, 512, 0},
    {"write-past-the-end", RW, WRITE, 0, 8 * GIB, 1, IM_NBD_ENOSPC},
    {"write-sum-wraps", RW, WRITE, 0, UINT64_MAX, 512, IM_NBD_ENOSPC},
    {"write-more-than-32-mib", RW, WRITE, 0, 0, (32 << 20) + 1, IM_NBD_EINVAL},
    {"zeroes", RW, ZEROES, NO_HOLE, 0, 4 * GIB - 1, 0},
    {"zeroes-past-the-end", RW, ZEROES, 0, 8 * GIB - 1, 2, IM_NBD_ENOSPC},
    {"fast-zero-not-offered", RW, ZEROES, FAST, 0, 512, IM_NBD_EINVAL},
    {"fast-zero", RW | IM_NBD_FLAG_SEND_FAST_ZERO, ZEROES, FAST, 0, 512, 0},
    {"trim", RW, TRIM, 0, 0, 4 * GIB - 1, 0},
    {"trim-past-the-end", RW, TRIM, 0, 8 * GIB, 1, IM_NBD_EINVAL},
    {"trim-not-offered", BARE, TRIM, 0, 0, 512, IM_NBD_EINVAL},
    {"zeroes-not-offered", BARE, ZEROES, 0, 0, 512, IM_NBD_EINVAL},
    {"flush", RO, FLUSH, 0, 0, 0, 0},
    {"flush-of-a-range", RO, FLUSH, 0, 0, 512, IM_NBD_EINVAL},
    {"flush-at-an-offset", RO, FLUSH, 0, 512, 0, IM_NBD_EINVAL},
    {"flush-not-offered", BARE, FLUSH, 0, 0, 0, IM_NBD_EINVAL},
    {"cache", RO, CACHE, 0, 0, 4 * GIB - 1, 0},
    {"cache-past-the-end", RO, CACHE, 0, 8 * GIB, 1, IM_NBD_EINVAL},
    {"cache-not-offered", BARE, CACHE, 0, 0, 512, IM_NBD_EINVAL},
    {"status", RO, STATUS, 0, 0, 0xffffffff, 0},
    {"status-of-one", RO, STATUS, ONE, 0, 4096, 0},
    {"status-of-nothing", RO, STATUS, 0, 0, 0, IM_NBD_EINVAL},
    {"status-past-the-end", RO, STATUS, 0, 8 * GIB - 1, 2, IM_NBD_EINVAL},
    {"status-with-df", RO, STATUS, DF, 0, 4096, IM_NBD_EINVAL},
    {"resize", RO, 8, 0, 0, 4096, IM_NBD_EINVAL},
    {"unknown", RO, 0xffff, 0, 0, 4096, IM_NBD_EINVAL},
    {"disc", RO, DISC, 0, 0, 0, 0},
};

static void
test_check (gconstpointer data)
{
  size_t i = GPOINTER_TO_SIZE (data);
  for (ImNbdMode mode = IM_NBD_MODE_STRUCTURED; mode <= IM_NBD_MODE_EXTENDED; mode++) {
    const ImNbdSession session = {8 * GIB, cases[i].session_flags, mode, 1};
    ImNbdRequest request = {.type = cases[i].type,
                            .flags = cases[i].flags,
                            .offset = cases[i].offset,
                            .length = cases[i].length,
                            .contexts = 1};
    if (mode == IM_NBD_MODE_EXTENDED && request.type == WRITE) {
      request.flags |= PAYLOAD;
      request.payload = request.length;
    }
    ImNbdVerdict verdict = im_nbd_request_check (&request, &session);
    g_assert_cmpuint (verdict.error, ==, cases[i].error);
    g_assert_cmpint (verdict.reason != NULL, ==, verdict.error != 0);
  }
}

static void
test_status_needs_a_context (void)
{
  const ImNbdSession session = {GIB, RO, IM_NBD_MODE_STRUCTURED, 0};
  const ImNbdRequest request = {.type = STATUS, .length = 512};
  g_assert_cmpuint (im_nbd_request_check (&request, &session).error, ==, IM_NBD_EINVAL);
}

static void
test_extended_write_needs_payload (void)
{
  const ImNbdSession session = {GIB, RW, IM_NBD_MODE_EXTENDED, 0};
  const ImNbdRequest request = {.type = WRITE, .length = 512};
  g_assert_cmpuint (im_nbd_request_check (&request, &session).error, ==, IM_NBD_EINVAL);
}

static void
put_request (uint8_t *p, uint32_t magic, uint16_t flags, uint16_t type)
{
  im_put_be32 (p, magic);
  im_put_be16 (p + 4, flags);
  im_put_be16 (p + 6, type);
  im_put_be64 (p + 8, 0x1122334455667788);
  im_put_be64 (p + 16, 0x99aabbccddeeff00);
  im_put_be64 (p + 24, 0x8000000000000001);
}

static void
test_decode_compact (void)
{
  const ImNbdSession session = {.mode = IM_NBD_MODE_STRUCTURED, .contexts = 1};
  uint8_t wire[32];
  ImNbdRequest request;
  put_request (wire, IM_NBD_REQUEST_MAGIC, 5, WRITE);
  g_assert_true (im_nbd_request_decode (wire, &session, &request));
  g_assert_cmpuint (request.flags, ==, 5);
  g_assert_cmpuint (request.type, ==, WRITE);
  g_assert_cmphex (request.cookie, ==, 0x1122334455667788);
  g_assert_cmphex (request.offset, ==, 0x99aabbccddeeff00);
  g_assert_cmphex (request.length, ==, 0x80000000);
  g_assert_cmphex (request.payload, ==, 0x80000000);
  /* Only a write carries anything. */
  put_request (wire, IM_NBD_REQUEST_MAGIC, PAYLOAD, READ);
  g_assert_true (im_nbd_request_decode (wire, &session, &request));
  g_assert_cmphex (request.payload, ==, 0);
}

static void
test_decode_extended (void)
{
  const ImNbdSession session = {.mode = IM_NBD_MODE_EXTENDED};
  uint8_t wire[32];
  ImNbdRequest request;
  put_request (wire, IM_NBD_EXTENDED_REQUEST_MAGIC, 0, TRIM);
  g_assert_true (im_nbd_request_decode (wire, &session, &request));
  g_assert_cmphex (request.length, ==, 0x8000000000000001);
  g_assert_cmphex (request.payload, ==, 0);
  put_request (wire, IM_NBD_EXTENDED_REQUEST_MAGIC, PAYLOAD, READ);
  g_assert_true (im_nbd_request_decode (wire, &session, &request));
  g_assert_cmphex (request.payload, ==, 0x8000000000000001);
}

static void
test_decode_wrong_magic (void)
{
  static const ImNbdMode modes[] = {IM_NBD_MODE_SIMPLE, IM_NBD_MODE_STRUCTURED,
                                    IM_NBD_MODE_EXTENDED};
  for (size_t i = 0; i < G_N_ELEMENTS (modes); i++) {
    const ImNbdSession session = {.mode = modes[i]};
    bool extended = modes[i] == IM_NBD_MODE_EXTENDED;
    uint8_t wire[32];
    ImNbdRequest request;
    put_request (wire, extended ? IM_NBD_REQUEST_MAGIC : IM_NBD_EXTENDED_REQUEST_MAGIC, 0,
                 READ);
    g_assert_false (im_nbd_request_decode (wire, &session, &request));
  }
}

/* A filter of LENGTH bytes: eight of length, then ids. */
static uint32_t
take_filter (const uint8_t *payload, uint64_t length, ImNbdRequest *request)
{
  const ImNbdSession session = {.size = GIB,
                                .flags = RO | IM_NBD_FLAG_BLOCK_STATUS_PAYLOAD,
                                .mode = IM_NBD_MODE_EXTENDED,
                                .contexts = 0x5};
  *request = (ImNbdRequest){.type = STATUS, .flags = PAYLOAD, .payload = length};
  g_assert_true (im_nbd_request_has_filter (request, &session));
  return im_nbd_request_take_filter (request, &session, payload).error;
}

static void
test_filter (void)
{
  uint8_t payload[IM_NBD_FILTER_MAX + 4] = {0};
  ImNbdRequest request;
  im_put_be64 (payload, 0x100000000);
  im_put_be32 (payload + 8, 2);
  g_assert_cmpuint (take_filter (payload, 12, &request), ==, 0);
  g_assert_cmphex (request.length, ==, 0x100000000);
  g_assert_cmphex (request.contexts, ==, 0x4);
  g_assert_cmpuint (take_filter (payload, 16, &request), ==, 0);
  g_assert_cmphex (request.contexts, ==, 0x5);
  g_assert_cmpuint (take_filter (payload, 8, &request), ==, IM_NBD_EINVAL);
  g_assert_cmpuint (take_filter (payload, 13, &request), ==, IM_NBD_EINVAL);
  g_assert_cmpuint (take_filter (payload, sizeof payload, &request), ==, IM_NBD_EINVAL);
  im_put_be32 (payload + 12, 2);
  g_assert_cmpuint (take_filter (payload, 16, &request), ==, IM_NBD_EINVAL);
  im_put_be32 (payload + 12, 1);
  g_assert_cmpuint (take_filter (payload, 16, &request), ==, IM_NBD_EINVAL);
  im_put_be32 (payload + 12, 0xffffffff);
  g_assert_cmpuint (take_filter (payload, 16, &request), ==, IM_NBD_EINVAL);
}

static void
test_errors (void)
{
  g_assert_cmpuint (im_nbd_error_from_errno (EROFS), ==, IM_NBD_EPERM);
  g_assert_cmpuint (im_nbd_error_from_errno (EDQUOT), ==, IM_NBD_ENOSPC);
  g_assert_cmpuint (im_nbd_error_from_errno (ENOMEM), ==, IM_NBD_ENOMEM);
  g_assert_cmpuint (im_nbd_error_from_errno (EINVAL), ==, IM_NBD_EINVAL);
  g_assert_cmpuint (im_nbd_error_from_errno (EBADMSG), ==, IM_NBD_EIO);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *path = g_strconcat ("/nbd/request/check/", cases[i].name, NULL);
    g_test_add_data_func (path, GSIZE_TO_POINTER (i), test_check);
  }
  g_test_add_func ("/nbd/request/check/status-needs-a-context",
                   test_status_needs_a_context);
  g_test_add_func ("/nbd/request/check/extended-write-needs-payload",
                   test_extended_write_needs_payload);
  g_test_add_func ("/nbd/request/decode/compact", test_decode_compact);
  g_test_add_func ("/nbd/request/decode/extended", test_decode_extended);
  g_test_add_func ("/nbd/request/decode/wrong-magic-fails", test_decode_wrong_magic);
  g_test_add_func ("/nbd/request/filter", test_filter);
  g_test_add_func ("/nbd/request/errors", test_errors);
  return g_test_run ();
}
