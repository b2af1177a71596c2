/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests become pieces: whole blocks straight from the caller's memory where that is
 * aligned, others through a buffer. */
#include "block/file-direct.h"
#include "base/bytes.h"
#include "base/error.h"

#include <errno.h>
#include <stdlib.h>

enum {
  BOUNCE_MAX = 1 << 20, /* bytes of the buffer */
  PIECES = 32,          /* under way at one time */
  PAGE_MAX = 65536,     /* pages and blocks of file systems are no larger */
  FOLIO_MAX = 2 << 20,  /* pages that the kernel keeps as one; they begin at multiples */
};
G_STATIC_ASSERT (PIECES <= IM_IO_BATCH);

/* One transfer. */
typedef struct {
  size_t least;             /* bytes without which it has failed */
  struct iovec buffer;      /* base NULL: straight, and nothing below has a meaning */
  const ImFileRange *range; /* whose bytes, */
  size_t skip, length;      /* from which of them on and how many, */
  size_t lead;              /* and how far into the buffer they lie */
} Piece;

/* Ranges on their way into pieces. */
typedef struct {
  ImFile *file;
  int fd; /* which of its descriptors, for whole blocks */
  bool write;
  int flags;
  uint64_t size;  /* reads end there */
  uint64_t whole; /* the end of what goes past the page cache */
  const ImFileRange *ranges;
  size_t n;
  size_t next, done; /* which range is to be cut, and how far that has come */
  uint8_t *bounce;   /* BOUNCE_MAX bytes or what is needed; NULL until it is */
  size_t room, used; /* of the buffer */
  ImIo ios[PIECES];
  Piece pieces[PIECES];
} Plan;

static uint64_t
round_down (uint64_t n, uint64_t unit)
{
  return n / unit * unit;
}

static uint64_t
round_up (uint64_t n, uint64_t unit)
{
  return im_div_up (n, unit) * unit;
}

/* Does RANGE consist of whole blocks of the file? */
static bool
is_whole (const ImFile *file, const ImFileRange *range, uint64_t length, uint64_t whole)
{
  return range->offset % file->block == 0 && length % file->block == 0 &&
         im_range_fits (range->offset, length, whole);
}

/* Can the device have these buffers as they are? */
static bool
is_aligned (const ImFile *file, const ImFileRange *range)
{
  for (size_t i = 0; i < range->n; i++)
    if ((uintptr_t)range->iov[i].iov_base % file->memory != 0 ||
        range->iov[i].iov_len % file->block != 0)
      return false;
  return true;
}

/* Bytes of RANGE to be transferred. */
static uint64_t
wanted (const Plan *plan, const ImFileRange *range)
{
  uint64_t length = im_iov_length (range->iov, range->n);
  return range->offset < plan->size ? im_min (length, plan->size - range->offset) : 0;
}

static bool
make_bounce (Plan *plan, GError **error)
{
  uint64_t most = 0;
  for (size_t i = plan->next; i < plan->n; i++)
    most += im_iov_length (plan->ranges[i].iov, plan->ranges[i].n) +
            3 * (uint64_t)plan->file->block;
  void *bounce;
  plan->room = (size_t)im_min (round_up (most, plan->file->block), BOUNCE_MAX);
  if (posix_memalign (&bounce, im_max (plan->file->memory, 4096), plan->room) != 0) {
    im_set_errno (error, ENOMEM, "%zu bytes for direct I/O", plan->room);
    return false;
  }
  plan->bounce = bounce;
  return true;
}

/* The next piece of RANGE, from AT on, LEFT bytes being wanted, by way of the buffer.
 * False: there is no more room. */
static bool
cut_bounced (Plan *plan, const ImFileRange *range, uint64_t at, uint64_t left, ImIo *io,
             Piece *piece)
{
  bool tail = at >= plan->whole;
  uint64_t block = tail ? 1 : plan->file->block, first = round_down (at, block);
  uint64_t room = round_down (plan->room - plan->used, block);
  uint64_t end = tail ? at + left : im_min (round_up (at + left, block), plan->whole);
  end = im_min (end, first + room);
  if (end <= at)
    return false;
  *piece = (Piece){.buffer = {plan->bounce + plan->used, (size_t)(end - first)},
                   .range = range,
                   .skip = plan->done,
                   .length = (size_t)im_min (left, end - at),
                   .lead = (size_t)(at - first)};
  piece->least = plan->write ? piece->buffer.iov_len : piece->lead + piece->length;
  *io = (ImIo){.fd = tail ? plan->file->cached_fd : plan->fd,
               .write = plan->write,
               .flags = plan->flags,
               .unit = (uint32_t)block,
               .offset = first,
               .iov = &piece->buffer,
               .n = 1};
  plan->used += round_up (piece->buffer.iov_len, plan->file->memory);
  plan->used = im_min (plan->used, plan->room);
  plan->done += piece->length;
  return true;
}

