/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel gives an engine to work with, a ring or a context: one for each thread
 * that is transferring, made when there are too few, and kept. */
#pragma once

#include <pthread.h>

#define IM_IO_SLOTS_MAX 64u

/* Engines embed it as their first member. */
typedef struct ImIoSlot ImIoSlot;
struct ImIoSlot {
  ImIoSlot *next; /* among those that nobody uses */
};

typedef struct {
  /* A new one, or NULL and the errno. */
  ImIoSlot *(*make) (int *ret_errno);
  pthread_mutex_t mutex; /* guards all below */
  pthread_cond_t given;
  ImIoSlot *unused;
  unsigned made, most; /* with most at IM_IO_SLOTS_MAX to begin with */
} ImIoSlots;

/* Waits for one where there cannot be more.  NULL and the errno where there is none. */
ImIoSlot *im_io_slot_take (ImIoSlots *slots, int *ret_errno);
void im_io_slot_give (ImIoSlots *slots, ImIoSlot *slot);
/* Instead of giving it back: its maker has freed it. */
void im_io_slot_forget (ImIoSlots *slots);
