/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Crashing and looking. */
#include "crash-run.h"
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILES_MAX = 4, AGAIN_CRASHES = 2 };

/* One image, from where it is to how it is left. */
typedef struct {
  const CrashSubject *subject;
  const CrashPlan *plan;
  const char *folder; /* where it is, as it was before */
  unsigned steps;
  CrashBytes before[FILES_MAX];
  CrashBytes original; /* what its disk read as */
  CrashRecord *record;
  CrashOracle *oracle;
  GRand *rand;
  unsigned rebuilt;
  unsigned failed; /* changes */
  char *harm;
} Run;

static CrashBytes
load (const char *folder, const char *name)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autoptr (GError) error = NULL;
  CrashBytes bytes;

  g_file_get_contents (path, (char **)&bytes.bytes, &bytes.len, &error);
  g_assert_no_error (error);
  return bytes;
}

static void
save (const char *folder, const char *name, const CrashBytes *bytes)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autoptr (GError) error = NULL;

  g_file_set_contents_full (path, (char *)bytes->bytes, (gssize)bytes->len, 0, 0600,
                            &error);
  g_assert_no_error (error);
}

/* What the disk in FOLDER reads as; where it cannot be read *ret_why tells. */
static bool
read_disk (const CrashSubject *subject, const char *folder, CrashBytes *ret,
           char **ret_why)
{
  g_autoptr (GError) error = NULL;
  ImBlock *block;

  subject->open (subject->data, folder, IM_CACHE_WRITEBACK, false, &block);
  *ret = (CrashBytes){.bytes = g_malloc (block->size), .len = block->size};
  bool ok = im_block_pread (block, ret->bytes, ret->len, 0, &error);
  if (!ok)
    *ret_why = g_strdup (error->message);
  subject->close (subject->data);
  return ok;
}

/* IMGMOUNT_TEST_RECORD: a file that gets the first record of all, of the first file, to
 * be held against what strace sees between the marks. */
static void
mark (const char *what)
{
  if (g_getenv ("IMGMOUNT_TEST_RECORD"))
    access (what, F_OK);
}

static void
dump_once (const Run *run)
{
  static const char *const kinds[] = {[IM_FILE_WRITE] = "write",
                                      [IM_FILE_ZERO] = "zero",
                                      [IM_FILE_DISCARD] = "discard",
                                      [IM_FILE_RESIZE] = "resize",
                                      [IM_FILE_SYNC] = "sync"};
  static bool done;
  const char *path = g_getenv ("IMGMOUNT_TEST_RECORD");
  size_t n;
  const CrashChange *changes = crash_record_changes (run->record, &n);
  FILE *out = path && !done ? fopen (path, "w") : NULL;

  if (!out)
    return;
  done = true;
  fprintf (out, "%s/%s\n", run->folder, run->subject->names[0]);
  for (size_t i = 0; i < n; i++)
    if (changes[i].file == 0)
      fprintf (out, "%s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n",
               kinds[changes[i].kind], changes[i].offset, changes[i].length);
  fclose (out);
}

/* All that the guests do, recorded.  False where the image refuses to be written. */
static bool
work (Run *run)
{
  const CrashSubject *subject = run->subject;
  const CrashPlan *plan = run->plan;
  CrashRecordOptions options = {.names = subject->names,
                                .folder = run->folder,
                                .fail_every = plan->fail_every,
                                .fail_with = plan->fail_with};
  CrashGuests guests = {.unit = subject->unit,
                        .through = plan->cache == IM_CACHE_WRITETHROUGH ||
                                   plan->cache == IM_CACHE_DIRECTSYNC,
                        .oracle = run->oracle};

  mark ("record begins");
  run->record = guests.record = crash_record_start (&options);
  atomic_init (&guests.next_number, g_rand_int (run->rand) | UINT64_C (1) << 40);
  subject->open (subject->data, run->folder, plan->cache, true, &guests.block);
  bool writable = im_block_is_writable (guests.block);
  if (writable && plan->script)
    plan->script (&guests);
  else if (writable)
    crash_guests_work (&guests, plan->threads, run->steps, plan->fail_every > 0,
                       g_rand_int (run->rand));
  if (plan->seed % 2) /* the disk gets well in time, or does not */
    crash_record_stop_failing (run->record);
  subject->close (subject->data);
  run->failed = crash_record_stop_failing (run->record);
  crash_record_stop (run->record);
  mark ("record ends");
  dump_once (run);
  return writable;
}

static bool crash_again (Run *run, const char *folder);

/* A moment of the record, or one behind its end. */
static size_t
draw_moment (Run *run)
{
  return (size_t)g_rand_int_range (run->rand, 0,
                                   (gint32)crash_record_now (run->record) + 1);
}

static bool
reads_well (Run *run, const char *folder, size_t moment, CrashBytes *ret_found)
{
  return read_disk (run->subject, folder, ret_found, &run->harm) &&
         crash_oracle_allows (run->oracle, ret_found, moment, &run->harm);
}

/* Read twice, since the check may have repaired something. */
static bool
looks_well (Run *run, const char *folder, size_t moment)
{
  g_auto (CrashBytes) found = {0}, again = {0};

  return reads_well (run, folder, moment, &found) &&
         run->subject->check (run->subject->data, folder, &found, &run->harm) &&
         reads_well (run, folder, moment, &again);
}