/* All of RANGE as one piece that needs no buffer. */
static void
cut_straight (Plan *plan, const ImFileRange *range, uint64_t length, ImIo *io,
              Piece *piece)
{
  *piece = (Piece){.least = (size_t)length};
  *io = (ImIo){.fd = plan->fd,
               .write = plan->write,
               .flags = plan->flags,
               .unit = plan->file->block,
               .offset = range->offset,
               .iov = range->iov,
               .n = range->n};
  plan->done = length;
}

/* How many pieces can be under way now; 0 where all is done.  -1 and an error where there
 * is no memory. */
static int
cut (Plan *plan, GError **error)
{
  int n = 0;
  plan->used = 0;
  while (n < PIECES && plan->next < plan->n) {
    const ImFileRange *range = &plan->ranges[plan->next];
    uint64_t length = wanted (plan, range);
    if (plan->done == length) {
      plan->next++;
      plan->done = 0;
    } else if (plan->done == 0 && is_aligned (plan->file, range) &&
               length == im_iov_length (range->iov, range->n) &&
               is_whole (plan->file, range, length, plan->whole)) {
      cut_straight (plan, range, length, &plan->ios[n], &plan->pieces[n]);
      n++;
    } else if (!plan->bounce && !make_bounce (plan, error)) {
      return -1;
    } else if (n > 0 && plan->write && range->offset + plan->done >= plan->whole) {
      break; /* the page cache's part, alone */
    } else if (cut_bounced (plan, range, range->offset + plan->done, length - plan->done,
                            &plan->ios[n], &plan->pieces[n])) {
      n++;
    } else {
      break;
    }
  }
  return n;
}

static bool
check_complete (const ImFile *file, const ImIo *io, size_t length, GError **error)
{
  if (io->failure == 0 && io->done >= length)
    return true;
  im_file_set_io_error (file, io, error);
  return false;
}

/* Reads the blocks of a piece that the request covers in part. */
static bool
read_edges (Plan *plan, const ImIo *io, const Piece *piece, GError **error)
{
  size_t block = io->unit, all = piece->buffer.iov_len;
  uint8_t *buffer = piece->buffer.iov_base;
  struct iovec iov[2];
  ImIo reads[2];
  size_t n = 0, last = all - block;
  bool head = piece->lead > 0, tail = piece->lead + piece->length < all;
  if (head)
    iov[n++] = (struct iovec){buffer, block};
  if (tail && !(head && last == 0))
    iov[n++] = (struct iovec){buffer + last, block};
  for (size_t i = 0; i < n; i++)
    reads[i] =
        (ImIo){.fd = io->fd,
               .unit = io->unit,
               .offset = io->offset + (size_t)((uint8_t *)iov[i].iov_base - buffer),
               .iov = &iov[i],
               .n = 1};
  im_io_run (plan->file->engine, reads, n);
  for (size_t i = 0; i < n; i++)
    if (!check_complete (plan->file, &reads[i], block, error))
      return false;
  return true;
}

/* Before a write: what the buffers are to hold. */
static bool
fill (Plan *plan, size_t n, GError **error)
{
  for (size_t i = 0; i < n; i++) {
    const Piece *piece = &plan->pieces[i];
    if (!piece->buffer.iov_base)
      continue;
    if (!read_edges (plan, &plan->ios[i], piece, error))
      return false;
    im_iov_gather (piece->range->iov, piece->skip,
                   (uint8_t *)piece->buffer.iov_base + piece->lead, piece->length);
  }
  return true;
}

/* After the transfers: were they complete?  Hands out what was read. */
static bool
collect (Plan *plan, size_t n, GError **error)
{
  for (size_t i = 0; i < n; i++) {
    const Piece *piece = &plan->pieces[i];
    if (!check_complete (plan->file, &plan->ios[i], piece->least, error))
      return false;
    if (piece->buffer.iov_base && !plan->write)
      im_iov_scatter (piece->range->iov, piece->skip,
                      (uint8_t *)piece->buffer.iov_base + piece->lead, piece->length);
  }
  return true;
}

static bool
carry_out (Plan *plan, GError **error)
{
  int n;
  bool ok = true;
  while (ok && (n = cut (plan, error)) != 0) {
    ok = n > 0 && (!plan->write || fill (plan, (size_t)n, error));
    if (ok) {
      im_io_run (plan->file->engine, plan->ios, (size_t)n);
      ok = collect (plan, (size_t)n, error);
    }
  }
  free (plan->bounce);
  return ok;
}

