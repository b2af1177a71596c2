/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Carrying transfers out, whatever the engine, and the engine that needs nothing. */
#include "block/io.h"
#include "base/error.h"
#include "config.h"

#include <errno.h>

/* In the caller's thread, one after the other: the pool's threads are the depth. */
static void
threads_transfer (ImIo **ios, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    ImIo *io = ios[i];
    ssize_t result =
        io->write ? pwritev2 (io->fd, io->iov, (int)io->n, (off_t)io->offset, io->flags)
                  : preadv2 (io->fd, io->iov, (int)io->n, (off_t)io->offset, io->flags);
    io->result = result < 0 ? -errno : result;
  }
}

static bool
threads_probe (GError **error)
{
  return true;
}

const ImIoEngine im_io_engine_threads = {
    .probe = threads_probe,
    .transfer = threads_transfer,
};

#if HAVE_IO_URING
#define URING &im_io_engine_uring
#else
#define URING NULL
#endif
#if HAVE_LIBAIO
#define NATIVE &im_io_engine_native
#else
#define NATIVE NULL
#endif

static const struct {
  const char *name, *library;
  const ImIoEngine *engine; /* NULL: this build was made without the library */
} engines[] = {
    [IM_AIO_THREADS] = {"threads", "", &im_io_engine_threads},
    [IM_AIO_IO_URING] = {"io_uring", "liburing", URING},
    [IM_AIO_NATIVE] = {"native", "libaio", NATIVE},
};

const ImIoEngine *
im_io_engine_find (ImAio aio, GError **error)
{
  const ImIoEngine *engine = engines[aio].engine;
  if (!engine)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "this build has no %s I/O: it was made without %s", engines[aio].name,
                 engines[aio].library);
  return engine && engine->probe (error) ? engine : NULL;
}

/* Moves IO on by the DONE bytes of a transfer that left a rest. */
static void
advance (ImIo *io, size_t done)
{
  io->done += done;
  io->left -= done;
  io->offset += done;
  if (!io->rest)
    io->iov = io->rest = g_memdup2 (io->iov, io->n * sizeof *io->iov);
  /* The copy begins wherever io->iov points into it. */
  struct iovec *iov = io->rest + (io->iov - io->rest);
  for (; done >= iov->iov_len; iov++, io->n--)
    done -= iov->iov_len;
  iov->iov_base = (char *)iov->iov_base + done;
  iov->iov_len -= done;
  io->iov = iov;
}

/* Takes in that RESULT > 0 bytes were transferred.  True when nothing is to follow. */
static bool
take_in (ImIo *io, size_t result)
{
  if (result >= io->left) {
    io->done += io->left;
    return true;
  }
  size_t whole = result - result % io->unit;
  if (whole == result) {
    advance (io, whole);
    return false;
  }
  if (io->write)
    io->failure = EIO;
  else
    io->done += result; /* only the end of the file cuts a block */
  return true;
}

/* Looks at the result of a try.  True when IO is over; false: once more. */
static bool
settle (ImIo *io)
{
  /* The engine has no room; this one waits for some. */
  if (io->result == -EAGAIN && io->left > 0)
    threads_transfer (&io, 1);
  if (io->result > 0)
    return take_in (io, (size_t)io->result);
  if (io->result == -EINTR)
    return false;
  if (io->result < 0)
    io->failure = (int)-io->result;
  else if (io->write)
    io->failure = EIO;
  return true;
}

static bool
prepare (ImIo *io)
{
  io->done = 0;
  io->failure = 0;
  io->rest = NULL;
  io->left = (size_t)im_iov_length (io->iov, io->n);
  return io->left > 0;
}

void
im_io_run (const ImIoEngine *engine, ImIo *ios, size_t n)
{
  ImIo *pending[IM_IO_BATCH];
  size_t left = 0;
  for (size_t i = 0; i < n; i++)
    if (prepare (&ios[i]))
      pending[left++] = &ios[i];
  while (left > 0) {
    size_t kept = 0;
    engine->transfer (pending, left);
    for (size_t i = 0; i < left; i++)
      if (!settle (pending[i]))
        pending[kept++] = pending[i];
    left = kept;
  }
  for (size_t i = 0; i < n; i++)
    g_clear_pointer (&ios[i].rest, g_free);
}
