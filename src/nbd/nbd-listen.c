/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listening: TCP on every address of a name, or a unix socket. */
#include "nbd/nbd-listen.h"
#include "base/error.h"
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128
/* How long a socket must refuse for its file to count as left over. */
#define STALE_AFTER_US 50000

static int
make_socket (int domain)
{
  return socket (domain, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

#if HAVE_SELINUX
#include <selinux/selinux.h>

/* The context of sockets that this thread makes from now on; NULL: the usual one. */
static bool
label_sockets (const char *label, GError **error)
{
  if (setsockcreatecon_raw (label) == 0)
    return true;
  im_set_errno (error, errno, "--selinux-label %s", label ? label : "");
  return false;
}
#else
static bool
label_sockets (const char *label, GError **error)
{
  g_set_error_literal (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                       "--selinux-label: this build has no SELinux");
  return false;
}
#endif

/* Binds and listens.  Returns the descriptor, or -1 and errno. */
static int
listen_on (int domain, const struct sockaddr *address, socklen_t length)
{
  int one = 1, fd = make_socket (domain);
  if (fd < 0)
    return -1;
  if (domain != AF_UNIX)
    setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (domain == AF_INET6)
    setsockopt (fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  if (bind (fd, address, length) == 0 && listen (fd, BACKLOG) == 0)
    return fd;
  int errnum = errno;
  close (fd);
  errno = errnum;
  return -1;
}

/* What this machine lacks altogether is no reason to refuse the name's other addresses.
 */
static bool
is_absent (int errnum)
{
  return errnum == EAFNOSUPPORT || errnum == EADDRNOTAVAIL;
}

static bool
bind_addresses (ImNbdListener *listener, const ImNbdOptions *options,
                const struct addrinfo *addresses, GError **error)
{
  int absent = 0;
  for (const struct addrinfo *a = addresses; a; a = a->ai_next) {
    int fd = listen_on (a->ai_family, a->ai_addr, a->ai_addrlen);
    if (fd < 0 && is_absent (errno)) {
      absent = errno;
      continue;
    }
    if (fd < 0) {
      im_set_errno (error, errno, "bind %s port %s", options->bind, options->port);
      return false;
    }
    g_array_append_val (listener->fds, fd);
  }
  if (listener->fds->len == 0) {
    im_set_errno (error, absent, "bind %s port %s", options->bind, options->port);
    return false;
  }
  return true;
}

static bool
listen_tcp (ImNbdListener *listener, const ImNbdOptions *options, GError **error)
{
  struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
  struct addrinfo *addresses = NULL;
  /* None named are all there are. */
  const char *name = options->bind[0] ? options->bind : NULL;
  int code = getaddrinfo (name, options->port, &hints, &addresses);
  if (code != 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "address %s port %s: %s", options->bind,
                 options->port, gai_strerror (code));
    return false;
  }
  bool ok = bind_addresses (listener, options, addresses, error);
  freeaddrinfo (addresses);
  return ok;
}

static bool
refuses (const struct sockaddr_un *address)
{
  int fd = make_socket (AF_UNIX);
  if (fd < 0)
    return false;
  bool refused = connect (fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
                 errno == ECONNREFUSED;
  close (fd);
  return refused;
}

/* Whether the socket file at ADDRESS is left over: a socket on which nobody listens, nor
 * is about to, having bound it a moment ago. */
static bool
is_stale (const struct sockaddr_un *address)
{
  struct stat st;
  if (lstat (address->sun_path, &st) != 0 || !S_ISSOCK (st.st_mode) || !refuses (address))
    return false;
  g_usleep (STALE_AFTER_US);
  return refuses (address);
}

static bool
listen_unix (ImNbdListener *listener, const char *path, GError **error)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen (path) >= sizeof address.sun_path) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                 "socket path is %zu bytes long; at most %zu are possible", strlen (path),
                 sizeof address.sun_path - 1);
    return false;
  }
  memcpy (address.sun_path, path, strlen (path));
  const struct sockaddr *generic = (const struct sockaddr *)&address;
  int fd = listen_on (AF_UNIX, generic, sizeof address), errnum = errno;
  if (fd < 0 && errnum == EADDRINUSE && is_stale (&address)) {
    unlink (path);
    fd = listen_on (AF_UNIX, generic, sizeof address);
    errnum = errno;
  }
  if (fd < 0) {
    im_set_errno (error, errnum, "socket %s", path);
    return false;
  }
  g_array_append_val (listener->fds, fd);
  struct stat st = {0};
  if (lstat (path, &st) == 0) {
    listener->device = st.st_dev;
    listener->inode = st.st_ino;
  }
  listener->socket_path = g_strdup (path);
  return true;
}

/* The first descriptor that socket activation hands over. */
#define FIRST_INHERITED 3

static bool
inherit (ImNbdListener *listener, int n, GError **error)
{
  for (int fd = FIRST_INHERITED; fd < FIRST_INHERITED + n; fd++) {
    int listens = 0, flags = fcntl (fd, F_GETFL);
    socklen_t size = sizeof listens;
    if (flags < 0 || getsockopt (fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 ||
        !listens) {
      g_set_error (error, IM_ERROR, IM_ERROR_USAGE,
                   "socket activation: descriptor %d is no socket that listens", fd);
      return false;
    }
    fcntl (fd, F_SETFL, flags | O_NONBLOCK);
    g_array_append_val (listener->fds, fd);
  }
  return true;
}

static bool
listen_labelled (ImNbdListener *listener, const ImNbdOptions *options, GError **error)
{
  if (!options->selinux_label)
    return listen_unix (listener, options->socket_path, error);
  return label_sockets (options->selinux_label, error) &&
         listen_unix (listener, options->socket_path, error) &&
         label_sockets (NULL, error);
}

ImNbdListener *
im_nbd_listener_new (const ImNbdOptions *options, GError **error)
{
  g_autoptr (ImNbdListener) listener = g_new0 (ImNbdListener, 1);
  listener->fds = g_array_new (FALSE, FALSE, sizeof (int));
  bool ok = false;
  if (options->inherited > 0)
    ok = inherit (listener, options->inherited, error);
  else if (options->socket_path)
    ok = listen_labelled (listener, options, error);
  else
    ok = listen_tcp (listener, options, error);
  return ok ? g_steal_pointer (&listener) : NULL;
}

static void
remove_socket_file (const ImNbdListener *listener)
{
  struct stat st;
  if (listener->socket_path && lstat (listener->socket_path, &st) == 0 &&
      S_ISSOCK (st.st_mode) && st.st_dev == listener->device &&
      st.st_ino == listener->inode)
    unlink (listener->socket_path);
}

void
im_nbd_listener_free (ImNbdListener *listener)
{
  if (!listener)
    return;
  remove_socket_file (listener);
  for (guint i = 0; i < listener->fds->len; i++)
    close (g_array_index (listener->fds, int, i));
  g_array_unref (listener->fds);
  g_free (listener->socket_path);
  g_free (listener);
}
