/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --extract: a disk, a partition or a gap, copied out with its provenance. */
#include "base/error.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/forms.h"
#include "cli/pipeline.h"
#include "job/extract.h"
#include "job/target.h"
#include "report/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* One extraction, from names to results. */
typedef struct {
  const ImOptions *options;
  ImPipeline *pipeline;
  const ImExport *source; /* the set's */
  char **digests;         /* names */
  char *provenance;       /* the path of FILE.json, or NULL: none is written */
  atomic_bool cancel;
  time_t begun;
} Extraction;

static void
cancel (void *data, int signal)
{
  atomic_store (&((Extraction *)data)->cancel, true);
}

/* --digest: the names, in our order, each once. */
static char **
parse_digests (const char *text, GError **error)
{
  const char *const *known = im_digest_names ();
  g_auto (GStrv) wanted = g_strsplit (text ? text : "", ",", -1);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  bool none = text && strcmp (text, "none") == 0;
  const char *unknown = text && !*wanted ? "" : NULL;
  for (char **w = wanted; *w && !none && !unknown; w++)
    unknown = g_strv_contains (known, *w) ? NULL : *w;
  if (unknown) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "--digest: '%s' is none of md5, sha1, sha256, none", unknown);
    return NULL;
  }
  for (; *known && !none; known++)
    if (!text || g_strv_contains ((const char *const *)wanted, *known))
      g_ptr_array_add (names, g_strdup (*known));
  g_ptr_array_add (names, NULL);
  return (char **)g_ptr_array_free (g_steal_pointer (&names), FALSE);
}

/* Beside a regular file alone, and where this build can write it. */
static char *
provenance_path (const char *output)
{
  struct stat st;
  if (strcmp (output, "-") == 0 || (stat (output, &st) == 0 && !S_ISREG (st.st_mode)))
    return NULL;
  if (!im_report_has_json ()) {
    im_log_warning ("%s.json: not written: built without jansson", output);
    return NULL;
  }
  return g_strconcat (output, ".json", NULL);
}

/* Before the image is opened: the target itself is sure of it once more at the end. */
static bool
check_is_free (const Extraction *e, const char *path, GError **error)
{
  struct stat st;
  if (!path || e->options->force || stat (path, &st) < 0 || !S_ISREG (st.st_mode))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
               "%s: is there already (--force replaces it)", path);
  return false;
}

/* FORCE is for an older copy: what is being read is never written over. */
static bool
check_is_other (const Extraction *e, const char *path, GError **error)
{
  struct stat st;
  bool there = path && (strcmp (path, "-") == 0 ? fstat (STDOUT_FILENO, &st)
                                                : stat (path, &st)) == 0;
  const char *part = there ? im_image_part (e->pipeline->image, &st) : NULL;
  if (!part)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "%s: is %s",
               strcmp (path, "-") == 0 ? "standard output" : path, part);
  return false;
}

static bool
find_source (Extraction *e, GError **error)
{
  const ImExportSet *set = e->pipeline->set;
  e->source = im_export_set_find (set, e->options->extract);
  if (e->source)
    return true;
  g_autoptr (GString) names = g_string_new (NULL);
  for (guint i = 0; i < set->blocks->len; i++) {
    const ImExport *block = set->blocks->pdata[i];
    g_string_append_printf (names, "%s%s", i ? ", " : "", block->name);
  }
  g_set_error (error, IM_ERROR, IM_ERROR_NOT_FOUND, "--extract: no '%s' (there are: %s)",
               e->options->extract, names->str);
  return false;
}

/* NAME as md5sum and its like have it in a line, which begins with a backslash where
 * anything in it is escaped.  Caller frees. */
static char *
escape_name (const char *name)
{
  GString *escaped = g_string_new (NULL);
  for (; *name; name++)
    switch (*name) {
    case '\\':
      g_string_append (escaped, "\\\\");
      break;
    case '\n':
      g_string_append (escaped, "\\n");
      break;
    case '\r':
      g_string_append (escaped, "\\r");
      break;
    default:
      g_string_append_c (escaped, *name);
    }
  return g_string_free (escaped, FALSE);
}

