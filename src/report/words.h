/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The words in which text and JSON say the same things; nobody outside src/report
 * includes it. */
#pragma once

#include "base/served.h"
#include "partition/partition.h"

#include <time.h>

/* "gpt", "dos" as sfdisk says; NULL for NONE. */
const char *im_word_of_label (ImTableKind kind);
/* "primary", "backup", "ebr". */
const char *im_word_of_source (ImTableSource source);
/* "good", "bad-entries", "bad-header", "absent"; NULL where there is no such copy. */
const char *im_word_of_check (ImTableCheck check);
/* "protective", "hybrid", "other" beside a GPT; NULL elsewhere. */
const char *im_word_of_mbr (const ImPartitionTable *table);

/* "served", "dead", "unknown". */
const char *im_word_of_state (ImServedState state);

/* The words for FLAGS' bits, NULL-ended, static text; the array is the caller's. */
const char **im_words_of_flags (unsigned flags);

/* SECONDS since the epoch as RFC 3339 in UTC.  Caller frees. */
char *im_format_time (time_t seconds);
