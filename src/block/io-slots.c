/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Slots are few and seldom made: one mutex does. */
#include "block/io-slots.h"

#include <stdbool.h>
#include <stddef.h>

/* One that nobody uses, or NULL where the caller may make one. */
static ImIoSlot *
find_locked (ImIoSlots *slots)
{
  while (!slots->unused && slots->made >= slots->most)
    pthread_cond_wait (&slots->given, &slots->mutex);
  ImIoSlot *slot = slots->unused;
  if (slot)
    slots->unused = slot->next;
  else
    slots->made++;
  return slot;
}

/* One less than was counted; true where there are any. */
static bool
uncount_locked (ImIoSlots *slots)
{
  slots->made--;
  pthread_cond_broadcast (&slots->given);
  return slots->made > 0;
}

ImIoSlot *
im_io_slot_take (ImIoSlots *slots, int *ret_errno)
{
  for (;;) {
    pthread_mutex_lock (&slots->mutex);
    ImIoSlot *slot = find_locked (slots);
    pthread_mutex_unlock (&slots->mutex);
    if (!slot)
      slot = slots->make (ret_errno);
    if (slot)
      return slot;
    /* The kernel gives no more: those that are there must do. */
    pthread_mutex_lock (&slots->mutex);
    bool others = uncount_locked (slots);
    if (others)
      slots->most = slots->made;
    pthread_mutex_unlock (&slots->mutex);
    if (!others)
      return NULL;
  }
}

void
im_io_slot_give (ImIoSlots *slots, ImIoSlot *slot)
{
  pthread_mutex_lock (&slots->mutex);
  slot->next = slots->unused;
  slots->unused = slot;
  pthread_cond_signal (&slots->given);
  pthread_mutex_unlock (&slots->mutex);
}

void
im_io_slot_forget (ImIoSlots *slots)
{
  pthread_mutex_lock (&slots->mutex);
  uncount_locked (slots);
  pthread_mutex_unlock (&slots->mutex);
}
