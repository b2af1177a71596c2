/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rebuilding a file after a crash. */
#include "crash-rebuild.h"
#include "base/bytes.h"

/* How likely a change that no sync covers is there; one for each rebuilt file, so that
 * nearly all and nearly nothing are common. */
static const double survivals[] = {0.1, 0.5, 0.9};

typedef struct {
  CrashBytes now;  /* the page cache: every change up to here */
  CrashBytes left; /* the medium */
  size_t room;     /* bytes that both have in memory; zeros where nothing was written */
  size_t synced;   /* what completed before this moment is durable */
  size_t moment;
  double survival;
  GRand *rand;
} Rebuild;

typedef enum { FATE_LOST, FATE_WHOLE, FATE_TORN } Fate;

void
crash_bytes_clear (CrashBytes *bytes)
{
  g_clear_pointer (&bytes->bytes, g_free);
  bytes->len = 0;
}

static uint8_t *
enlarged (uint8_t *bytes, size_t from, size_t to)
{
  bytes = g_realloc (bytes, to);
  memset (bytes + from, 0, to - from);
  return bytes;
}

static void
make_room (Rebuild *r, uint64_t len)
{
  if (len <= r->room)
    return;
  r->now.bytes = enlarged (r->now.bytes, r->room, len);
  r->left.bytes = enlarged (r->left.bytes, r->room, len);
  r->room = len;
}

/* Brings the sectors that [OFFSET, OFFSET + LENGTH) touches to the medium. */
static void
bring (Rebuild *r, uint64_t offset, uint64_t length, Fate fate)
{
  uint64_t end =
      im_min (im_div_up (offset + length, CRASH_SECTOR) * CRASH_SECTOR, r->room);

  for (uint64_t at = offset / CRASH_SECTOR * CRASH_SECTOR; at < end; at += CRASH_SECTOR)
    if (fate == FATE_WHOLE || g_rand_double (r->rand) < r->survival)
      memcpy (r->left.bytes + at, r->now.bytes + at, im_min (CRASH_SECTOR, end - at));
}

static bool
is_durable (const Rebuild *r, const CrashChange *c)
{
  return !r->rand || c->completed < r->synced || (c->durable && c->completed < r->moment);
}

static Fate
draw_fate (const Rebuild *r, const CrashChange *c)
{
  if (is_durable (r, c))
    return FATE_WHOLE;
  if (g_rand_int (r->rand) % 3 == 0)
    return FATE_TORN;
  return g_rand_double (r->rand) < r->survival ? FATE_WHOLE : FATE_LOST;
}

static void
resize (Rebuild *r, const CrashChange *c)
{
  Fate fate = draw_fate (r, c);
  size_t size = c->offset, old = r->now.len;

  make_room (r, size);
  if (size < old)
    memset (r->now.bytes + size, 0, old - size);
  r->now.len = size;
  if (fate == FATE_LOST)
    return;
  if (fate == FATE_TORN) { /* anything in between, a whole number of sectors or not */
    size_t low = MIN (size, r->left.len), high = MAX (size, r->left.len);

    size = low + (size_t)(g_rand_double (r->rand) * (double)(high - low));
  }
  if (size < r->left.len)
    memset (r->left.bytes + size, 0, r->left.len - size);
  r->left.len = size;
}

static void
apply (Rebuild *r, const CrashChange *c)
{
  if (c->kind == IM_FILE_SYNC || (c->failed && r->rand && g_rand_boolean (r->rand)))
    return;
  if (c->kind == IM_FILE_RESIZE) {
    resize (r, c);
    return;
  }
  Fate fate = draw_fate (r, c);

  make_room (r, c->offset + c->length);
  if (c->bytes)
    memcpy (r->now.bytes + c->offset, c->bytes, c->length);
  else
    memset (r->now.bytes + c->offset, 0, c->length);
  if (fate != FATE_LOST)
    bring (r, c->offset, c->length, fate);
  /* A durable write is no use in a file that ends before it. */
  if (c->durable && c->completed < r->moment)
    r->left.len = MAX (r->left.len, c->offset + c->length);
}

/* A change that was never completed failed, or was none, soon after it was submitted. */
static size_t
end_of (const CrashChange *c)
{
  return c->completed == CRASH_NEVER ? c->submitted : c->completed;
}

static gint
compare_ends (gconstpointer a, gconstpointer b)
{
  const CrashChange *const *x = a, *const *y = b;

  return end_of (*x) < end_of (*y) ? -1 : 1;
}

/* FILE's changes until the crash, in one of the orders in which they can have happened.
 */
static GPtrArray *
ordered_changes (const CrashRecord *record, unsigned file, size_t moment, GRand *rand,
                 size_t *ret_synced)
{
  size_t n;
  const CrashChange *changes = crash_record_changes (record, &n);
  GPtrArray *ordered = g_ptr_array_new ();

  *ret_synced = 0;
  for (size_t i = 0; i < n && changes[i].submitted < moment; i++) {
    const CrashChange *c = &changes[i];

    if (c->file != file)
      continue;
    if (c->kind == IM_FILE_SYNC && c->completed < moment)
      *ret_synced = MAX (*ret_synced, c->submitted);
    g_ptr_array_add (ordered, (gpointer)c);
  }
  if (rand && g_rand_boolean (rand))
    g_ptr_array_sort (ordered, compare_ends);
  return ordered;
}

void
crash_rebuild (const CrashRecord *record, unsigned file, const CrashBytes *before,
               size_t moment, GRand *rand, CrashBytes *ret)
{
  Rebuild r = {.moment = moment, .rand = rand, .room = before->len};

  r.survival = rand ? survivals[g_rand_int (rand) % G_N_ELEMENTS (survivals)] : 1;
  r.now.bytes = g_memdup2 (before->bytes, before->len);
  r.left.bytes = g_memdup2 (before->bytes, before->len);
  r.now.len = r.left.len = before->len;
  g_autoptr (GPtrArray) changes = ordered_changes (record, file, moment, rand, &r.synced);
  for (guint i = 0; i < changes->len; i++)
    apply (&r, changes->pdata[i]);
  crash_bytes_clear (&r.now);
  *ret = r.left;
}