bool
im_direct_read (ImFile *file, const ImFileRange *ranges, size_t n, uint64_t size,
                GError **error)
{
  /* A file's last block is read in part; a device's cannot be asked for. */
  uint64_t whole = S_ISREG (file->st.st_mode) ? round_up (size, file->block)
                                              : round_down (size, file->block);
  Plan plan = {.file = file,
               .fd = file->fd,
               .size = size,
               .whole = whole,
               .ranges = ranges,
               .n = n};
  return carry_out (&plan, error);
}

/* Claims the blocks of [FIRST, END). */
static void
claim_blocks (ImFile *file, ImClaim *claim, uint64_t first, uint64_t end, bool exclusive)
{
  im_claim_take (file->claims, claim, first / file->block, (end - 1) / file->block,
                 exclusive);
}

/* Whoever changes part of a page through the page cache has its folio to himself: a
 * direct write that ends while the folio is dirty cannot drop it, and the kernel then
 * fails the next sync. */
static void
claim_folios (ImFile *file, ImClaim *claim, uint64_t first, uint64_t end)
{
  claim_blocks (file, claim, round_down (first, FOLIO_MAX), end, true);
}

void
im_direct_claim (ImFile *file, ImClaim *claim, uint64_t offset, uint64_t length)
{
  uint64_t end = offset + length;
  if (offset % PAGE_MAX == 0 && end % PAGE_MAX == 0)
    claim_blocks (file, claim, offset, end, false);
  else
    claim_folios (file, claim, offset, round_up (end, FOLIO_MAX));
}

void
im_direct_claim_end (ImFile *file, ImClaim *claim, uint64_t size)
{
  claim_folios (file, claim, im_min (size, im_file_size (file)), UINT64_MAX);
}

static bool
write_claimed (ImFile *file, const ImFileRange *ranges, size_t n, int flags,
               ImClaim *claim, GError **error)
{
  /* Once claimed, what was in the file's last whole block stays there: files grow. */
  Plan plan = {.file = file,
               .fd = flags & RWF_DSYNC ? file->durable_fd : file->fd,
               .write = true,
               .flags = flags,
               .size = UINT64_MAX,
               .whole = round_down (im_file_size (file), file->block),
               .ranges = ranges,
               .n = n};
  bool ok = carry_out (&plan, error);
  im_claim_drop (file->claims, claim);
  return ok;
}

/* A range that covers some block in part, or goes on behind the last whole one. */
static bool
write_partial (ImFile *file, const ImFileRange *range, uint64_t length, int flags,
               GError **error)
{
  ImClaim claim;
  uint64_t end = range->offset + length;
  uint64_t whole = round_down (im_file_size (file), file->block);
  if (end <= whole)
    claim_blocks (file, &claim, range->offset, end, true);
  else
    claim_folios (file, &claim, im_min (range->offset, whole), UINT64_MAX);
  return write_claimed (file, range, 1, flags, &claim, error);
}

/* Ranges of whole blocks, which others may write beside. */
static bool
write_whole (ImFile *file, const ImFileRange *ranges, size_t n, int flags, GError **error)
{
  ImClaim claim;
  uint64_t first = UINT64_MAX, end = 0;
  for (size_t i = 0; i < n; i++) {
    uint64_t length = im_iov_length (ranges[i].iov, ranges[i].n);
    first = im_min (first, ranges[i].offset);
    end = im_max (end, ranges[i].offset + length);
  }
  claim_blocks (file, &claim, first, end, false);
  return write_claimed (file, ranges, n, flags, &claim, error);
}

/* Never two claims at a time, behind which somebody might wait for both: the ranges of
 * whole blocks, as far as they follow each other, have one, and every other its own. */
bool
im_direct_write (ImFile *file, const ImFileRange *ranges, size_t n, int flags,
                 GError **error)
{
  uint64_t whole = round_down (im_file_size (file), file->block);
  size_t run = 0;
  bool ok = true;
  for (size_t i = 0; ok && i < n; i++) {
    uint64_t length = im_iov_length (ranges[i].iov, ranges[i].n);
    bool joins = length > 0 && is_whole (file, &ranges[i], length, whole);
    run += joins;
    if (run > 0 && (!joins || i + 1 == n)) {
      ok = write_whole (file, ranges + i + joins - run, run, flags, error);
      run = 0;
    }
    if (ok && !joins && length > 0)
      ok = write_partial (file, &ranges[i], length, flags, error);
  }
  return ok;
}
