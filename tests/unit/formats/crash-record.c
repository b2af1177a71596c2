/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The recorder of changes. */
#include "crash-record.h"
#include <pthread.h>

enum { SYNC_TAKES = 300 }; /* microseconds */

struct CrashRecord {
  CrashRecordOptions options;
  atomic_uint fail_every; /* as the options have it, until it is stopped */
  atomic_size_t moment;
  pthread_mutex_t mutex;    /* guards all below */
  unsigned counted, failed; /* changes */
  unsigned row;             /* how many more fail before one works */
  GArray *changes;          /* CrashChange */
  GHashTable *under_way;    /* ImFileChange → index of its own, plus one */
};

static CrashRecord *current;

static void
clear_change (gpointer data)
{
  g_free (((CrashChange *)data)->bytes);
}

static unsigned
number_of (const CrashRecord *record, const ImFile *file)
{
  g_autofree char *folder = g_path_get_dirname (im_file_path (file));
  g_autofree char *name = g_path_get_basename (im_file_path (file));

  if (strcmp (folder, record->options.folder) == 0)
    for (unsigned i = 0; record->options.names[i]; i++)
      if (strcmp (name, record->options.names[i]) == 0)
        return i;
  g_error ("%s is changed, which nobody may", im_file_path (file));
}

static uint8_t *
copy_bytes (const ImFileChange *change)
{
  uint8_t *bytes = g_malloc (change->length);
  uint64_t done = 0;

  for (size_t i = 0; i < change->n; i++) {
    memcpy (bytes + done, change->iov[i].iov_base, change->iov[i].iov_len);
    done += change->iov[i].iov_len;
  }
  g_assert_cmpuint (done, ==, change->length);
  return bytes;
}

/* 0, or the errno that this change is to fail with; failures come in rows of up to three,
 * so that what is tried again fails again. */
static int
draw_failure_locked (CrashRecord *record, const ImFileChange *change)
{
  unsigned every = atomic_load (&record->fail_every);

  if (every == 0 || change->kind == IM_FILE_SYNC)
    return 0;
  if (record->row == 0 && record->counted++ * 2654435761u % every == 0)
    record->row = 1 + record->counted % 3;
  if (record->row == 0)
    return 0;
  record->row--;
  record->failed++;
  return record->options.fail_with;
}

static int
submitted (ImFile *file, const ImFileChange *change)
{
  CrashRecord *record = current;
  CrashChange ours = {.kind = change->kind,
                      .file = number_of (record, file),
                      .offset = change->offset,
                      .length = change->length,
                      .durable = change->durable,
                      .completed = CRASH_NEVER};

  if (change->kind == IM_FILE_WRITE)
    ours.bytes = copy_bytes (change);
  pthread_mutex_lock (&record->mutex);
  int failure = draw_failure_locked (record, change);
  ours.failed = failure != 0;
  ours.submitted = atomic_fetch_add (&record->moment, 1);
  g_array_append_val (record->changes, ours);
  if (failure == 0)
    g_hash_table_insert (record->under_way, (gpointer)change,
                         GUINT_TO_POINTER (record->changes->len));
  pthread_mutex_unlock (&record->mutex);
  /* In memory a sync takes no time; on a disk others do much meanwhile. */
  if (change->kind == IM_FILE_SYNC)
    g_usleep (SYNC_TAKES);
  return failure;
}

static void
completed (ImFile *file, const ImFileChange *change)
{
  CrashRecord *record = current;

  pthread_mutex_lock (&record->mutex);
  guint i = GPOINTER_TO_UINT (g_hash_table_lookup (record->under_way, change));
  g_assert_cmpuint (i, >, 0);
  g_array_index (record->changes, CrashChange, i - 1).completed =
      atomic_fetch_add (&record->moment, 1);
  g_hash_table_remove (record->under_way, change);
  pthread_mutex_unlock (&record->mutex);
}

CrashRecord *
crash_record_start (const CrashRecordOptions *options)
{
  static const ImFileHooks hooks = {.before = submitted, .after = completed};
  CrashRecord *record = g_new0 (CrashRecord, 1);

  record->options = *options;
  atomic_init (&record->fail_every, options->fail_every);
  pthread_mutex_init (&record->mutex, NULL);
  record->changes = g_array_new (FALSE, FALSE, sizeof (CrashChange));
  g_array_set_clear_func (record->changes, clear_change);
  record->under_way = g_hash_table_new (NULL, NULL);
  current = record;
  atomic_store (&im_file_hooks, &hooks);
  return record;
}

void
crash_record_stop (CrashRecord *record)
{
  g_assert_true (record == current);
  atomic_store (&im_file_hooks, NULL);
  current = NULL;
}

void
crash_record_free (CrashRecord *record)
{
  g_assert_true (record != current);
  g_array_unref (record->changes);
  g_hash_table_unref (record->under_way);
  pthread_mutex_destroy (&record->mutex);
  g_free (record);
}

size_t
crash_record_now (CrashRecord *record)
{
  return atomic_load (&record->moment);
}

size_t
crash_record_tick (CrashRecord *record)
{
  return atomic_fetch_add (&record->moment, 1);
}

unsigned
crash_record_stop_failing (CrashRecord *record)
{
  atomic_store (&record->fail_every, 0);
  pthread_mutex_lock (&record->mutex);
  unsigned failed = record->failed;
  pthread_mutex_unlock (&record->mutex);
  return failed;
}

const CrashChange *
crash_record_changes (const CrashRecord *record, size_t *ret_n)
{
  *ret_n = record->changes->len;
  return (const CrashChange *)record->changes->data;
}