/* Crashes at MOMENT, into FOLDER, and looks at what is left. */
static bool
crash_at (Run *run, const char *folder, size_t moment)
{
  const CrashSubject *subject = run->subject;

  for (unsigned i = 0; subject->names[i]; i++) {
    g_auto (CrashBytes) left = {0};

    crash_rebuild (run->record, i, &run->before[i], moment, run->rand, &left);
    save (folder, subject->names[i], &left);
  }
  run->rebuilt++;
  return looks_well (run, folder, moment) &&
         (run->plan->again == 0 || g_rand_int (run->rand) % run->plan->again != 0 ||
          crash_again (run, folder));
}

/* Where the crashed copy of what is in FOLDER goes. */
static char *
make_folder (const CrashSubject *subject, const char *folder)
{
  char *inside = g_build_filename (folder, "crashed", NULL);

  g_assert_cmpint (g_mkdir_with_parents (inside, 0700), ==, 0);
  for (unsigned i = 0; subject->parents[i]; i++) {
    g_autofree char *link = g_build_filename (inside, subject->parents[i], NULL);
    g_autofree char *target = g_build_filename ("..", subject->parents[i], NULL);

    if (!g_file_test (link, G_FILE_TEST_IS_SYMLINK))
      g_assert_cmpint (symlink (target, link), ==, 0);
  }
  return inside;
}

static void
begin (Run *run)
{
  for (unsigned i = 0; run->subject->names[i]; i++)
    run->before[i] = load (run->folder, run->subject->names[i]);
  g_assert_true (read_disk (run->subject, run->folder, &run->original, &run->harm));
  run->oracle = crash_oracle_new (&run->original);
}

static void
end (Run *run)
{
  crash_oracle_free (run->oracle);
  crash_record_free (run->record);
  for (unsigned i = 0; i < FILES_MAX; i++)
    crash_bytes_clear (&run->before[i]);
  crash_bytes_clear (&run->original);
}

/* Writes on what a crash left in FOLDER, and crashes that. */
static bool
crash_again (Run *run, const char *folder)
{
  CrashPlan plan = *run->plan;
  Run next = {.subject = run->subject,
              .plan = &plan,
              .folder = folder,
              .steps = run->steps / 3 + 1,
              .rand = run->rand};
  g_autofree char *into = make_folder (run->subject, folder);
  bool ok = true;

  plan.again = 0;
  plan.script = NULL;
  plan.threads = MAX (plan.threads, 1);
  begin (&next);
  if (work (&next))
    for (unsigned i = 0; i < AGAIN_CRASHES && ok; i++)
      ok = crash_at (&next, into, draw_moment (&next));
  if (!ok)
    run->harm = g_strconcat ("the second time: ", next.harm, NULL);
  run->rebuilt += next.rebuilt;
  g_free (next.harm);
  end (&next);
  return ok;
}

/* IMGMOUNT_TEST_KEEP: a folder that is to have the image that did not survive. */
static void
keep (const Run *run, const char *folder)
{
  const char *to = g_getenv ("IMGMOUNT_TEST_KEEP");

  for (unsigned i = 0; to && run->subject->names[i]; i++) {
    g_auto (CrashBytes) left = load (folder, run->subject->names[i]);

    save (to, run->subject->names[i], &left);
  }
}

unsigned
crash_run (const CrashSubject *subject, const CrashPlan *plan, char **ret_harm)
{
  Run run = {.subject = subject,
             .plan = plan,
             .folder = subject->folder,
             .steps = plan->steps,
             .rand = g_rand_new_with_seed (plan->seed)};
  g_autofree char *folder = make_folder (subject, subject->folder);

  begin (&run);
  g_assert_true (work (&run));
  g_assert_true (plan->fail_every == 0 || run.failed > 0);
  for (unsigned i = 0; i < plan->crashes && !run.harm; i++) {
    size_t moment = draw_moment (&run);

    if (!crash_at (&run, folder, moment)) {
      keep (&run, folder);
      g_test_message ("seed %u, before moment %zu of %zu: %s", plan->seed, moment,
                      crash_record_now (run.record), run.harm);
    }
  }
  end (&run);
  g_rand_free (run.rand);
  *ret_harm = run.harm;
  return run.rebuilt;
}

unsigned
crash_wanted (unsigned usually)
{
  const char *factor = g_getenv ("IMGMOUNT_TEST_CRASHES");

  return factor ? usually * (unsigned)atoi (factor) : usually;
}

unsigned
crash_sampled (unsigned n)
{
  const char *sample = g_getenv ("IMGMOUNT_TEST_SAMPLE");

  return sample ? MAX (n / (unsigned)MAX (atoi (sample), 1), 1) : n;
}

uint32_t
crash_seed (uint32_t n)
{
  const char *seed = g_getenv ("IMGMOUNT_TEST_SEED");

  return (seed ? (uint32_t)strtoul (seed, NULL, 0) : 0) + n;
}

void
crash_expect_none (const CrashSubject *subject, const CrashPlan *plan)
{
  g_autofree char *harm = NULL;

  crash_run (subject, plan, &harm);
  if (harm)
    g_error ("seed %u: %s", plan->seed, harm);
}
