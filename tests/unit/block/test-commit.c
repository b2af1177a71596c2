/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commits, quarantine and operations: the order of writing, and when a range is free. */
#include "base/error.h"
#include "block/commit.h"
#include "block/file-internal.h"
#include "block/operation.h"
#include "block/quarantine.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <unistd.h>

/* What happened to the files, a character each: a rank's write, s for a sync, d for one
 * of the data file. */
static GString *story;
static const ImFile *data_file;
static bool data_fails;
static int failure; /* of writes */

static int
before (ImFile *file, const ImFileChange *change)
{
  if (change->kind == IM_FILE_SYNC)
    return data_fails && file == data_file ? EIO : 0;
  return change->kind == IM_FILE_WRITE ? failure : 0;
}

static void
after (ImFile *file, const ImFileChange *change)
{
  if (change->kind == IM_FILE_WRITE)
    g_string_append_c (story, *(char *)change->iov[0].iov_base);
  else if (change->kind == IM_FILE_SYNC)
    g_string_append_c (story, file == data_file ? 'd' : 's');
}

static const ImFileHooks hooks = {.before = before, .after = after};

typedef struct {
  const char *ranks; /* to be written by each commit, in any order */
  unsigned collected, durable, failed;
  unsigned last; /* ranks that the last commit made durable */
} Owner;

static void
collect (void *data, ImCommitBatch *batch)
{
  Owner *owner = data;
  owner->collected++;
  for (const char *r = owner->ranks; *r; r++)
    im_commit_add (batch, (unsigned)(*r - '0'), (uint64_t)(r - owner->ranks),
                   g_memdup2 (r, 1), 1);
}

static void
finished (void *data, unsigned durable)
{
  Owner *owner = data;
  owner->durable += durable == IM_COMMIT_RANKS;
  owner->failed += durable < IM_COMMIT_RANKS;
  owner->last = durable;
}

static const ImCommitOps ops = {.collect = collect, .finished = finished};

static ImFile *
new_file (void)
{
  g_autofree char *path = NULL;
  int fd = g_file_open_tmp ("imgmount-XXXXXX", &path, NULL);
  g_assert_cmpint (fd, >=, 0);
  close (fd);
  ImFile *file = im_file_open_writable (path, IM_CACHE_WRITEBACK, NULL);
  g_unlink (path);
  return file;
}

static void
test_ranks_in_order (void)
{
  static const struct {
    const char *ranks, *story;
  } cases[] = {
      {"", "s"},
      {"0", "0s"},
      {"1", "1s"},
      {"3", "s3s"},
      {"31", "1s3s"},
      {"3121", "11s2s3s"},
      {"30412", "0s1s2s3s4s"},
  };
  g_autoptr (ImFile) file = new_file ();
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    Owner owner = {.ranks = cases[i].ranks};
    ImCommit *commit = im_commit_new (&ops, &owner, file);
    story = g_string_new (NULL);
    atomic_store (&im_file_hooks, &hooks);
    g_assert_true (im_commit_now (commit, NULL));
    atomic_store (&im_file_hooks, NULL);
    g_assert_cmpstr (story->str, ==, cases[i].story);
    g_assert_cmpuint (owner.durable, ==, 1);
    g_string_free (story, TRUE);
    im_commit_free (commit);
  }
}

static void
test_failure_is_told_and_passes (void)
{
  g_autoptr (ImFile) file = new_file ();
  Owner owner = {.ranks = "13"};
  ImCommit *commit = im_commit_new (&ops, &owner, file);
  g_autoptr (GError) error = NULL;
  story = g_string_new (NULL);
  atomic_store (&im_file_hooks, &hooks);
  failure = ENOSPC;
  g_assert_false (im_commit_now (commit, &error));
  g_assert_error (error, IM_ERRNO, ENOSPC);
  g_assert_cmpstr (story->str, ==, "");
  failure = 0;
  g_assert_true (im_commit_now (commit, NULL));
  atomic_store (&im_file_hooks, NULL);
  g_assert_cmpuint (owner.failed, ==, 1);
  g_assert_cmpuint (owner.durable, ==, 1);
  g_string_free (story, TRUE);
  im_commit_free (commit);
}

/* Fails the write of rank FAILS. */
static char fails;

static int
fail_one (ImFile *file, const ImFileChange *change)
{
  return change->kind == IM_FILE_WRITE && *(char *)change->iov[0].iov_base == fails ? EIO
                                                                                    : 0;
}

static void
test_failure_tells_what_is_durable (void)
{
  static const ImFileHooks failing = {.before = fail_one, .after = after};
  static const struct {
    const char *ranks;
    char fails;
    unsigned durable;
    const char *story;
  } cases[] = {
      {"0123", '0', 0, ""},       {"123", '1', 1, ""},          {"123", '2', 2, "1s"},
      {"123", '3', 3, "1s2s"},    {"3", '3', 3, "s"},           {"13", '3', 3, "1s"},
      {"1234", '4', 4, "1s2s3s"}, {"1234", '5', 5, "1s2s3s4s"},
  };
  g_autoptr (ImFile) file = new_file ();
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    Owner owner = {.ranks = cases[i].ranks};
    ImCommit *commit = im_commit_new (&ops, &owner, file);
    story = g_string_new (NULL);
    fails = cases[i].fails;
    atomic_store (&im_file_hooks, &failing);
    im_commit_now (commit, NULL);
    atomic_store (&im_file_hooks, NULL);
    g_assert_cmpuint (owner.last, ==, cases[i].durable);
    g_assert_cmpstr (story->str, ==, cases[i].story);
    g_string_free (story, TRUE);
    im_commit_free (commit);
  }
}

