/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoding and checking requests. */
#include "nbd/nbd-request.h"
#include "base/bytes.h"
#include <errno.h>

/* What each command allows and needs. */
typedef struct {
  bool known;
  bool writes;
  bool ranged;            /* offset and length are a range of the export */
  uint16_t allowed_flags; /* besides FUA, which any command may carry */
  uint16_t needed_flag;   /* the transmission flag that offers it, or 0 */
  uint32_t past_end;      /* the error for a range beyond the export */
} Command;

static const Command commands[] = {
    [IM_NBD_CMD_READ] = {.known = true,
                         .ranged = true,
                         .allowed_flags = IM_NBD_CMD_FLAG_DF,
                         .past_end = IM_NBD_EINVAL},
    [IM_NBD_CMD_WRITE] = {.known = true,
                          .writes = true,
                          .ranged = true,
                          .past_end = IM_NBD_ENOSPC},
    [IM_NBD_CMD_DISC] = {.known = true},
    [IM_NBD_CMD_FLUSH] = {.known = true, .needed_flag = IM_NBD_FLAG_SEND_FLUSH},
    [IM_NBD_CMD_TRIM] = {.known = true,
                         .writes = true,
                         .ranged = true,
                         .needed_flag = IM_NBD_FLAG_SEND_TRIM,
                         .past_end = IM_NBD_EINVAL},
    [IM_NBD_CMD_CACHE] = {.known = true,
                          .ranged = true,
                          .needed_flag = IM_NBD_FLAG_SEND_CACHE,
                          .past_end = IM_NBD_EINVAL},
    [IM_NBD_CMD_WRITE_ZEROES] = {.known = true,
                                 .writes = true,
                                 .ranged = true,
                                 .allowed_flags =
                                     IM_NBD_CMD_FLAG_NO_HOLE | IM_NBD_CMD_FLAG_FAST_ZERO,
                                 .needed_flag = IM_NBD_FLAG_SEND_WRITE_ZEROES,
                                 .past_end = IM_NBD_ENOSPC},
    [IM_NBD_CMD_BLOCK_STATUS] = {.known = true,
                                 .ranged = true,
                                 .allowed_flags = IM_NBD_CMD_FLAG_REQ_ONE,
                                 .past_end = IM_NBD_EINVAL},
};

static const ImNbdVerdict fine = {0, NULL};

static ImNbdVerdict
refuse (uint32_t error, const char *reason)
{
  return (ImNbdVerdict){error, reason};
}

bool
im_nbd_request_decode (const uint8_t *p, const ImNbdSession *session,
                       ImNbdRequest *ret_request)
{
  bool extended = session->mode == IM_NBD_MODE_EXTENDED;
  ImNbdRequest r = {
      .flags = im_get_be16 (p + 4),
      .type = im_get_be16 (p + 6),
      .cookie = im_get_be64 (p + 8),
      .offset = im_get_be64 (p + 16),
      .length = extended ? im_get_be64 (p + 24) : im_get_be32 (p + 24),
      .contexts = session->contexts,
  };
  if (im_get_be32 (p) !=
      (extended ? IM_NBD_EXTENDED_REQUEST_MAGIC : IM_NBD_REQUEST_MAGIC))
    return false;
  bool carries = extended ? (r.flags & IM_NBD_CMD_FLAG_PAYLOAD_LEN) != 0
                          : r.type == IM_NBD_CMD_WRITE;
  r.payload = carries ? r.length : 0;
  *ret_request = r;
  return true;
}

ImNbdVerdict
im_nbd_request_take_filter (ImNbdRequest *request, const ImNbdSession *session,
                            const uint8_t *p)
{
  if (request->payload < 12 || request->payload > IM_NBD_FILTER_MAX ||
      request->payload % 4 != 0)
    return refuse (IM_NBD_EINVAL, "payload is not a length and a list of contexts");
  ImCursor c = im_cursor (p, (size_t)request->payload);
  uint32_t wanted = 0;
  request->length = im_cursor_be64 (&c);
  while (im_cursor_left (&c) > 0) {
    uint32_t id = im_cursor_be32 (&c);
    if (id >= 32 || !(session->contexts & 1u << id))
      return refuse (IM_NBD_EINVAL, "payload names a context that was not selected");
    if (wanted & 1u << id)
      return refuse (IM_NBD_EINVAL, "payload names a context twice");
    wanted |= 1u << id;
  }
  request->contexts = wanted;
  return fine;
}

