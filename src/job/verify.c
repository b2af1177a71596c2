/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The format's own check, and the table's. */
#include "job/verify.h"
#include "job/progress.h"

/* An image can be wrong in millions of places. */
enum { LINES_MAX = 100 };

typedef struct {
  void (*print) (void *data, const char *line);
  void *data;
  ImVerified found;
  uint64_t lines;
  ImProgress progress;
  uint64_t total; /* of the progress under way */
} Verification;

static void
found (void *data, ImProblemKind kind, uint64_t n, const char *text)
{
  static const char *const words[] = {[IM_PROBLEM_ERROR] = "error",
                                      [IM_PROBLEM_LEAK] = "leak",
                                      [IM_PROBLEM_NOTE] = "note"};
  Verification *v = data;
  v->found.errors += kind == IM_PROBLEM_ERROR ? n : 0;
  v->found.leaks += kind == IM_PROBLEM_LEAK ? n : 0;
  if (v->lines++ >= LINES_MAX)
    return;
  g_autofree char *line = g_strdup_printf ("%s: %s", words[kind], text);
  im_progress_end (&v->progress);
  v->print (v->data, line);
}

static void
progress (void *data, uint64_t done, uint64_t total)
{
  Verification *v = data;
  if (total != v->total) {
    im_progress_end (&v->progress);
    im_progress_begin (&v->progress, "verifying", total);
    v->total = total;
  }
  im_progress_update (&v->progress, done);
}

static void
verify_table (Verification *v, const ImPartitionTable *table)
{
  for (guint i = 0; i < table->warnings->len; i++) {
    g_autofree char *text =
        g_strdup_printf ("partition table: %s", (const char *)table->warnings->pdata[i]);
    found (v, IM_PROBLEM_ERROR, 1, text);
  }
}

bool
im_verify (const ImImage *image, const ImPartitionTable *table,
           void (*print) (void *data, const char *line), void *data,
           ImVerified *ret_verified, GError **error)
{
  Verification v = {.print = print, .data = data};
  ImCheckSink sink = {.data = &v, .found = found, .progress = progress};
  ImBlock *disk = image->disk;
  bool ok = !disk->ops->check || disk->ops->check (disk, &sink, error);
  im_progress_end (&v.progress);
  if (!ok)
    return false;
  verify_table (&v, table);
  if (v.lines > LINES_MAX) {
    g_autofree char *line =
        g_strdup_printf ("… and %" G_GUINT64_FORMAT " more", v.lines - LINES_MAX);
    print (data, line);
  }
  *ret_verified = v.found;
  return true;
}
