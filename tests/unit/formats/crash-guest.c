/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guests at work. */
#include "crash-guest.h"
#include "base/bytes.h"
#include <pthread.h>

enum { SECTORS_AT_ONCE = 256, COARSE = 100, THREADS_MAX = 16 };

/* The last sector of a disk may be cut short. */
static uint64_t
bytes_of (const CrashGuests *g, uint64_t first, uint64_t n)
{
  return im_min (n * CRASH_SECTOR, g->block->size - first * CRASH_SECTOR);
}

/* After a change of WRITE was tried. */
static bool
settle (CrashGuests *g, size_t name, bool ok, ImWriteFlags flags)
{
  if (ok)
    crash_oracle_complete (g->oracle, name, crash_record_now (g->record),
                           g->through || flags & IM_WRITE_FUA);
  return ok;
}

bool
crash_guest_write (CrashGuests *g, uint64_t first, uint64_t n, ImWriteFlags flags)
{
  g_autofree uint8_t *bytes = g_malloc (n * CRASH_SECTOR);
  CrashWrite write = {.first = first, .n = n};

  write.number = atomic_fetch_add (&g->next_number, n);
  for (uint64_t k = 0; k < n; k++)
    crash_fill (bytes + k * CRASH_SECTOR, write.number + k);
  size_t name = crash_oracle_submit (g->oracle, &write, crash_record_now (g->record));
  size_t length = bytes_of (g, first, n);
  /* Half of them first as the NBD reader does it, which may refuse. */
  bool tries = flags == 0 && write.number % 2 == 0;
  bool ok =
      (tries && im_block_pwrite_nowait (g->block, bytes, length, first * CRASH_SECTOR)) ||
      im_block_pwrite (g->block, bytes, length, first * CRASH_SECTOR, flags, NULL);
  return settle (g, name, ok, flags);
}

bool
crash_guest_zero (CrashGuests *g, uint64_t first, uint64_t n, ImWriteFlags flags)
{
  CrashWrite write = {.first = first, .n = n};
  size_t name = crash_oracle_submit (g->oracle, &write, crash_record_now (g->record));
  bool ok = im_block_write_zeroes (g->block, first * CRASH_SECTOR, bytes_of (g, first, n),
                                   flags, NULL);

  return settle (g, name, ok, flags);
}

bool
crash_guest_discard (CrashGuests *g, uint64_t first, uint64_t n)
{
  CrashWrite write = {.first = first, .n = n, .discard = true};
  size_t name = crash_oracle_submit (g->oracle, &write, crash_record_now (g->record));
  bool ok =
      im_block_discard (g->block, first * CRASH_SECTOR, bytes_of (g, first, n), NULL);

  return settle (g, name, ok, 0);
}

bool
crash_guest_flush (CrashGuests *g)
{
  /* A write may end, by a change in memory alone, when this flush has begun, and owes it
   * nothing; so its end must not look as if it had come before. */
  size_t began = crash_record_tick (g->record);
  bool ok = im_block_flush (g->block, NULL);

  if (ok)
    crash_oracle_flush (g->oracle, began, crash_record_now (g->record));
  return ok;
}

/* One thread.  The disk is dealt out in pieces, one after the other to each: small ones
 * in its first half, ones of several clusters in the second. */
typedef struct {
  CrashGuests *guests;
  unsigned number, threads, steps;
  bool failing;
  GRand *rand;
} Guest;

/* A range within one of this guest's pieces. */
static void
pick_range (Guest *me, uint64_t *ret_first, uint64_t *ret_n)
{
  uint64_t sectors = im_div_up (me->guests->block->size, CRASH_SECTOR),
           half = sectors / 2;
  uint64_t unit = im_max (me->guests->unit / CRASH_SECTOR, 1);
  bool fine = g_rand_boolean (me->rand);
  uint64_t size = fine ? 3 : im_max (unit * 3 + 1, COARSE), base = fine ? 0 : half;
  uint64_t pieces = (fine ? half : sectors - half) / size / me->threads;

  if (pieces == 0) { /* clusters are large: an equal part of that half for each */
    size = (sectors - half) / me->threads;
    pieces = 1;
    fine = true;
  }
  uint64_t piece = g_rand_int (me->rand) % pieces * me->threads + me->number;
  uint64_t from = g_rand_int (me->rand) % size;
  uint64_t most = im_min (size - from, SECTORS_AT_ONCE);

  if (!fine && g_rand_boolean (me->rand)) { /* as many whole clusters as there are */
    *ret_first = im_div_up (base + piece * size, unit) * unit;
    *ret_n = unit * (1 + g_rand_int (me->rand) % 2);
    return;
  }
  *ret_first = base + piece * size + from;
  *ret_n = 1 + g_rand_int (me->rand) % most;
}

/* Reading fails only for what was damaged, which nothing here is. */
static void
look (Guest *me, uint64_t first, uint64_t n)
{
  uint64_t len = bytes_of (me->guests, first, n);
  g_autofree uint8_t *bytes = g_malloc (len);
  g_autoptr (GError) error = NULL;

  im_block_pread (me->guests->block, bytes, len, first * CRASH_SECTOR, &error);
  g_assert_no_error (error);
}

static bool
step (Guest *me)
{
  CrashGuests *g = me->guests;
  unsigned kind = g_rand_int (me->rand) % 40;
  uint64_t first, n;

  pick_range (me, &first, &n);
  if (kind < 22)
    return crash_guest_write (g, first, n, 0);
  if (kind < 24)
    return crash_guest_write (g, first, n, IM_WRITE_FUA);
  if (kind < 29)
    return crash_guest_zero (g, first, n,
                             (kind % 2 ? IM_WRITE_MAY_UNMAP : 0) |
                                 (kind == 28 ? IM_WRITE_FUA : 0));
  if (kind < 34)
    return crash_guest_discard (g, first, n);
  if (kind < 36)
    return crash_guest_flush (g);
  look (me, first, n);
  return true;
}

static void *
work (void *data)
{
  Guest *me = data;

  for (unsigned i = 0; i < me->steps; i++)
    g_assert_true (step (me) || me->failing);
  return NULL;
}

void
crash_guests_work (CrashGuests *guests, unsigned threads, unsigned steps, bool failing,
                   uint32_t seed)
{
  Guest all[THREADS_MAX];
  pthread_t ids[THREADS_MAX];

  g_assert_cmpuint (threads, <=, THREADS_MAX);
  for (unsigned i = 0; i < threads; i++) {
    all[i] = (Guest){.guests = guests,
                     .number = i,
                     .threads = threads,
                     .steps = steps,
                     .failing = failing,
                     .rand = g_rand_new_with_seed (seed * 31 + i)};
    g_assert_cmpint (pthread_create (&ids[i], NULL, work, &all[i]), ==, 0);
  }
  for (unsigned i = 0; i < threads; i++) {
    pthread_join (ids[i], NULL);
    g_rand_free (all[i].rand);
  }
}
