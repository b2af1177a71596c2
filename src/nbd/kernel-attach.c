/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of an attached device, from its sockets to its end. */
#include "base/beacon.h"
#include "base/error.h"
#include "base/log.h"
#include "base/process.h"
#include "nbd/kernel-ready.h"
#include "nbd/kernel-use.h"
#include "nbd/kernel-way.h"
#include "nbd/nbd-server.h"
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKETS_MAX 8

/* What the kernel's end of a pair may hold; it is cut to the system's own limit. */
#define SEND_BUFFER (1 << 20)

/* How often it is looked whether a device that is to go is still in use. */
#define USE_MILLISECONDS 250

struct ImNbdKernel {
  ImNbdServer *server;
  const ImNbdWay *way;
  void *state; /* the way's; taken by whoever ends it */
  unsigned index;
  char *path;
  ImBeacon *beacon; /* tells the image where /sys does not; or NULL */
  int wake_fd;      /* an eventfd: stops or leaving changed */
  atomic_uint stops;
  atomic_bool leaving; /* the server has ended: the keeper shall, too */
  pthread_t keeper;
};

/* Pairs of sockets: ours, and what the kernel gets. */
typedef struct {
  int ours[SOCKETS_MAX], kernels[SOCKETS_MAX];
  unsigned n;
} Pairs;

static void
pairs_clear (Pairs *pairs)
{
  for (unsigned i = 0; i < pairs->n; i++) {
    close (pairs->kernels[i]);
    if (pairs->ours[i] >= 0)
      close (pairs->ours[i]);
  }
  pairs->n = 0;
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Pairs, pairs_clear)

static bool
make_pairs (Pairs *pairs, unsigned n, GError **error)
{
  int size = SEND_BUFFER;
  while (pairs->n < n) {
    int fds[2];
    if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
      im_set_errno (error, errno, "socketpair");
      return false;
    }
    setsockopt (fds[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    pairs->ours[pairs->n] = fds[0];
    pairs->kernels[pairs->n++] = fds[1];
  }
  return true;
}

static bool
adopt_pairs (ImNbdServer *server, Pairs *pairs, const ImNbdSetup *setup, GError **error)
{
  ImNbdSession session = {
      .size = setup->size, .flags = setup->flags, .mode = IM_NBD_MODE_SIMPLE};
  for (unsigned i = 0; i < pairs->n; i++) {
    int fd = pairs->ours[i];
    pairs->ours[i] = -1;
    if (!im_nbd_server_adopt (server, fd, &session, error))
      return false;
  }
  return true;
}

/* Attaches by KERNEL's way, and serves. */
static bool
try_way (ImNbdKernel *kernel, ImNbdSetup *setup, bool any, GError **error)
{
  g_auto (Pairs) pairs = {.n = 0};
  unsigned n = MIN (kernel->way->max_sockets, g_get_num_processors ());
  if (!make_pairs (&pairs, MIN (n, SOCKETS_MAX), error))
    return false;
  setup->sockets = pairs.kernels;
  setup->n_sockets = pairs.n;
  if (!kernel->way->attach (setup, any, &kernel->index, &kernel->state, error))
    return false;
  if (adopt_pairs (kernel->server, &pairs, setup, error))
    return true;
  kernel->way->end (kernel->state, kernel->index);
  return false;
}

static bool
try_ways (ImNbdKernel *kernel, const ImNbdKernelOptions *options, ImNbdSetup *setup,
          bool any, GError **error)
{
  for (const ImNbdWay *const *way = im_nbd_ways (options->only_ioctl); *way; way++) {
    g_autoptr (GError) failure = NULL;
    kernel->way = *way;
    if (try_way (kernel, setup, any, &failure))
      return true;
    if (!way[1] || !g_error_matches (failure, IM_ERROR, IM_ERROR_UNSUPPORTED)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return false;
    }
    im_log_verbose (1, "%s; trying %s", failure->message, way[1]->name);
  }
  return false;
}

/* What the kernel is told of the disk. */
static bool
describe (const ImNbdKernel *kernel, const ImNbdKernelOptions *options,
          ImNbdSetup *ret_setup, GError **error)
{
  const ImNbdExport *disk = im_nbd_server_disk (kernel->server);
  uint64_t size = disk->block->size, tail = size % options->block_size;
  if (size - tail == 0 || size > INT64_MAX) {
    g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                 "a disk of %" G_GUINT64_FORMAT
                 " bytes cannot be attached in blocks of %u bytes",
                 size, options->block_size);
    return false;
  }
  *ret_setup = (ImNbdSetup){.size = size - tail,
                            .block_size = options->block_size,
                            .timeout = options->timeout,
                            .flags = im_nbd_server_kernel_flags (kernel->server)};
  return true;
}

/* Waits for a change of stops or leaving, at most TIMEOUT milliseconds; -1: any time. */
static void
sleep_for (ImNbdKernel *kernel, int timeout)
{
  struct pollfd pollfd = {.fd = kernel->wake_fd, .events = POLLIN};
  eventfd_t count;
  if (poll (&pollfd, 1, timeout) > 0)
    eventfd_read (kernel->wake_fd, &count);
}

