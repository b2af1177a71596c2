/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --list and --info. */
#include "base/error.h"
#include "base/log.h"
#include "cli/forms.h"
#include "cli/pipeline.h"
#include "report/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Prints all of TEXT; a full disk or a closed pipe is a failure. */
static int
print (const ImOptions *options, const char *text, const GError *failure)
{
  if (!text)
    return im_form_fail (options->image, failure);
  if (fputs (text, stdout) >= 0 && fflush (stdout) == 0)
    return EXIT_SUCCESS;
  im_log_error ("standard output: %s", g_strerror (errno));
  return EXIT_FAILURE;
}

int
im_form_list (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImPipeline) pipeline = im_pipeline_open (options, &error);
  if (!pipeline)
    return im_form_fail (options->image, error);
  g_autofree char *text =
      options->json ? im_report_list_json (pipeline->image, pipeline->table, &error)
                    : im_report_list (pipeline->image, pipeline->table);
  return print (options, text, error);
}

int
im_form_info (const ImOptions *options)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (ImPipeline) pipeline = im_pipeline_open (options, &error);
  if (!pipeline)
    return im_form_fail (options->image, error);
  g_autofree char *text = options->json ? im_report_info_json (&pipeline->report, &error)
                                        : im_report_info (pipeline->image);
  return print (options, text, error);
}
