/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --list and --info. */
#include "cli/forms.h"
#include "cli/pipeline.h"
#include "report/report.h"

#include <unistd.h>

static int
print (const ImOptions *options, const char *text, const GError *failure)
{
  return text ? im_form_print (text) : im_form_fail (options->image, failure);
}

/* The listing, and on a terminal the disk drawn beneath it. */
static char *
list_for_people (const ImPipeline *pipeline)
{
  ImTerminal terminal;
  g_autofree char *list = im_report_list (pipeline->image, pipeline->table);
  if (!im_terminal_look (STDOUT_FILENO, &terminal))
    return g_steal_pointer (&list);
  g_autofree char *drawing =
      im_report_drawing (pipeline->disk, pipeline->table, &terminal);
  return g_strconcat (list, *drawing ? "\n" : "", drawing, NULL);
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
                    : list_for_people (pipeline);
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
                                        : im_report_info (&pipeline->report);
  return print (options, text, error);
}