/* Flags that this command may carry in this session. */
static uint16_t
flags_allowed (const Command *command, const ImNbdRequest *request,
               const ImNbdSession *session)
{
  uint16_t flags = command->allowed_flags;
  if (session->flags & IM_NBD_FLAG_SEND_FUA)
    flags |= IM_NBD_CMD_FLAG_FUA;
  if (!(session->flags & IM_NBD_FLAG_SEND_DF))
    flags &= (uint16_t)~IM_NBD_CMD_FLAG_DF;
  if (!(session->flags & IM_NBD_FLAG_SEND_FAST_ZERO))
    flags &= (uint16_t)~IM_NBD_CMD_FLAG_FAST_ZERO;
  if (session->mode == IM_NBD_MODE_EXTENDED &&
      (request->type == IM_NBD_CMD_WRITE || im_nbd_request_has_filter (request, session)))
    flags |= IM_NBD_CMD_FLAG_PAYLOAD_LEN;
  return flags;
}

static ImNbdVerdict
check_length (const ImNbdRequest *request, const ImNbdSession *session)
{
  switch (request->type) {
  case IM_NBD_CMD_READ:
    if (request->length > IM_NBD_MAX_BYTES)
      return refuse (request->flags & IM_NBD_CMD_FLAG_DF ? IM_NBD_EOVERFLOW
                                                         : IM_NBD_EINVAL,
                     "read of more than 32 MiB");
    return fine;
  case IM_NBD_CMD_WRITE:
    if (request->length > IM_NBD_MAX_BYTES)
      return refuse (IM_NBD_EINVAL, "write of more than 32 MiB");
    if (session->mode == IM_NBD_MODE_EXTENDED && request->payload == 0)
      return refuse (IM_NBD_EINVAL, "write without a payload");
    return fine;
  case IM_NBD_CMD_FLUSH:
    if (request->offset != 0 || request->length != 0)
      return refuse (IM_NBD_EINVAL, "flush of a range");
    return fine;
  case IM_NBD_CMD_BLOCK_STATUS:
    if (session->contexts == 0)
      return refuse (IM_NBD_EINVAL, "no metadata context was selected");
    if (request->length == 0)
      return refuse (IM_NBD_EINVAL, "block status of no bytes");
    /* It was taken, unless it is too long for what it should be. */
    if (request->payload > 0)
      return refuse (IM_NBD_EINVAL, "payload is not a length and a list of contexts");
    return fine;
  default:
    return fine;
  }
}

ImNbdVerdict
im_nbd_request_check (const ImNbdRequest *request, const ImNbdSession *session)
{
  if (request->type >= sizeof commands / sizeof commands[0] ||
      !commands[request->type].known)
    return refuse (IM_NBD_EINVAL, "unknown command");
  const Command *command = &commands[request->type];
  if (request->flags & ~flags_allowed (command, request, session))
    return refuse (IM_NBD_EINVAL, "command flag unknown or not negotiated");
  if (command->writes && (session->flags & IM_NBD_FLAG_READ_ONLY))
    return refuse (IM_NBD_EPERM, "export is read-only");
  if (command->needed_flag && !(session->flags & command->needed_flag))
    return refuse (IM_NBD_EINVAL, "command was not offered");
  ImNbdVerdict verdict = check_length (request, session);
  if (verdict.error)
    return verdict;
  if (command->ranged && !im_range_fits (request->offset, request->length, session->size))
    return refuse (command->past_end, "range ends past the end of the export");
  return fine;
}

uint32_t
im_nbd_error_from_errno (int errnum)
{
  switch (errnum) {
  case EPERM:
  case EACCES:
  case EROFS:
    return IM_NBD_EPERM;
  case ENOMEM:
    return IM_NBD_ENOMEM;
  case EINVAL:
    return IM_NBD_EINVAL;
  case ENOSPC:
  case EDQUOT:
  case EFBIG:
    return IM_NBD_ENOSPC;
  case ESHUTDOWN:
    return IM_NBD_ESHUTDOWN;
  default:
    return IM_NBD_EIO;
  }
}
