/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes that lie in several buffers. */
#include "base/bytes.h"
#include "block/io.h"

uint64_t
im_iov_length (const struct iovec *iov, size_t n)
{
  uint64_t length = 0;
  for (size_t i = 0; i < n; i++)
    length += iov[i].iov_len;
  return length;
}

/* The run of one buffer that begins SKIP bytes into IOV, at most LENGTH bytes. */
static uint8_t *
run_at (const struct iovec *iov, size_t skip, size_t length, size_t *ret_length)
{
  for (; skip >= iov->iov_len; iov++)
    skip -= iov->iov_len;
  *ret_length = (size_t)im_min (length, iov->iov_len - skip);
  return (uint8_t *)iov->iov_base + skip;
}

void
im_iov_gather (const struct iovec *iov, size_t skip, void *to, size_t length)
{
  for (size_t done = 0, now; done < length; done += now) {
    const uint8_t *run = run_at (iov, skip + done, length - done, &now);
    memcpy ((uint8_t *)to + done, run, now);
  }
}

void
im_iov_scatter (const struct iovec *iov, size_t skip, const void *from, size_t length)
{
  for (size_t done = 0, now; done < length; done += now) {
    uint8_t *run = run_at (iov, skip + done, length - done, &now);
    memcpy (run, (const uint8_t *)from + done, now);
  }
}

void
im_iov_clear (const struct iovec *iov, size_t skip, size_t length)
{
  for (size_t done = 0, now; done < length; done += now) {
    uint8_t *run = run_at (iov, skip + done, length - done, &now);
    memset (run, 0, now);
  }
}
