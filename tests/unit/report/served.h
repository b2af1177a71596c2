/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mounts and devices for tests of --status. */
#pragma once

#include "report/report.h"

static ImServed test_mounts[] = {
    {.where = (char *)"/mnt/img",
     .image = (char *)"/images/vm.qcow2",
     .pid = 1234,
     .user = 1000},
    {.where = (char *)"/mnt/a\nb \xc3\xa9",
     .image = (char *)"/images/x.raw",
     .read_only = true,
     .state = IM_SERVED_DEAD},
};

static ImServed test_devices[] = {
    {.where = (char *)"/dev/nbd0", .pid = 99, .state = IM_SERVED_UNKNOWN},
};

/* The first N of SERVED. */
static inline GPtrArray *
test_served (ImServed *served, size_t n)
{
  GPtrArray *list = g_ptr_array_new ();
  for (size_t i = 0; i < n; i++)
    g_ptr_array_add (list, &served[i]);
  return list;
}