/* In the format that md5sum and its like take with --check. */
static void
print_digests (const Extraction *e, const ImExtracted *extracted)
{
  bool to_stdout = strcmp (e->options->output, "-") == 0;
  g_autofree char *file = escape_name (e->options->output);
  const char *mark = strchr (file, '\\') ? "\\" : "";
  for (guint i = 0; i < extracted->digests->len; i++) {
    ImDigest *digest = extracted->digests->pdata[i];
    g_autofree char *name = g_ascii_strup (im_digest_name (digest), -1);
    fprintf (to_stdout ? stderr : stdout, "%s%s (%s) = %s\n", mark, name, file,
             im_digest_text (digest));
  }
}

static bool
write_provenance (const Extraction *e, const ImExtracted *extracted, GError **error)
{
  g_autoptr (GPtrArray) texts = g_ptr_array_new ();
  for (guint i = 0; i < extracted->digests->len; i++)
    g_ptr_array_add (texts, (char *)im_digest_text (extracted->digests->pdata[i]));
  g_ptr_array_add (texts, NULL);
  g_autofree char *file = g_canonicalize_filename (e->options->output, NULL);
  ImProvenance provenance = {
      .what = e->source->name,
      .file = file,
      .offset = e->source->offset,
      .size = extracted->size,
      .begun = e->begun,
      .ended = time (NULL),
      .digest_names = (const char *const *)e->digests,
      .digests = (const char *const *)texts->pdata,
  };
  g_autofree char *text =
      im_report_provenance_json (&e->pipeline->report, &provenance, error);
  return text && im_target_write_text (e->provenance, e->options->force, text, error);
}

/* The ranges have been logged as they were found. */
static void
warn_of_damage (const Extraction *e)
{
  uint64_t bytes, unlisted;
  g_autoptr (GArray) ranges = im_damage_list (e->pipeline->damage, e->source->offset,
                                              e->source->block->size, &unlisted);
  bytes = unlisted;
  for (guint i = 0; i < ranges->len; i++)
    bytes += g_array_index (ranges, ImDamageRange, i).length;
  if (bytes == 0)
    return;
  im_log_warning ("%s: damaged: %" G_GUINT64_FORMAT
                  " bytes in %s%u range%s are zeros%s%s",
                  e->options->output, bytes, unlisted ? "more than " : "", ranges->len,
                  ranges->len == 1 ? "" : "s", e->provenance ? ", listed in " : "",
                  e->provenance ? e->provenance : "");
}

static bool
extract (Extraction *e, GError **error)
{
  ImExtractOptions options = {.path = e->options->output,
                              .force = e->options->force,
                              .digests = (const char *const *)e->digests,
                              .cancel = &e->cancel};
  g_auto (ImExtracted) extracted = {0};
  if (!im_extract (e->source->block, &options, &extracted, error))
    return false;
  print_digests (e, &extracted);
  warn_of_damage (e);
  return !e->provenance || write_provenance (e, &extracted, error);
}

static bool
run (Extraction *e, GError **error)
{
  e->digests = parse_digests (e->options->digests, error);
  if (!e->digests || !check_is_free (e, e->options->output, error) ||
      !check_is_free (e, e->provenance, error))
    return false;
  e->pipeline = im_pipeline_open (e->options, error);
  if (!e->pipeline || !check_is_other (e, e->options->output, error) ||
      !check_is_other (e, e->provenance, error) ||
      !im_pipeline_build_exports (e->pipeline, e->options, error) ||
      !find_source (e, error))
    return false;
  im_process_watch_signals (cancel, e);
  bool ok = extract (e, error);
  im_process_unwatch_signals ();
  return ok;
}

int
im_form_extract (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  Extraction e = {.options = options, .begun = time (NULL)};
  im_process_block_signals ();
  e.provenance = provenance_path (options->output);
  bool ok = run (&e, &error);
  im_pipeline_free (e.pipeline);
  g_strfreev (e.digests);
  g_free (e.provenance);
  return ok ? EXIT_SUCCESS : im_form_fail (options->image, error);
}
