/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Words for what the partition layer found. */
#include "report/words.h"

const char *
im_word_of_label (ImTableKind kind)
{
  static const char *const words[] = {
      [IM_TABLE_NONE] = NULL,    [IM_TABLE_MBR] = "dos", [IM_TABLE_GPT] = "gpt",
      [IM_TABLE_APPLE] = "mac",  [IM_TABLE_SUN] = "sun", [IM_TABLE_SGI] = "sgi",
      [IM_TABLE_ATARI] = "atari"};
  return words[kind];
}

const char *
im_word_of_source (ImTableSource source)
{
  static const char *const words[] = {[IM_SOURCE_PRIMARY] = "primary",
                                      [IM_SOURCE_BACKUP] = "backup",
                                      [IM_SOURCE_EBR] = "ebr",
                                      [IM_SOURCE_DISKLABEL] = "disklabel"};
  return words[source];
}

const char *
im_word_of_check (ImTableCheck check)
{
  static const char *const words[] = {[IM_CHECK_NONE] = NULL,
                                      [IM_CHECK_GOOD] = "good",
                                      [IM_CHECK_BAD_ENTRIES] = "bad-entries",
                                      [IM_CHECK_BAD_HEADER] = "bad-header",
                                      [IM_CHECK_ABSENT] = "absent"};
  return words[check];
}

const char *
im_word_of_mbr (const ImPartitionTable *table)
{
  if (table->kind != IM_TABLE_GPT)
    return NULL;
  if (table->hybrid)
    return "hybrid";
  return table->protective ? "protective" : "other";
}

const char *
im_word_of_state (ImServedState state)
{
  static const char *const words[] = {
      [IM_SERVED] = "served", [IM_SERVED_DEAD] = "dead", [IM_SERVED_UNKNOWN] = "unknown"};
  return words[state];
}

const char **
im_words_of_flags (unsigned flags)
{
  static const struct {
    ImPartitionFlags bit;
    const char *word;
  } words[] = {
      {IM_PARTITION_TRUNCATED, "truncated"}, {IM_PARTITION_OVERLAPS, "overlaps"},
      {IM_PARTITION_PAST_END, "past-end"},   {IM_PARTITION_BAD_RANGE, "bad-range"},
      {IM_PARTITION_OUTSIDE, "outside"},
  };
  const char **found = g_new0 (const char *, G_N_ELEMENTS (words) + 1);
  size_t n = 0;
  for (size_t i = 0; i < G_N_ELEMENTS (words); i++)
    if (flags & words[i].bit)
      found[n++] = words[i].word;
  return found;
}

char *
im_format_time (time_t seconds)
{
  struct tm tm;
  char text[sizeof "-2147483648-12-31T23:59:60Z"];
  if (!gmtime_r (&seconds, &tm) ||
      !strftime (text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm))
    return g_strdup ("1970-01-01T00:00:00Z");
  return g_strdup (text);
}
