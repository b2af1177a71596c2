/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --verify: what is wrong with an image, in lines, a sum and a status. */
#include "base/log.h"
#include "base/text.h"
#include "cli/forms.h"
#include "cli/pipeline.h"
#include "job/verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void
print_line (void *data, const char *line)
{
  const ImOptions *options = data;
  g_autofree char *whole = g_strconcat (options->image, ": ", line, NULL);
  g_autofree char *text = im_text_line (whole, false);
  puts (text);
}

/* The last line, with what was looked at, so that "nothing" can be judged. */
static void
print_sum (const ImOptions *options, const ImPipeline *pipeline, const ImVerified *found)
{
  const ImImage *image = pipeline->image;
  const char *structure =
      image->disk->ops->check ? "structure checked" : "nothing in it to be checked";
  g_autofree char *line = g_strdup_printf (
      "%s: %s; %s: %" G_GUINT64_FORMAT " errors, %" G_GUINT64_FORMAT " leaked clusters",
      image->format->name, structure,
      pipeline->table->kind == IM_TABLE_NONE ? "no partition table"
                                             : "partition table checked",
      found->errors, found->leaks);
  print_line ((void *)options, line);
}

int
im_form_verify (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImPipeline) pipeline = im_pipeline_open (options, &error);
  ImVerified found;
  if (!pipeline || !im_verify (pipeline->image, pipeline->table, print_line,
                               (void *)options, &found, &error))
    return im_form_fail (options->image, error);
  print_sum (options, pipeline, &found);
  if (fflush (stdout) != 0) {
    im_log_error ("standard output: %s", g_strerror (errno));
    return EXIT_FAILURE;
  }
  return found.errors + found.leaks > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
