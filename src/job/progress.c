/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bar of one line on standard error. */
#include "job/progress.h"
#include "base/bytes.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR = 30 };

/* Work that is done sooner draws no bar. */
#define FIRST_DRAW (300 * 1000)
#define REDRAW     (200 * 1000)

void
im_progress_begin (ImProgress *progress, const char *what, uint64_t total)
{
  *progress = (ImProgress){.what = what,
                           .total = isatty (STDERR_FILENO) ? total : 0,
                           .begun = g_get_monotonic_time ()};
}

static void
draw (ImProgress *progress, uint64_t done, gint64 now)
{
  double seconds = (double)(now - progress->begun) / G_USEC_PER_SEC;
  double share = (double)done / (double)progress->total;
  double left = share > 0 ? seconds / share - seconds : 0;
  char bar[BAR + 1];
  int filled = (int)(share * BAR);
  memset (bar, '.', BAR);
  memset (bar, '#', (size_t)CLAMP (filled, 0, BAR));
  bar[BAR] = '\0';
  fprintf (stderr, "\r%s [%s] %3d %%  %.0f MB/s  %d:%02d left \033[K", progress->what,
           bar, (int)(share * 100), (double)done / 1e6 / seconds, (int)left / 60,
           (int)left % 60);
  progress->drawn = now;
}

void
im_progress_update (ImProgress *progress, uint64_t done)
{
  gint64 now = g_get_monotonic_time ();
  gint64 due = progress->drawn ? progress->drawn + REDRAW : progress->begun + FIRST_DRAW;
  if (progress->total > 0 && now >= due)
    draw (progress, im_min (done, progress->total), now);
}

void
im_progress_end (ImProgress *progress)
{
  if (progress->drawn)
    fputs ("\r\033[K", stderr);
}
