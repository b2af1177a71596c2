/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The oracle of guest sectors. */
#include "crash-oracle.h"
#include <pthread.h>

typedef struct {
  CrashWrite write;
  size_t submitted, completed;
  size_t durable; /* a crash at this moment or later must leave it */
} Entry;

struct CrashOracle {
  const CrashBytes *original;
  pthread_mutex_t mutex; /* guards the array */
  GArray *entries;       /* Entry, by submission */
};

void
crash_fill (uint8_t *bytes, uint64_t number)
{
  for (unsigned i = 0; i < CRASH_SECTOR / 8; i++) {
    uint64_t word = number == 0 ? 0 : number * UINT64_C (0x9e3779b97f4a7c15) + i;

    memcpy (bytes + i * 8, &word, 8);
  }
}

CrashOracle *
crash_oracle_new (const CrashBytes *original)
{
  CrashOracle *oracle = g_new0 (CrashOracle, 1);

  oracle->original = original;
  pthread_mutex_init (&oracle->mutex, NULL);
  oracle->entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  return oracle;
}

void
crash_oracle_free (CrashOracle *oracle)
{
  g_array_unref (oracle->entries);
  pthread_mutex_destroy (&oracle->mutex);
  g_free (oracle);
}

size_t
crash_oracle_submit (CrashOracle *oracle, const CrashWrite *write, size_t moment)
{
  Entry entry = {.write = *write,
                 .submitted = moment,
                 .completed = CRASH_NEVER,
                 .durable = CRASH_NEVER};

  pthread_mutex_lock (&oracle->mutex);
  g_array_append_val (oracle->entries, entry);
  size_t name = oracle->entries->len - 1;
  pthread_mutex_unlock (&oracle->mutex);
  return name;
}

void
crash_oracle_complete (CrashOracle *oracle, size_t write, size_t moment, bool durable)
{
  pthread_mutex_lock (&oracle->mutex);
  Entry *entry = &g_array_index (oracle->entries, Entry, write);
  entry->completed = moment;
  if (durable)
    entry->durable = moment;
  pthread_mutex_unlock (&oracle->mutex);
}

void
crash_oracle_flush (CrashOracle *oracle, size_t began, size_t moment)
{
  pthread_mutex_lock (&oracle->mutex);
  for (guint i = 0; i < oracle->entries->len; i++) {
    Entry *entry = &g_array_index (oracle->entries, Entry, i);

    if (entry->completed <= began)
      entry->durable = MIN (entry->durable, moment);
  }
  pthread_mutex_unlock (&oracle->mutex);
}

static bool
holds (const CrashBytes *found, uint64_t sector, uint64_t number)
{
  uint8_t bytes[CRASH_SECTOR];
  size_t at = sector * CRASH_SECTOR;

  crash_fill (bytes, number);
  return memcmp (found->bytes + at, bytes, MIN (CRASH_SECTOR, found->len - at)) == 0;
}

/* OK[s]: what was found in sector s is one of the values up to here. */
static void
follow (const Entry *entry, const CrashBytes *found, size_t moment, bool *ok)
{
  const CrashWrite *w = &entry->write;

  for (uint64_t k = 0; k < w->n; k++) {
    bool same = holds (found, w->first + k, w->number == 0 ? 0 : w->number + k);
    bool replaces = entry->durable <= moment && !w->discard;

    ok[w->first + k] = same || (!replaces && ok[w->first + k]);
  }
}

bool
crash_oracle_allows (CrashOracle *oracle, const CrashBytes *found, size_t moment,
                     char **ret_why)
{
  const CrashBytes *original = oracle->original;
  uint64_t sectors = (found->len + CRASH_SECTOR - 1) / CRASH_SECTOR;
  g_autofree bool *ok = g_new (bool, sectors);

  g_assert_cmpuint (found->len, ==, original->len);
  for (uint64_t s = 0; s < sectors; s++)
    ok[s] = memcmp (found->bytes + s * CRASH_SECTOR, original->bytes + s * CRASH_SECTOR,
                    MIN (CRASH_SECTOR, found->len - s * CRASH_SECTOR)) == 0;
  for (guint i = 0; i < oracle->entries->len; i++) {
    const Entry *entry = &g_array_index (oracle->entries, Entry, i);

    if (entry->submitted >= moment)
      break;
    follow (entry, found, moment, ok);
  }
  for (uint64_t s = 0; s < sectors; s++)
    if (!ok[s]) {
      *ret_why = g_strdup_printf ("sector %" G_GUINT64_FORMAT
                                  " holds what it must not; it begins with 0x%02x%02x",
                                  s, found->bytes[s * CRASH_SECTOR],
                                  found->bytes[s * CRASH_SECTOR + 1]);
      return false;
    }
  return true;
}