static void
wait_until_unused (ImNbdKernel *kernel)
{
  bool told = false;
  while (atomic_load (&kernel->stops) < 2 && !atomic_load (&kernel->leaving)) {
    g_autofree char *use = im_nbd_use_find (kernel->index);
    if (!use)
      return;
    if (!told)
      im_log_warning ("%s: %s; it is served until that ends, or a second signal comes",
                      kernel->path, use);
    told = true;
    sleep_for (kernel, USE_MILLISECONDS);
  }
}

/* The keeper: sees the device off when the server is to stop. */
static void *
keep (void *data)
{
  ImNbdKernel *kernel = data;
  while (atomic_load (&kernel->stops) == 0 && !atomic_load (&kernel->leaving))
    sleep_for (kernel, -1);
  if (!atomic_load (&kernel->leaving))
    wait_until_unused (kernel);
  if (!atomic_load (&kernel->leaving)) {
    im_nbd_device_flush (kernel->index);
    kernel->way->end (g_steal_pointer (&kernel->state), kernel->index);
    kernel->way = NULL;
    im_nbd_server_stop (kernel->server);
  }
  return NULL;
}

static bool
start_keeper (ImNbdKernel *kernel, GError **error)
{
  int errnum = 0;
  kernel->wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (kernel->wake_fd < 0)
    errnum = errno;
  else
    errnum = im_process_start_thread (&kernel->keeper, keep, kernel);
  if (errnum == 0)
    return true;
  im_set_errno (error, errnum, "thread for the device");
  return false;
}

/* Only --ioctl, and old kernels, leave anything to tell. */
static void
light_beacon (ImNbdKernel *kernel, const char *backend)
{
  g_autofree char *known = im_nbd_device_backend (kernel->index);
  g_autofree char *name = im_nbd_device_beacon (kernel->index);
  if (backend && !known)
    kernel->beacon = im_beacon_new (name, backend);
}

static void
kernel_clear (ImNbdKernel *kernel)
{
  g_clear_pointer (&kernel->beacon, im_beacon_free);
  if (kernel->wake_fd >= 0)
    close (kernel->wake_fd);
  g_free (kernel->path);
  g_free (kernel);
}

static bool
attach (ImNbdKernel *kernel, const ImExportSet *set, const ImNbdKernelOptions *options,
        bool any, GError **error)
{
  ImNbdSetup setup;
  g_autofree char *backend = im_nbd_backend_new (set->image_path);
  if (any ? !im_nbd_device_check_module (error)
          : !im_nbd_device_find (options->device, &kernel->index, error))
    return false;
  bool ok = describe (kernel, options, &setup, error);
  setup.backend = backend;
  if (!ok || !try_ways (kernel, options, &setup, any, error)) {
    if (!any)
      g_prefix_error (error, "%s: ", options->device);
    return false;
  }
  kernel->path = any ? im_nbd_device_path (kernel->index) : g_strdup (options->device);
  if (start_keeper (kernel, error)) {
    light_beacon (kernel, backend);
    return true;
  }
  kernel->way->end (kernel->state, kernel->index);
  return false;
}

static void
say_what_is_cut (const ImNbdKernel *kernel, const ImNbdKernelOptions *options)
{
  uint64_t tail = im_nbd_server_disk (kernel->server)->block->size % options->block_size;
  if (tail > 0)
    im_log_warning ("%s: the last %" G_GUINT64_FORMAT
                    " bytes of the image are not on it: "
                    "they fill no block of %u",
                    kernel->path, tail, options->block_size);
}

ImNbdKernel *
im_nbd_kernel_attach (ImNbdServer *server, const ImExportSet *set,
                      const ImNbdKernelOptions *options, GError **error)
{
  ImNbdKernel *kernel = g_new0 (ImNbdKernel, 1);
  kernel->server = server;
  kernel->wake_fd = -1;
  if (!attach (kernel, set, options, strcmp (options->device, IM_NBD_KERNEL_AUTO) == 0,
               error)) {
    kernel_clear (kernel);
    return NULL;
  }
  im_log_verbose (1, "%s: attached by %s", kernel->path, kernel->way->name);
  say_what_is_cut (kernel, options);
  im_nbd_ready_wait (kernel->index, kernel->path, set, options);
  return kernel;
}

const char *
im_nbd_kernel_device (const ImNbdKernel *kernel)
{
  return kernel->path;
}

void
im_nbd_kernel_stop (ImNbdKernel *kernel)
{
  atomic_fetch_add (&kernel->stops, 1);
  eventfd_write (kernel->wake_fd, 1);
}

void
im_nbd_kernel_free (ImNbdKernel *kernel)
{
  if (!kernel)
    return;
  atomic_store (&kernel->leaving, true);
  eventfd_write (kernel->wake_fd, 1);
  pthread_join (kernel->keeper, NULL);
  if (kernel->way)
    kernel->way->end (kernel->state, kernel->index);
  if (im_nbd_device_pid (kernel->index) == 0)
    im_nbd_device_forget_partitions (kernel->index);
  kernel_clear (kernel);
}