/* Once, before anything that may point at it, and also where nothing does. */
static void
test_data_file_is_synced_first (void)
{
  static const struct {
    const char *ranks, *story;
  } cases[] = {{"", "ds"}, {"3", "ds3s"}, {"31", "1ds3s"}, {"3121", "11ds2s3s"}};
  g_autoptr (ImFile) file = new_file ();
  g_autoptr (ImFile) data = new_file ();
  data_file = data;
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    Owner owner = {.ranks = cases[i].ranks};
    ImCommit *commit = im_commit_new (&ops, &owner, file);
    im_commit_add_file (commit, data);
    story = g_string_new (NULL);
    atomic_store (&im_file_hooks, &hooks);
    g_assert_true (im_commit_now (commit, NULL));
    atomic_store (&im_file_hooks, NULL);
    g_assert_cmpstr (story->str, ==, cases[i].story);
    g_string_free (story, TRUE);
    im_commit_free (commit);
  }
}

static void
test_data_file_that_failed_stops_commits (void)
{
  g_autoptr (ImFile) file = new_file ();
  g_autoptr (ImFile) data = new_file ();
  Owner owner = {.ranks = "13"};
  ImCommit *commit = im_commit_new (&ops, &owner, file);
  g_autoptr (GError) error = NULL;
  data_file = data;
  data_fails = true;
  im_commit_add_file (commit, data);
  story = g_string_new (NULL);
  atomic_store (&im_file_hooks, &hooks);
  g_assert_false (im_commit_now (commit, &error));
  g_assert_error (error, IM_ERRNO, EIO);
  data_fails = false;
  g_assert_false (im_commit_now (commit, NULL));
  atomic_store (&im_file_hooks, NULL);
  g_assert_cmpstr (story->str, ==, "1");
  g_string_free (story, TRUE);
  im_commit_free (commit);
}

static guint
count_taken (ImQuarantine *q, bool all)
{
  g_autoptr (GArray) taken = im_quarantine_take (q, all);
  return taken->len;
}

static void
test_quarantine_needs_a_commit (void)
{
  ImQuarantine q;
  im_quarantine_init (&q);
  im_quarantine_add (&q, 0, 512, false);
  g_assert_cmpuint (count_taken (&q, true), ==, 0);
  im_quarantine_seal (&q);
  im_quarantine_add (&q, 512, 512, false); /* the next commit's */
  g_assert_cmpuint (count_taken (&q, true), ==, 0);
  im_quarantine_settle (&q, false);
  g_assert_cmpuint (count_taken (&q, true), ==, 0);
  im_quarantine_seal (&q);
  im_quarantine_settle (&q, true);
  g_assert_cmpuint (q.bytes, ==, 1024);
  g_assert_cmpuint (count_taken (&q, false), ==, 2);
  g_assert_cmpuint (q.bytes, ==, 0);
  im_quarantine_clear (&q);
}

static void
test_quarantine_waits_for_operations (void)
{
  ImQuarantine q;
  im_quarantine_init (&q);
  im_operation_begin ();
  im_quarantine_add (&q, 0, 512, false);
  im_quarantine_seal (&q);
  im_quarantine_settle (&q, true);
  g_assert_cmpuint (count_taken (&q, false), ==, 0);
  im_operation_begin (); /* nested: the outer one still counts */
  im_operation_end ();
  g_assert_cmpuint (count_taken (&q, false), ==, 0);
  im_operation_end ();
  im_operation_begin (); /* begun after the removal */
  g_assert_cmpuint (count_taken (&q, false), ==, 1);
  im_operation_end ();
  im_quarantine_clear (&q);
}

/* Readers of a word that a writer replaces and frees once they have passed: for the
 * sanitizers to judge. */
static _Atomic (uint64_t *) current;
static atomic_bool stop;

static void *
read_words (void *data)
{
  while (!atomic_load (&stop)) {
    im_operation_begin ();
    g_assert_cmpuint (*atomic_load (&current), ==, 42);
    im_operation_end ();
  }
  return NULL;
}

static void
test_nobody_uses_what_was_freed (void)
{
  pthread_t threads[4];
  uint64_t *first = g_new (uint64_t, 1);
  *first = 42;
  atomic_store (&current, first);
  for (unsigned i = 0; i < 4; i++)
    pthread_create (&threads[i], NULL, read_words, NULL);
  for (unsigned i = 0; i < 300; i++) {
    uint64_t *next = g_new (uint64_t, 1);
    *next = 42;
    uint64_t *old = atomic_exchange (&current, next);
    uint64_t stamp = im_operation_stamp ();
    while (!im_operation_passed (stamp))
      g_thread_yield ();
    *old = 0;
    g_free (old);
  }
  atomic_store (&stop, true);
  for (unsigned i = 0; i < 4; i++)
    pthread_join (threads[i], NULL);
  g_free (atomic_load (&current));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/commit/ranks-in-order", test_ranks_in_order);
  g_test_add_func ("/block/commit/failure-is-told-and-passes",
                   test_failure_is_told_and_passes);
  g_test_add_func ("/block/commit/failure-tells-what-is-durable",
                   test_failure_tells_what_is_durable);
  g_test_add_func ("/block/commit/data-file-is-synced-first",
                   test_data_file_is_synced_first);
  g_test_add_func ("/block/commit/data-file-that-failed-stops-commits",
                   test_data_file_that_failed_stops_commits);
  g_test_add_func ("/block/quarantine/needs-a-commit", test_quarantine_needs_a_commit);
  g_test_add_func ("/block/quarantine/waits-for-operations",
                   test_quarantine_waits_for_operations);
  g_test_add_func ("/block/operation/nobody-uses-what-was-freed",
                   test_nobody_uses_what_was_freed);
  return g_test_run ();
}
