/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Operations, by epochs: each thread publishes the epoch in which its operation began.
 *
 * A thread may read the epoch, be held up, and publish an old one late.  That is
 * harmless: the store and the scan are sequentially consistent, so either the scan sees
 * the store or the operation sees the removal that came before the scan. */
#include "block/operation.h"

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct Slot Slot;
struct Slot {
  _Alignas(64) atomic_ullong epoch; /* 0: in no operation */
  atomic_bool taken;
  Slot *next; /* const once listed */
};

static _Atomic (Slot *) slots; /* never freed: as many as threads lived at one time */
static atomic_ullong epoch = 1;
static pthread_key_t key; /* gives the slot back when a thread ends */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local Slot *mine;
static _Thread_local unsigned depth;

static void
give_back (void *data)
{
  Slot *slot = data;
  atomic_store (&slot->taken, false);
}

static void
make_key (void)
{
  pthread_key_create (&key, give_back);
}

static Slot *
new_slot (void)
{
  Slot *slot = g_aligned_alloc0 (1, sizeof *slot, _Alignof(Slot));
  atomic_init (&slot->taken, true);
  slot->next = atomic_load (&slots);
  while (!atomic_compare_exchange_weak (&slots, &slot->next, slot))
    ;
  return slot;
}

static Slot *
take_slot (void)
{
  pthread_once (&once, make_key);
  Slot *slot = atomic_load (&slots);
  bool free = false;
  while (slot && !atomic_compare_exchange_strong (&slot->taken, &free, true)) {
    free = false;
    slot = slot->next;
  }
  if (!slot)
    slot = new_slot ();
  pthread_setspecific (key, slot);
  return slot;
}

void
im_operation_begin (void)
{
  if (depth++ > 0)
    return;
  if (!mine)
    mine = take_slot ();
  atomic_store (&mine->epoch, atomic_load (&epoch));
}

void
im_operation_end (void)
{
  if (--depth == 0)
    atomic_store_explicit (&mine->epoch, 0, memory_order_release);
}

uint64_t
im_operation_stamp (void)
{
  return atomic_fetch_add (&epoch, 1);
}

bool
im_operation_passed (uint64_t stamp)
{
  for (Slot *slot = atomic_load (&slots); slot; slot = slot->next) {
    uint64_t began = atomic_load (&slot->epoch);
    if (began != 0 && began <= stamp)
      return false;
  }
  return true;
}
