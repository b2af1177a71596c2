/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the process behind a mount or a device is found. */
#include "base/beacon.h"
#include "base/log.h"
#include "base/process.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define BIND_TRIES    100
#define BIND_PAUSE_US 2000

#define ANSWER_MS 1000
#define TEXT_MAX  8192u

struct ImBeacon {
  int fd;
  char *text; /* or NULL */
  pthread_t thread;
};

static socklen_t
address_of (const char *name, struct sockaddr_un *ret_address)
{
  *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
  /* The first byte stays NUL: an abstract name. */
  char *path = ret_address->sun_path + 1;
  g_strlcpy (path, "imgmount/", sizeof ret_address->sun_path - 1);
  g_strlcat (path, name, sizeof ret_address->sun_path - 1);
  return (socklen_t)(offsetof (struct sockaddr_un, sun_path) + 1 + strlen (path));
}

/* A socket takes such a text at once; who has gone hears nothing. */
static void
answer (const ImBeacon *beacon, int fd)
{
  if (beacon->text &&
      send (fd, beacon->text, strlen (beacon->text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
    im_log_verbose (2, "beacon: %s", g_strerror (errno));
  close (fd);
}

/* Clears the queue, which would otherwise be full one day; ends when the socket is shut
 * down. */
static void *
accept_all (void *data)
{
  ImBeacon *beacon = data;
  for (;;) {
    int fd = accept4 (beacon->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
      answer (beacon, fd);
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

ImBeacon *
im_beacon_new (const char *name, const char *text)
{
  struct sockaddr_un address;
  socklen_t length = address_of (name, &address);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return NULL;
  ImBeacon *beacon = g_new0 (ImBeacon, 1);
  beacon->fd = fd;
  beacon->text = g_strdup (text);
  if (bind_patiently (fd, &address, length) && listen (fd, SOMAXCONN) == 0 &&
      im_process_start_thread (&beacon->thread, accept_all, beacon) == 0)
    return beacon;
  im_log_verbose (1, "%s: this server will not be found: %s", name, g_strerror (errno));
  close (fd);
  g_free (beacon->text);
  g_free (beacon);
  return NULL;
}

void
im_beacon_free (ImBeacon *beacon)
{
  shutdown (beacon->fd, SHUT_RDWR);
  pthread_join (beacon->thread, NULL);
  close (beacon->fd);
  g_free (beacon->text);
  g_free (beacon);
}

/* A connection to who listens as NAME, and who that is; -1: nobody. */
static int
connect_to (const char *name, struct ucred *ret_peer)
{
  struct sockaddr_un address;
  socklen_t length = address_of (name, &address), peer_length = sizeof *ret_peer;
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return -1;
  if (connect (fd, (struct sockaddr *)&address, length) == 0 &&
      getsockopt (fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &peer_length) == 0 &&
      ret_peer->pid > 0)
    return fd;
  close (fd);
  return -1;
}

/* Who listens as NAME; 0: nobody who is to be believed. */
static pid_t
find_listener (const char *name, uid_t owner)
{
  struct ucred peer;
  int fd = connect_to (name, &peer);
  if (fd < 0)
    return 0;
  close (fd);
  return peer.uid == 0 || peer.uid == owner ? peer.pid : 0;
}

int
im_beacon_find (const char *name, uid_t owner, pid_t *ret_pid)
{
  *ret_pid = find_listener (name, owner);
  if (*ret_pid == 0)
    return -1;
  int process = (int)syscall (SYS_pidfd_open, *ret_pid, 0);
  /* Still there afterwards: so it is not another one that got the number meanwhile. */
  if (process >= 0 && find_listener (name, owner) == *ret_pid)
    return process;
  if (process >= 0)
    close (process);
  return -1;
}

/* All that comes from FD until its end, or NULL where that takes too long. */
static char *
read_text (int fd)
{
  g_autoptr (GString) text = g_string_new (NULL);
  struct pollfd poll_one = {.fd = fd, .events = POLLIN};
  char part[1024];
  while (text->len < TEXT_MAX && poll (&poll_one, 1, ANSWER_MS) > 0) {
    ssize_t got = read (fd, part, sizeof part);
    if (got == 0)
      return g_strndup (text->str, text->len);
    if (got < 0)
      return NULL;
    g_string_append_len (text, part, got);
  }
  return NULL;
}

char *
im_beacon_ask (const char *name, pid_t pid)
{
  struct ucred peer;
  int fd = connect_to (name, &peer);
  if (fd < 0)
    return NULL;
  char *text = peer.pid == pid ? read_text (fd) : NULL;
  close (fd);
  return text;
}
