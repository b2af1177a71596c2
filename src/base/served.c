/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Something that a process of ours serves. */
#include "base/served.h"

void
im_served_free (void *data)
{
  ImServed *served = data;
  g_free (served->where);
  g_free (served->image);
  g_free (served);
}
