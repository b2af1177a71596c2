/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a disk must hold, shared by all who change it: its bytes, who may touch which of
 * them, and what was done last. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_WORKERS 64u
#define MODEL_NOTES   (1u << 16)

/* Bytes [begin, end) of the disk; none where these are equal. */
typedef struct {
  uint64_t begin, end;
  bool exclusive;
} ModelRange;

/* Something that was done to a range. */
typedef struct {
  uint64_t time; /* counts all notes */
  uint64_t begin, end;
  const char *what, *where; /* the same in all processes: made before any fork */
  unsigned worker;
} ModelNote;

/* Lies in memory that all processes share. */
typedef struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  ModelRange held[MODEL_WORKERS][2]; /* lock */
  uint64_t time;                     /* lock */
  ModelNote notes[MODEL_NOTES];      /* lock */
  atomic_bool stop;                  /* somebody found a fault */
  uint64_t size;
  uint8_t bytes[]; /* whoever has claimed them */
} Model;

/* Ends the process where there is no memory. */
Model *model_new (uint64_t size);

/* Waits until RANGES[0..n), one or two, are WORKER's: exclusive ones his alone.  False:
 * it is all over, and nothing is claimed. */
bool model_claim (Model *model, unsigned worker, const ModelRange *ranges, unsigned n);
void model_release (Model *model, unsigned worker);

void model_note (Model *model, unsigned worker, const char *what, const char *where,
                 uint64_t begin, uint64_t end);

/* Are GOT the N bytes at AT?  Else says what is wrong, and what was done there last. */
bool model_check (Model *model, unsigned worker, const char *what, const char *where,
                  uint64_t at, const uint8_t *got, size_t n);
