/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How --unmount finds the process behind a mount. */
#include "fuse/beacon.h"
#include "base/log.h"
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define BIND_TRIES    100
#define BIND_PAUSE_US 2000

struct ImFuseBeacon {
  int fd;
  pthread_t thread;
};

static socklen_t
name_of (unsigned major, unsigned minor, struct sockaddr_un *ret_address)
{
  *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
  /* The first byte stays NUL: an abstract name. */
  int length = snprintf (ret_address->sun_path + 1, sizeof ret_address->sun_path - 1,
                         "imgmount/fuse/%u:%u", major, minor);
  return (socklen_t)(offsetof (struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

/* Clears the queue, which would otherwise be full one day; ends when the socket is shut
 * down. */
static void *
accept_all (void *data)
{
  ImFuseBeacon *beacon = data;
  for (;;) {
    int fd = accept4 (beacon->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
      close (fd);
    else if (errno != EINTR && errno != ECONNABORTED)
      return NULL;
  }
}

/* The name may still be held, for a moment, by the server of a mount that is gone. */
static bool
bind_patiently (int fd, const struct sockaddr_un *address, socklen_t length)
{
  for (int i = 0; bind (fd, (const struct sockaddr *)address, length) < 0; i++) {
    if (errno != EADDRINUSE || i == BIND_TRIES)
      return false;
    g_usleep (BIND_PAUSE_US);
  }
  return true;
}

ImFuseBeacon *
im_fuse_beacon_new (unsigned major, unsigned minor)
{
  struct sockaddr_un address;
  socklen_t length = name_of (major, minor, &address);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return NULL;
  ImFuseBeacon *beacon = g_new0 (ImFuseBeacon, 1);
  beacon->fd = fd;
  if (bind_patiently (fd, &address, length) && listen (fd, SOMAXCONN) == 0 &&
      pthread_create (&beacon->thread, NULL, accept_all, beacon) == 0)
    return beacon;
  im_log_verbose (1, "--unmount will not wait for this server: %s", g_strerror (errno));
  close (fd);
  g_free (beacon);
  return NULL;
}

void
im_fuse_beacon_free (ImFuseBeacon *beacon)
{
  shutdown (beacon->fd, SHUT_RDWR);
  pthread_join (beacon->thread, NULL);
  close (beacon->fd);
  g_free (beacon);
}

/* Who listens for that device; false: nobody who is to be believed. */
static bool
ask_listener (unsigned major, unsigned minor, uid_t owner, pid_t *ret_pid)
{
  struct sockaddr_un address;
  socklen_t length = name_of (major, minor, &address);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return false;
  struct ucred peer;
  socklen_t peer_length = sizeof peer;
  bool answered = connect (fd, (struct sockaddr *)&address, length) == 0 &&
                  getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_length) == 0;
  close (fd);
  if (!answered || peer.pid <= 0 || (peer.uid != 0 && peer.uid != owner))
    return false;
  *ret_pid = peer.pid;
  return true;
}

int
im_fuse_beacon_find (unsigned major, unsigned minor, uid_t owner, pid_t *ret_pid)
{
  if (!ask_listener (major, minor, owner, ret_pid))
    return -1;
  int process = (int)syscall (SYS_pidfd_open, *ret_pid, 0);
  /* Still there afterwards: so it is not another one that got the number meanwhile. */
  pid_t again;
  if (process >= 0 && ask_listener (major, minor, owner, &again) && again == *ret_pid)
    return process;
  if (process >= 0)
    close (process);
  return -1;
}
