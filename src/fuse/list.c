/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is mounted here. */
#include "fuse/fuse.h"
#include "fuse/health.h"
#include "fuse/mount.h"
#include <unistd.h>

static ImServed *
describe (GPtrArray *table, const ImMountEntry *entry, unsigned user)
{
  ImServed *served = g_new0 (ImServed, 1);
  served->where = g_strdup (entry->path);
  served->image = g_strdup (entry->source);
  served->read_only = entry->read_only;
  served->user = user;
  served->state = im_fuse_health (table, entry, &served->pid);
  return served;
}

bool
im_fuse_list (GPtrArray *list, GError **error)
{
  g_autoptr (GPtrArray) table = im_mount_table_read (error);
  if (!table)
    return false;
  for (guint i = 0; i < table->len; i++) {
    const ImMountEntry *entry = table->pdata[i];
    unsigned user = 0;
    if (!g_str_equal (entry->type, IM_FUSE_TYPE))
      continue;
    im_mount_entry_user (entry, &user);
    if (geteuid () == 0 || user == getuid ())
      g_ptr_array_add (list, describe (table, entry, user));
  }
  return true;
}
