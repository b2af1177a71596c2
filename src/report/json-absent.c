/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In the place of JSON, in a build without jansson. */
#include "base/error.h"
#include "report/report.h"

static char *
fail (GError **error)
{
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED, "built without jansson");
  return NULL;
}

char *
im_report_list_json (const ImImage *image, const ImPartitionTable *table, GError **error)
{
  return fail (error);
}

char *
im_report_info_json (const ImReport *report, GError **error)
{
  return fail (error);
}

char *
im_report_provenance_json (const ImReport *report, const ImProvenance *provenance,
                           GError **error)
{
  return fail (error);
}

char *
im_report_status_json (const GPtrArray *mounts, const GPtrArray *devices, GError **error)
{
  return fail (error);
}

bool
im_report_has_json (void)
{
  return false;
}
