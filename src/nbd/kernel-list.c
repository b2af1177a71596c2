/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The devices that this program has attached. */
#include "base/beacon.h"
#include "base/process.h"
#include "base/served.h"
#include "nbd/kernel-holder.h"
#include "nbd/kernel-way.h"
#include "nbd/kernel.h"
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A kernel's page has to take it, with its newline. */
#define BACKEND_MAX 4000u

char *
im_nbd_backend_new (const char *image_path)
{
  g_autofree char *path = g_canonicalize_filename (image_path, NULL);
  g_autofree char *backend = g_strconcat (IM_NBD_BACKEND_PREFIX, path, NULL);
  return strlen (backend) <= BACKEND_MAX ? g_steal_pointer (&backend) : NULL;
}

/* The user that process PID runs as; root where it has gone, since devices are root's. */
static unsigned
user_of (pid_t pid)
{
  struct stat st;
  g_autofree char *path = g_strdup_printf ("/proc/%d", (int)pid);
  return pid > 0 && stat (path, &st) == 0 ? st.st_uid : 0;
}

/* What the device of process PID is backed by, or NULL. */
static char *
find_backend (unsigned index, pid_t pid)
{
  char *backend = im_nbd_device_backend (index);
  g_autofree char *name = im_nbd_device_beacon (index);
  return backend || pid == 0 ? backend : im_beacon_ask (name, pid);
}

/* The device INDEX where it is one of ours, or NULL. */
static ImServed *
describe (unsigned index)
{
  pid_t thread = im_nbd_device_pid (index);
  if (thread == 0)
    return NULL;
  g_autofree char *name = NULL;
  pid_t pid = im_nbd_holder_find (thread, &name);
  g_autofree char *backend = find_backend (index, pid);
  bool marked = backend && g_str_has_prefix (backend, IM_NBD_BACKEND_PREFIX);
  if (!marked && (pid == 0 || !im_nbd_holder_is_ours (name)))
    return NULL;
  bool dead = pid == 0 || im_process_is_dying (pid);
  ImServed *served = g_new0 (ImServed, 1);
  served->where = im_nbd_device_path (index);
  served->image = marked ? g_strdup (backend + strlen (IM_NBD_BACKEND_PREFIX)) : NULL;
  served->read_only = im_nbd_device_is_read_only (index);
  served->user = user_of (pid);
  served->pid = pid;
  served->state = dead ? IM_SERVED_DEAD : IM_SERVED;
  return served;
}

static int
compare (gconstpointer a, gconstpointer b)
{
  unsigned first = *(const unsigned *)a, second = *(const unsigned *)b;
  return (first > second) - (first < second);
}

/* The numbers of all devices that there are, in order. */
static GArray *
find_devices (void)
{
  GArray *indices = g_array_new (FALSE, FALSE, sizeof (unsigned));
  GDir *dir = g_dir_open ("/sys/block", 0, NULL);
  for (const char *name; dir && (name = g_dir_read_name (dir));) {
    unsigned index, partition;
    if (im_nbd_device_parse_name (name, &index, &partition))
      g_array_append_val (indices, index);
  }
  if (dir)
    g_dir_close (dir);
  g_array_sort (indices, compare);
  return indices;
}

void
im_nbd_kernel_list (GPtrArray *list)
{
  g_autoptr (GArray) indices = find_devices ();
  for (guint i = 0; i < indices->len; i++) {
    ImServed *served = describe (g_array_index (indices, unsigned, i));
    if (!served)
      continue;
    if (geteuid () == 0 || served->user == getuid ())
      g_ptr_array_add (list, served);
    else
      im_served_free (served);
  }
}
