/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attaching by ioctl: a thread of ours waits in the kernel for as long as the device is
 * there. */
#include "base/error.h"
#include "base/log.h"
#include "base/process.h"
#include "nbd/kernel-way.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* How long the kernel may take to begin. */
#define START_MILLISECONDS 5000

typedef struct {
  unsigned index;
  int fd;
  pthread_t thread; /* the kernel's client */
  atomic_bool returned;
  atomic_int errnum; /* of NBD_DO_IT */
} Attachment;

static void *
run_client (void *data)
{
  Attachment *attachment = data;
  if (ioctl (attachment->fd, NBD_DO_IT) < 0)
    atomic_store (&attachment->errnum, errno);
  atomic_store (&attachment->returned, true);
  return NULL;
}

static bool
set_up (int fd, unsigned index, const ImNbdSetup *setup, GError **error)
{
  if (ioctl (fd, NBD_SET_SOCK, (unsigned long)setup->sockets[0]) < 0) {
    /* EINVAL: it was attached by netlink. */
    if (errno == EBUSY || errno == EINVAL)
      im_nbd_set_busy (error, index);
    else
      im_set_errno (error, errno, "NBD_SET_SOCK");
    return false;
  }
  const struct {
    const char *name;
    unsigned long request, value;
  } calls[] = {
      {"NBD_SET_BLKSIZE", NBD_SET_BLKSIZE, setup->block_size},
      {"NBD_SET_SIZE_BLOCKS", NBD_SET_SIZE_BLOCKS,
       (unsigned long)(setup->size / setup->block_size)},
      {"NBD_SET_FLAGS", NBD_SET_FLAGS, setup->flags},
      {"NBD_SET_TIMEOUT", NBD_SET_TIMEOUT, setup->timeout},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (calls); i++)
    if (ioctl (fd, calls[i].request, calls[i].value) < 0) {
      im_set_errno (error, errno, "%s %lu", calls[i].name, calls[i].value);
      ioctl (fd, NBD_CLEAR_SOCK);
      return false;
    }
  return true;
}

/* Starts the client, and waits until the kernel shows the disk. */
static bool
start (Attachment *attachment, GError **error)
{
  int errnum = im_process_start_thread (&attachment->thread, run_client, attachment);
  if (errnum != 0) {
    im_set_errno (error, errnum, "thread for the kernel");
    ioctl (attachment->fd, NBD_CLEAR_SOCK);
    return false;
  }
  gint64 deadline = g_get_monotonic_time () + START_MILLISECONDS * 1000;
  while (!atomic_load (&attachment->returned) && g_get_monotonic_time () < deadline) {
    if (im_nbd_device_pid (attachment->index) != 0 &&
        im_nbd_device_size (attachment->index) != 0)
      return true;
    g_usleep (1000);
  }
  ioctl (attachment->fd, NBD_CLEAR_SOCK);
  pthread_join (attachment->thread, NULL);
  errnum = atomic_load (&attachment->errnum);
  im_set_errno (error, errnum ? errnum : ETIMEDOUT, "NBD_DO_IT");
  return false;
}

static Attachment *
attach_one (const ImNbdSetup *setup, unsigned index, GError **error)
{
  g_autofree char *path = im_nbd_device_path (index);
  int fd = open (path, O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    im_set_errno (error, errno, "cannot open");
    return NULL;
  }
  g_autofree Attachment *attachment = g_new0 (Attachment, 1);
  attachment->index = index;
  attachment->fd = fd;
  if (im_nbd_device_pid (index) != 0) {
    im_nbd_set_busy (error, index);
  } else if (set_up (fd, index, setup, error) && start (attachment, error)) {
    return g_steal_pointer (&attachment);
  }
  close (fd);
  return NULL;
}

/* The first that is free. */
static Attachment *
attach_any (const ImNbdSetup *setup, unsigned *ret_index, GError **error)
{
  for (unsigned index = 0;; index++) {
    g_autofree char *path = im_nbd_device_path (index);
    g_autoptr (GError) failure = NULL;
    if (!g_file_test (path, G_FILE_TEST_EXISTS))
      break;
    Attachment *attachment = attach_one (setup, index, &failure);
    if (!attachment && g_error_matches (failure, IM_ERROR, IM_ERROR_LOCKED))
      continue;
    if (!attachment)
      g_propagate_error (error, g_steal_pointer (&failure));
    *ret_index = index;
    return attachment;
  }
  g_set_error (error, IM_ERROR, IM_ERROR_LOCKED,
               "all of the kernel's devices are in use");
  return NULL;
}

static bool
ioctl_attach (const ImNbdSetup *setup, bool any, unsigned *index, void **ret_state,
              GError **error)
{
  *ret_state = any ? attach_any (setup, index, error) : attach_one (setup, *index, error);
  return *ret_state != NULL;
}

static void
ioctl_end (void *state, unsigned index)
{
  Attachment *attachment = state;
  /* Our descriptor keeps the device ours until it is closed. */
  if (!atomic_load (&attachment->returned)) {
    ioctl (attachment->fd, NBD_DISCONNECT);
    ioctl (attachment->fd, NBD_CLEAR_SOCK);
  }
  pthread_join (attachment->thread, NULL);
  int errnum = atomic_load (&attachment->errnum);
  if (errnum != 0)
    im_log_warning ("/dev/nbd%u: the kernel gave it up: %s", index, g_strerror (errnum));
  close (attachment->fd);
  g_free (attachment);
}

static bool
ioctl_disconnect (unsigned index, GError **error)
{
  int fd = im_nbd_device_open (index, 0);
  bool ok = fd >= 0 && ioctl (fd, NBD_DISCONNECT) == 0 && ioctl (fd, NBD_CLEAR_SOCK) == 0;
  if (!ok)
    im_set_errno (error, errno, fd < 0 ? "cannot open" : "detaching");
  if (fd >= 0)
    close (fd);
  return ok;
}

const ImNbdWay im_nbd_way_ioctl = {
    .name = "ioctl",
    .max_sockets = 1,
    .attach = ioctl_attach,
    .end = ioctl_end,
    .disconnect = ioctl_disconnect,
};
