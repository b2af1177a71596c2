/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bar on the terminal for work that takes long. */
#pragma once

#include <glib.h>
#include <stdint.h>

typedef struct {
  const char *what; /* borrowed */
  uint64_t total;   /* bytes */
  gint64 begun;     /* monotonic microseconds */
  gint64 drawn;     /* when last; 0: never */
} ImProgress;

/* Draws nothing where standard error is no terminal.  One thread. */
void im_progress_begin (ImProgress *progress, const char *what, uint64_t total);
/* DONE bytes of the total; drawn a few times a second. */
void im_progress_update (ImProgress *progress, uint64_t done);
/* Takes the bar away. */
void im_progress_end (ImProgress *progress);
