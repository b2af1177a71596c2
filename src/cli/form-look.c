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
#include <unistd.h>

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
  g_autofree char *text =
      options->json ? im_report_info_json (pipeline->image, pipeline->table, &error)
                    : im_report_info (pipeline->image);
  return print (options, text, error);
}
