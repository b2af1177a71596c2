/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers of the NBD protocol, as its document (proto.md) and the extension for 64-bit
 * headers give them.  All integers on the wire are big-endian.
 *
 *   request   0       4       6      8        16       24        28 or 32
 *             +-------+-------+------+--------+--------+---------+
 *             | magic | flags | type | cookie | offset | length  | payload…
 *             +-------+-------+------+--------+--------+---------+
 *   simple    | magic | error        | cookie | data…
 *   chunk     | magic | flags | type | cookie | length (32)      | payload…
 *   extended  | magic | flags | type | cookie | offset | length  | payload…            */
#pragma once

#include <stdint.h>

/* Greeting and options. */
#define IM_NBD_MAGIC              UINT64_C (0x4e42444d41474943)
#define IM_NBD_OPTION_MAGIC       UINT64_C (0x49484156454f5054)
#define IM_NBD_OPTION_REPLY_MAGIC UINT64_C (0x0003e889045565a9)
#define IM_NBD_OLD_MAGIC          UINT64_C (0x00420281861253) /* oldstyle servers */
#define IM_NBD_GREETING_SIZE      18u
#define IM_NBD_CLIENT_FLAGS_SIZE  4u
#define IM_NBD_OPTION_HEADER_SIZE 16u
#define IM_NBD_OPTION_REPLY_SIZE  20u
#define IM_NBD_EXPORT_NAME_ZEROES 124u

#define IM_NBD_FLAG_FIXED_NEWSTYLE 0x1u
#define IM_NBD_FLAG_NO_ZEROES      0x2u

enum {
  IM_NBD_OPT_EXPORT_NAME = 1,
  IM_NBD_OPT_ABORT = 2,
  IM_NBD_OPT_LIST = 3,
  IM_NBD_OPT_STARTTLS = 5,
  IM_NBD_OPT_INFO = 6,
  IM_NBD_OPT_GO = 7,
  IM_NBD_OPT_STRUCTURED_REPLY = 8,
  IM_NBD_OPT_LIST_META_CONTEXT = 9,
  IM_NBD_OPT_SET_META_CONTEXT = 10,
  IM_NBD_OPT_EXTENDED_HEADERS = 11,
};

#define IM_NBD_REP_ACK                 1u
#define IM_NBD_REP_SERVER              2u
#define IM_NBD_REP_INFO                3u
#define IM_NBD_REP_META_CONTEXT        4u
#define IM_NBD_REP_IS_ERROR            0x80000000u
#define IM_NBD_REP_ERR_UNSUP           0x80000001u
#define IM_NBD_REP_ERR_POLICY          0x80000002u
#define IM_NBD_REP_ERR_INVALID         0x80000003u
#define IM_NBD_REP_ERR_TLS_REQD        0x80000005u
#define IM_NBD_REP_ERR_UNKNOWN         0x80000006u
#define IM_NBD_REP_ERR_TOO_BIG         0x80000009u
#define IM_NBD_REP_ERR_EXT_HEADER_REQD 0x8000000au

enum {
  IM_NBD_INFO_EXPORT = 0,
  IM_NBD_INFO_NAME = 1,
  IM_NBD_INFO_DESCRIPTION = 2,
  IM_NBD_INFO_BLOCK_SIZE = 3,
};

/* Transmission flags: what an export can do. */
#define IM_NBD_FLAG_HAS_FLAGS            (1u << 0)
#define IM_NBD_FLAG_READ_ONLY            (1u << 1)
#define IM_NBD_FLAG_SEND_FLUSH           (1u << 2)
#define IM_NBD_FLAG_SEND_FUA             (1u << 3)
#define IM_NBD_FLAG_SEND_TRIM            (1u << 5)
#define IM_NBD_FLAG_SEND_WRITE_ZEROES    (1u << 6)
#define IM_NBD_FLAG_SEND_DF              (1u << 7)
#define IM_NBD_FLAG_CAN_MULTI_CONN       (1u << 8)
#define IM_NBD_FLAG_SEND_CACHE           (1u << 10)
#define IM_NBD_FLAG_SEND_FAST_ZERO       (1u << 11)
#define IM_NBD_FLAG_BLOCK_STATUS_PAYLOAD (1u << 12)

/* Requests. */
#define IM_NBD_REQUEST_MAGIC          0x25609513u
#define IM_NBD_EXTENDED_REQUEST_MAGIC 0x21e41c71u
#define IM_NBD_REQUEST_SIZE           28u
#define IM_NBD_EXTENDED_REQUEST_SIZE  32u

enum {
  IM_NBD_CMD_READ = 0,
  IM_NBD_CMD_WRITE = 1,
  IM_NBD_CMD_DISC = 2,
  IM_NBD_CMD_FLUSH = 3,
  IM_NBD_CMD_TRIM = 4,
  IM_NBD_CMD_CACHE = 5,
  IM_NBD_CMD_WRITE_ZEROES = 6,
  IM_NBD_CMD_BLOCK_STATUS = 7,
};

#define IM_NBD_CMD_FLAG_FUA         (1u << 0)
#define IM_NBD_CMD_FLAG_NO_HOLE     (1u << 1)
#define IM_NBD_CMD_FLAG_DF          (1u << 2)
#define IM_NBD_CMD_FLAG_REQ_ONE     (1u << 3)
#define IM_NBD_CMD_FLAG_FAST_ZERO   (1u << 4)
#define IM_NBD_CMD_FLAG_PAYLOAD_LEN (1u << 5)

/* Replies. */
#define IM_NBD_SIMPLE_REPLY_MAGIC     0x67446698u
#define IM_NBD_STRUCTURED_REPLY_MAGIC 0x668e33efu
#define IM_NBD_EXTENDED_REPLY_MAGIC   0x6e8a278cu
#define IM_NBD_SIMPLE_REPLY_SIZE      16u
#define IM_NBD_STRUCTURED_REPLY_SIZE  20u
#define IM_NBD_EXTENDED_REPLY_SIZE    32u

#define IM_NBD_REPLY_FLAG_DONE 0x1u

#define IM_NBD_REPLY_NONE             0u
#define IM_NBD_REPLY_OFFSET_DATA      1u
#define IM_NBD_REPLY_OFFSET_HOLE      2u
#define IM_NBD_REPLY_BLOCK_STATUS     5u
#define IM_NBD_REPLY_BLOCK_STATUS_EXT 6u
#define IM_NBD_REPLY_ERROR            0x8001u
#define IM_NBD_REPLY_ERROR_OFFSET     0x8002u

#define IM_NBD_STATE_HOLE 0x1u
#define IM_NBD_STATE_ZERO 0x2u

enum {
  IM_NBD_EPERM = 1,
  IM_NBD_EIO = 5,
  IM_NBD_ENOMEM = 12,
  IM_NBD_EINVAL = 22,
  IM_NBD_ENOSPC = 28,
  IM_NBD_EOVERFLOW = 75,
  IM_NBD_ENOTSUP = 95,
  IM_NBD_ESHUTDOWN = 108,
};

/* Limits of the protocol. */
#define IM_NBD_STRING_MAX 4096u
#define IM_NBD_MAX_BYTES  (32u << 20) /* of a read or write; more may be refused */
