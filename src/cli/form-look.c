/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --list and --info. */
#include "cli/forms.h"
#include "cli/pipeline.h"
#include "report/report.h"

static int
print (const ImOptions *options, const char *text, const GError *failure)
{
  return text ? im_form_print (text) : im_form_fail (options->image, failure);
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
  g_autofree char *text =
      options->json ? im_report_info_json (pipeline->image, pipeline->table, &error)
                    : im_report_info (pipeline->image);
  return print (options, text, error);
}
